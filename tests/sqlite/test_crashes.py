"""What becomes of calls whose worker is killed, or is stopped and goes on later."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest
from returns.result import Success

from onward import Lost, result, status, submit
from onward.backends.sqlite import SqliteBackend
from onward.backends.sqlite.client import File
from onward.backends.sqlite.lease import MOST_DEATHS, LostCall, register, take_over
from onward.flows.flow import AnyTask
from tests.cli.serving import serving
from tests.engines.process import until
from tests.engines.worker import WorkerProcess

PATIENCE = 60.0

TASKS = """
import time
from pathlib import Path
from onward import Constant, Retry, task

@task
def begin(folder: Path) -> Path:
    with (folder / "begun").open("a") as file:
        file.write("begun\\n")
    return folder

@task
def linger(folder: Path) -> str:
    \"\"\"Says which process it is, and ends when it is told.\"\"\"
    import os
    (folder / f"in-{os.getpid()}").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    return str(os.getpid())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.py").write_text(TASKS)
    return tmp_path


@contextmanager
def worker(folder: Path, path: Path) -> Generator[WorkerProcess]:
    with serving(folder, f"sqlite:///{path}?lease=1") as process:
        yield process


def tasks(folder: Path) -> tuple[AnyTask, AnyTask]:
    names: dict[str, AnyTask] = {}
    exec(TASKS, names)
    return names["begin"], names["linger"]


def wait(condition: Callable[[], bool]) -> None:
    until(condition, within=PATIENCE, otherwise=lambda: "it never came to be true")


def test_a_call_goes_on_where_its_worker_was_killed(
    folder: Path, path: Path, backend: SqliteBackend
) -> None:
    begin, linger = tasks(folder)
    with worker(folder, path) as first:
        ref = submit((begin >> linger)(folder), on=backend).unwrap()
        wait((folder / f"in-{first.pid}").exists)
        first.kill()
        with worker(folder, path) as second:
            wait((folder / f"in-{second.pid}").exists)
            (folder / "go").touch()
            assert result(ref, on=backend, timeout=PATIENCE) == Success(str(second.pid))
    assert (folder / "begun").read_text() == "begun\n"


def test_a_worker_that_was_stopped_and_goes_on_overwrites_nothing(
    folder: Path, path: Path, backend: SqliteBackend
) -> None:
    _, linger = tasks(folder)
    with worker(folder, path) as first:
        ref = submit(linger(folder), on=backend).unwrap()
        wait((folder / f"in-{first.pid}").exists)
        first.send(SIGSTOP)
        with worker(folder, path) as second:
            wait((folder / f"in-{second.pid}").exists)
            first.send(SIGCONT)
            wait(lambda: "others have taken over" in first.tail())
            (folder / "go").touch()
            assert result(ref, on=backend, timeout=PATIENCE) == Success(str(second.pid))
            # Both go on to work.
            refs = [submit(linger(folder), on=backend).unwrap() for _ in range(4)]
            found = {result(each, on=backend, timeout=PATIENCE).unwrap() for each in refs}
            assert found <= {str(first.pid), str(second.pid)}


def test_a_call_whose_workers_die_again_and_again_is_lost(
    folder: Path, path: Path, backend: SqliteBackend
) -> None:
    _, linger = tasks(folder)
    ref = submit(linger(folder), on=backend).unwrap()
    file = File(path, "full", 1.0)
    db = file.open().db
    now = file.clock.now()
    lost: list[LostCall] = []
    for _ in range(MOST_DEATHS):
        assert not lost
        dead = register(db, "dead", ["onward"], ["linger"], 1, now)
        db.execute("update onward_jobs set owner = ?, claim = 1", (dead,))
        assert status(ref, on=backend).unwrap().state == "running"
        lost = take_over(db, [dead], file.clock)
    db.close()
    assert [each.id for each in lost] == [ref.id]
    fault = result(ref, on=backend, timeout=PATIENCE).failure()
    assert isinstance(fault, Lost)
    assert fault.deliveries == MOST_DEATHS
