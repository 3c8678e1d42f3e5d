"""Clocks that somebody sets, while calls wait."""

import contextlib
import time
from contextlib import closing
from pathlib import Path

import pytest

from onward import Expired, result, submit
from onward.backends.sqlite import SqliteBackend
from onward.backends.sqlite.client import File
from onward.flows.flow import AnyTask
from tests.cli.serving import serving
from tests.engines.clocks import clocks_ahead

PATIENCE = 120.0

TASKS = """
import time
from onward import task

@task
def when(n: int) -> float:
    return time.time()
"""


@pytest.mark.parametrize("ahead", [3600.0, -3600.0])
def test_delays_and_deadlines_do_not_go_by_a_clock_that_was_set(
    backend: SqliteBackend, path: Path, tmp_path: Path, ahead: float
) -> None:
    (tmp_path / "pipeline.py").write_text(TASKS)
    names: dict[str, AnyTask] = {}
    exec(TASKS, names)
    when = names["when"]
    with contextlib.ExitStack() as stack:
        try:
            with clocks_ahead(ahead):
                stack.enter_context(serving(tmp_path, f"sqlite:///{path}?lease=1"))
        except FileNotFoundError as missing:
            pytest.skip(str(missing))
        began = time.monotonic()
        ref = submit(when(1), on=backend, delay=1.0, deadline=PATIENCE).unwrap()
        found: float = result(ref, on=backend, timeout=PATIENCE).unwrap()
        assert time.monotonic() - began >= 1.0
        assert abs(found - time.time() - ahead) < PATIENCE
        late = submit(when(1), on=backend, delay=600, deadline=0.5).unwrap()
        assert isinstance(result(late, on=backend, timeout=PATIENCE).failure(), Expired)


def test_the_time_in_a_file_never_goes_back(path: Path) -> None:
    file = File(path, "full", 1.0)
    with closing(file.open().db) as db:
        first = file.clock.now()
        # The machine was started again, and takes the time for a day earlier than it was.
        db.execute("update onward_clock set boot = 'before', seen = ?", (first + 86_400,))
    again = File(path, "full", 1.0)
    with closing(again.open().db):
        assert again.clock.now() >= first + 86_400
