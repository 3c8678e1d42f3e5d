"""The capability matrix is up to date, as far as a test can see without running all of it."""

import subprocess
import sys
from pathlib import Path

import pytest

from onward import Cancels, Forgets, Histories, Lists, Schedules, Signals
from onward.backend import SubmitsUnique
from onward.backends.celery import CeleryBackend
from onward.backends.hatchet import HatchetBackend
from onward.backends.local import Local
from onward.backends.sqlite import SqliteBackend
from onward.backends.temporal import TemporalBackend
from onward.testing import BackendSuite
from onward.testing.attempts import AttemptLaws
from tests import capabilities

FOUND = capabilities.read(capabilities.PAGE.read_text())
MADE_BY = {
    "TestLocal": Local,
    "TestSqlite": SqliteBackend,
    "TestCeleryInMemory": CeleryBackend,
    "TestCeleryOnRedis": CeleryBackend,
    "TestCeleryOnRabbitMQ": CeleryBackend,
    "TestTemporal": TemporalBackend,
    "TestHatchet": HatchetBackend,
}
LACKING = {
    ("`debounce=`", "TestHatchet"),
    ("so_many_begin_within_a_window", "TestHatchet"),
    ("`Schedules`: `overlap` and `catch_up`", "TestHatchet"),
}
"""What a backend refuses although it has the capability: groups, and single tests."""

CURE = "run python -m tests.capabilities"


def test_every_test_of_the_suite_is_in_one_group() -> None:
    grouped = [test for tests in capabilities.GROUPS.values() for test in tests]
    assert sorted(grouped) == sorted(
        name.removeprefix("test_")
        for name in dir(BackendSuite)
        if name.startswith("test_") and not hasattr(AttemptLaws, name)
    )


def test_every_backend_that_passes_the_suite_has_a_column() -> None:
    stand_in, broken_on_purpose = "TestHatchetDouble", "TestSubject"
    suites = {*capabilities.suites()} - {stand_in, broken_on_purpose}
    assert suites == {*FOUND} == {*MADE_BY}, CURE


@pytest.mark.parametrize("suite", FOUND)
def test_the_matrix_says_what_a_backend_can_do(suite: str) -> None:
    backend, cells = MADE_BY[suite], FOUND[suite]
    for group, tests in capabilities.GROUPS.items():
        can = {
            "`Cancels`": Cancels,
            "`Histories`, resume and fork": Histories,
            "`Forgets`": Forgets,
            "`Lists`": Lists,
            "`Schedules`": Schedules,
            "`Signals`": Signals,
            "`unique=`": SubmitsUnique,
        }
        for test in tests:
            is_lacking = bool(LACKING & {(group, suite), (test, suite)})
            has = issubclass(backend, can.get(group, object)) and not is_lacking
            assert cells[test].passed == has, f"{test}: {CURE}"


def test_the_page_is_what_its_own_data_give() -> None:
    page = capabilities.PAGE.read_text()
    made = page.partition(capabilities.BEGIN)[2].partition(capabilities.END)[0]
    assert made.strip() == capabilities.table(FOUND).strip(), CURE


@pytest.mark.long
def test_who_writes_the_page_again_finds_the_same(tmp_path: Path) -> None:
    copy = tmp_path / "capabilities.md"
    copy.write_text(capabilities.PAGE.read_text().replace("| yes | yes |", "| no | yes |"))
    code = (
        "import sys; from pathlib import Path; from tests import capabilities;"
        "capabilities.PAGE = Path(sys.argv[1]); sys.exit(capabilities.main('local'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, copy],
        cwd=capabilities.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert capabilities.read(copy.read_text())["TestLocal"] == FOUND["TestLocal"]
