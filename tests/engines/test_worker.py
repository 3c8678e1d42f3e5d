"""Workers can be killed in part and as a whole, and leave nothing behind."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines.process import living, until
from tests.engines.worker import WorkerProcess

ROOT = Path(__file__).parents[2]

RUN = """
import pathlib, signal, sys
from tests.engines.test_worker import parent

worker, _ = parent(pathlib.Path(sys.argv[1]))
print(worker.pid, flush=True)
signal.pause()
"""

PARENT = ["/bin/sh", "-c", "sleep 600 & sleep 600 & wait"]


def parent(folder: Path) -> tuple[WorkerProcess, frozenset[int]]:
    """A worker, and its two children."""
    worker = WorkerProcess(PARENT, log=folder / "log")
    until(lambda: len(worker.pids()) == 3, within=120, otherwise=lambda: f"only {worker.pids()}")
    return worker, worker.pids() - {worker.pid}


def test_a_module_runs_with_the_environment_in_the_folder_and_is_logged(tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text(
        "import os, sys; print(sys.executable, os.environ['COLOUR'], *sys.argv[1:]); sys.exit(7)"
    )
    with WorkerProcess.module(
        "probe", "a", log=tmp_path / "log", environment={"COLOUR": "red"}, folder=tmp_path
    ) as worker:
        assert worker.wait(60) == 7
        assert worker.tail() == f"{sys.executable} red a\n"


def test_a_kill_ends_the_main_process_alone(tmp_path: Path) -> None:
    worker, children = parent(tmp_path)
    with worker:
        worker.kill()
        assert worker.wait(60) == -signal.SIGKILL
        assert worker.pids() == children


def test_killing_the_children_spares_the_main_process(tmp_path: Path) -> None:
    worker, children = parent(tmp_path)
    with worker:
        worker.pause()  # or it would end with them
        assert worker.kill_children() == children
        until(lambda: worker.pids() == {worker.pid}, within=120, otherwise=lambda: "they live")


def test_a_terminated_worker_may_end_in_good_order(tmp_path: Path) -> None:
    script = "trap 'exit 7' TERM; echo ready; sleep 600 & wait"
    with WorkerProcess(["/bin/sh", "-c", script], log=tmp_path / "log") as worker:
        until(lambda: worker.tail() == "ready\n", within=120, otherwise=worker.tail)
        worker.terminate()
        assert worker.wait(60) == 7


def test_waiting_too_long_shows_the_log(tmp_path: Path) -> None:
    script = "echo busy; sleep 600"
    with (
        WorkerProcess(["/bin/sh", "-c", script], log=tmp_path / "log") as worker,
        pytest.raises(TimeoutError, match="busy"),
    ):
        worker.wait(0.5)


def test_in_the_end_neither_the_worker_nor_what_it_started_lives(tmp_path: Path) -> None:
    worker, _ = parent(tmp_path)
    worker.close()
    assert not living(worker.pid)
    assert worker.exit_code() == -signal.SIGKILL


def test_after_the_end_signals_reach_nobody(tmp_path: Path) -> None:
    worker, _ = parent(tmp_path)
    worker.close()
    worker.close()
    worker.kill()
    worker.terminate()
    assert worker.kill_children() == frozenset()


def test_a_killed_test_run_leaves_no_worker(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RUN, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        group = int(process.stdout.readline())
        assert len(living(group)) == 3
        process.send_signal(signal.SIGKILL)
        until(lambda: not living(group), within=120, otherwise=lambda: f"{living(group)} live on")
