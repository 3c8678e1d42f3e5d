"""`onward worker --isolate`, and a worker that starts afresh after so many tasks."""

import os
import sys
from pathlib import Path
from signal import SIGKILL, SIGTERM

import pytest
from returns.result import Success

from onward import Backend, connect, result, run, submit, task
from tests.cli.serving import PATIENCE, serving, started, wait_for_file, wait_for_text
from tests.engines.process import until
from tests.engines.worker import WorkerProcess

MODULE = """
import os, sys, time
from pathlib import Path
from onward import Catalog, connect, task, work

@task
def pid(n: int) -> int:
    return os.getpid()

@task
def wait(folder: str) -> int:
    Path(folder, "running").write_text(str(os.getpid()))
    while not Path(folder, "let-go").exists():
        time.sleep(0.01)
    return os.getpid()

@task
def spin(folder: str) -> int:
    import re
    Path(folder, "running").write_text(str(os.getpid()))
    re.match(r"(a+)+$", "a" * 60 + "b")  # holds the GIL for ever
    return 0

if __name__ == "__main__":
    work(Catalog(pid), on=connect(sys.argv[1]).unwrap(), isolate=True)
"""


@task
def pid(n: int) -> int:
    raise NotImplementedError  # the worker has it


@task
def wait(folder: str) -> int:
    raise NotImplementedError


@task
def spin(folder: str) -> int:
    raise NotImplementedError


@pytest.fixture
def url(tmp_path: Path) -> str:
    (tmp_path / "pipeline.py").write_text(MODULE)
    return f"sqlite:///{tmp_path}/onward.db"


@pytest.fixture
def backend(url: str) -> Backend:
    return connect(url).unwrap()


def running(folder: Path) -> int:
    """The process that a task runs in."""
    wait_for_file(folder / "running")
    until(
        lambda: (folder / "running").read_text() != "",
        within=PATIENCE,
        otherwise=lambda: "it never wrote its id",
    )
    return int((folder / "running").read_text())


def ends(process: int) -> None:
    until(lambda: not _is_alive(process), within=PATIENCE, otherwise=lambda: "it lives on")


def _is_alive(process: int) -> bool:
    try:
        # A process that is dead and not waited for has no command line.
        return Path(f"/proc/{process}/cmdline").read_bytes() != b""
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc")
def test_no_child_survives_a_worker_that_is_killed(
    tmp_path: Path, url: str, backend: Backend
) -> None:
    """Not even one that runs C code, which no thread of its own can interrupt."""
    with serving(tmp_path, url, "--isolate") as worker:
        idle = run(pid(1), on=backend, timeout=PATIENCE).unwrap()
        submit(spin(str(tmp_path)), on=backend).unwrap()
        busy = running(tmp_path)
        assert len({worker.pid, busy}) == 2
        worker.send(SIGKILL)
        worker.wait(PATIENCE)
        ends(busy)
        ends(idle)


def test_a_worker_with_isolated_tasks_stops_in_its_grace_time(
    tmp_path: Path, url: str, backend: Backend
) -> None:
    with serving(tmp_path, url, "--isolate", "--max-tasks", "1", "--grace", "0") as worker:
        one, other = (run(pid(1), on=backend, timeout=PATIENCE).unwrap() for _ in range(2))
        assert len({one, other, worker.pid}) == 3  # a child for each task, and the same worker
        submit(spin(str(tmp_path)), on=backend).unwrap()
        busy = running(tmp_path)
        os.kill(busy, SIGTERM)  # as systemd does with all processes of a unit
        worker.send(SIGTERM)
        assert worker.wait(PATIENCE) == 0
        ends(busy)
    assert worker.tail().endswith("\nstopped\n")


def test_a_worn_worker_starts_afresh_and_loses_nothing(
    tmp_path: Path, url: str, backend: Backend
) -> None:
    with serving(tmp_path, url, "--max-tasks", "2", "--concurrency", "2") as worker:
        held = submit(wait(str(tmp_path)), on=backend).unwrap()
        assert running(tmp_path) == worker.pid
        others = [run(pid(1), on=backend, timeout=PATIENCE).unwrap() for _ in range(2)]
        wait_for_text(worker, "enough: 1 task running")
        waiting = submit(pid(1), on=backend).unwrap()
        (tmp_path / "let-go").touch()
        assert result(held, on=backend, timeout=PATIENCE) == Success(worker.pid)
        # The same process id, and all calls have their outcomes.
        assert result(waiting, on=backend, timeout=PATIENCE) == Success(worker.pid)
        assert others == [worker.pid] * 2
        assert worker.tail().count("\nready") == 2
        worker.send(SIGTERM)
        assert worker.wait(PATIENCE) == 0
    assert worker.tail().endswith("\nstopped\n")


def test_a_worn_worker_that_is_told_to_stop_does_not_start_afresh(
    tmp_path: Path, url: str, backend: Backend
) -> None:
    arguments = ("--max-tasks", "1", "--concurrency", "2", "--grace", "0")
    with serving(tmp_path, url, *arguments) as worker:
        submit(wait(str(tmp_path)), on=backend).unwrap()
        running(tmp_path)
        run(pid(1), on=backend, timeout=PATIENCE).unwrap()
        wait_for_text(worker, "enough: 1 task running")
        worker.send(SIGTERM)
        assert worker.wait(PATIENCE) == 0
    assert worker.tail().endswith("\n0 tasks finished, 1 task given back\nstopped\n")


def test_a_worker_that_has_too_much_memory_starts_afresh(
    tmp_path: Path, url: str, backend: Backend
) -> None:
    with started("worker", "pipeline", "--max-memory", "1", "--on", url, folder=tmp_path) as worker:
        until(
            lambda: worker.log.read_text().count("\nready") >= 2,
            within=PATIENCE,
            otherwise=worker.tail,
        )


def test_isolated_tasks_may_be_in_the_program_itself(
    tmp_path: Path, url: str, backend: Backend
) -> None:
    log = tmp_path / "log"
    with WorkerProcess.module("pipeline", url, log=log, folder=tmp_path) as worker:
        assert run(pid(1), on=backend, timeout=PATIENCE).unwrap() != worker.pid
    script = str(tmp_path / "pipeline.py")
    with WorkerProcess([sys.executable, script, url], log=log, folder=tmp_path) as worker:
        assert run(pid(1), on=backend, timeout=PATIENCE).unwrap() != worker.pid
