"""All processes of a test run share one server, which ends with the run."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CONFTEST = """
import os
import pytest
from tests.engines.shared import Starter, shared

class Server:
    def __init__(self, folder):
        self.client_environment = {"folder": str(folder)}
        note("started")

    def close(self):
        note("closed")

def note(what):
    with open(os.environ["NOTES"], "a") as notes:
        print(what, os.getpid(), file=notes)

@pytest.fixture(scope="session")
def server(request):
    return shared("one", request.config)

def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Starter("one", Server))
"""

TEST = """
import os, pathlib

def test_it(server, request):
    request.config.rootpath.joinpath(str(os.getpid())).write_text(server["folder"])
"""


def test_the_processes_of_a_run_share_one_server(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_one=TEST, test_other=TEST)
    notes = pytester.path / "notes"
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    monkeypatch.setenv("NOTES", str(notes))
    options = ("-n", "2", "--dist", "loadfile")
    pytester.runpytest_subprocess(*options).assert_outcomes(passed=2)
    (started, by), (closed, closed_by) = map(str.split, notes.read_text().splitlines())
    assert (started, closed) == ("started", "closed")
    assert by == closed_by
    files = [each for each in pytester.path.iterdir() if each.name.isdigit()]
    assert len(files) == 2
    assert by not in [each.name for each in files]
    assert len({each.read_text() for each in files}) == 1


def test_a_server_that_cannot_start_fails_the_tests_that_need_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = CONFTEST.replace('note("started")', 'raise OSError("no such port")')
    pytester.makeconftest(broken)
    pytester.makepyfile(TEST)
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    result = pytester.runpytest_subprocess("-n", "1")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*RuntimeError: OSError: no such port"])
