"""What becomes of calls whose worker is killed, or is stopped and goes on later."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest
from returns.result import Success

from onward import Lost, result, resume, status, submit
from onward.backend import CallQuery
from onward.backends.sqlite import SqliteBackend
from onward.backends.sqlite.client import File
from onward.backends.sqlite.lease import MOST_DEATHS, LostCall, register, take_over
from onward.flows.flow import AnyTask
from tests.cli.serving import serving
from tests.engines.process import until
from tests.engines.worker import WorkerProcess

PATIENCE = 120.0

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


def is_noted(backend: SqliteBackend, id: str, pid: int) -> bool:
    """Whether the file says that a process runs the second step, which it does a moment later."""
    steps = backend.history(id).unwrap().steps
    return len(steps) == 2 and f"-{pid}-" in steps[1].attempts[-1].worker


def test_a_call_goes_on_where_its_worker_was_killed(
    folder: Path, path: Path, backend: SqliteBackend
) -> None:
    begin, linger = tasks(folder)
    with worker(folder, path) as first:
        ref = submit((begin >> linger)(folder), on=backend).unwrap()
        wait((folder / f"in-{first.pid}").exists)
        wait(partial(is_noted, backend, ref.id, first.pid))
        first.kill()
        with worker(folder, path) as second:
            wait((folder / f"in-{second.pid}").exists)
            (folder / "go").touch()
            assert result(ref, on=backend, timeout=PATIENCE) == Success(str(second.pid))
    assert (folder / "begun").read_text() == "begun\n"
    step = backend.history(ref.id).unwrap().steps[1]
    died, ended = step.attempts
    assert f"-{first.pid}-" in died.worker
    assert f"-{second.pid}-" in ended.worker
    assert (died.number, died.outcome) == (1, None)
    assert (ended.number, ended.outcome) == (1, step.outcome)
    assert died.ended is not None
    assert ended.began is not None
    assert died.ended <= ended.began


def test_a_lost_call_is_listed_and_goes_on_where_it_stopped_though_workers_die_again(
    folder: Path, path: Path, backend: SqliteBackend
) -> None:
    begin, linger = tasks(folder)
    with worker(folder, path) as first:
        ref = submit((begin >> linger)(folder), on=backend).unwrap()
        wait(partial(is_noted, backend, ref.id, first.pid))
        with closing(sqlite3.connect(path)) as db:  # as if it were not the first
            db.execute("update onward_jobs set deaths = ?", (MOST_DEATHS - 1,))
            db.commit()
        first.kill()
    with worker(folder, path) as second:
        assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Lost)
        [lost] = backend.calls(CallQuery(frozenset({"lost"}))).unwrap().calls
        assert (lost.id, lost.fault) == (ref.id, "Lost")
        [attempt] = backend.history(lost.id).unwrap().steps[1].attempts
        assert f"-{first.pid}-" in attempt.worker
        again = resume(ref, on=backend).unwrap()
        wait((folder / f"in-{second.pid}").exists)
        second.kill()
    with worker(folder, path) as third:
        wait((folder / f"in-{third.pid}").exists)
        (folder / "go").touch()
        assert result(again, on=backend, timeout=PATIENCE) == Success(str(third.pid))
    assert (folder / "begun").read_text() == "begun\n"


@pytest.mark.long
def test_a_call_that_kills_its_workers_is_lost_and_goes_on_once_it_does_not(
    folder: Path, path: Path, backend: SqliteBackend
) -> None:
    begin, linger = tasks(folder)
    ref = submit((begin >> linger)(folder), on=backend).unwrap()
    for _ in range(MOST_DEATHS):
        with worker(folder, path) as process:
            wait((folder / f"in-{process.pid}").exists)
            wait(partial(is_noted, backend, ref.id, process.pid))
            process.kill()
    with worker(folder, path):
        fault = result(ref, on=backend, timeout=PATIENCE).failure()
        assert isinstance(fault, Lost)
        assert fault.deliveries == MOST_DEATHS
        attempts = backend.history(ref.id).unwrap().steps[1].attempts
        assert len({each.worker for each in attempts}) == MOST_DEATHS
        (folder / "go").touch()
        again = resume(ref, on=backend).unwrap()
        assert result(again, on=backend, timeout=PATIENCE).unwrap()
    assert (folder / "begun").read_text() == "begun\n"


def stop_between_writes(process: WorkerProcess, path: Path) -> None:
    """Stops a worker while it does not hold the file's lock, which would stop all others too."""

    def is_stopped() -> bool:
        process.send(SIGSTOP)
        with closing(sqlite3.connect(path, timeout=0.5, isolation_level=None)) as file:
            try:
                file.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                process.send(SIGCONT)
                return False
            file.execute("ROLLBACK")
            return True

    wait(is_stopped)


def test_a_worker_that_was_stopped_and_goes_on_overwrites_nothing(
    folder: Path, path: Path, backend: SqliteBackend
) -> None:
    _, linger = tasks(folder)
    with worker(folder, path) as first:
        ref = submit(linger(folder), on=backend).unwrap()
        wait((folder / f"in-{first.pid}").exists)
        stop_between_writes(first, path)
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
