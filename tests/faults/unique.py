"""Submitters of debounced calls of one key, and workers, all of which are killed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from returns.result import Success

from onward import result, submit
from onward.backend import Backend
from onward.flows.flow import AnyTask
from tests.engines.process import until
from tests.engines.worker import WorkerProcess

PATIENCE = 60.0
SUBMITTERS = 3

TASKS = """
import time
from pathlib import Path
from onward import current, task

@task
def index(folder: Path, n: int) -> int:
    \"\"\"Writes down with what it runs, and whether another call of the key does.\"\"\"
    running = folder / "running"
    if running.exists() and running.read_text() not in ("", current().id):
        (folder / "overlap").touch()
    running.write_text(current().id)
    time.sleep(0.02)
    with (folder / "ran").open("a") as file:
        file.write(f"{n}\\n")
    running.unlink(missing_ok=True)
    return n
"""

SUBMITTER = """
import time
from pathlib import Path
from onward import submit
from backend import backend
from pipeline import index

n = 0
while True:
    n += 1
    submitted = submit(index(Path.cwd(), n), on=backend, unique="k", debounce=0.005)
    print(submitted.unwrap().id, flush=True)
    time.sleep(0.05)  # or no call would ever start
"""


WORKER = """
from onward import Catalog, work
from backend import backend
from pipeline import index

work(Catalog(index), on=backend).unwrap()
"""


def storm(folder: Path, program: str, backend: Backend) -> None:
    """Kills a submitter and a worker; each call ends, one at a time, and the last one is last.

    Args:
        folder: Where the processes write.
        program: Python code that makes `backend`, for these processes.
        backend: The same backend, in this process.
    """
    (folder / "pipeline.py").write_text(TASKS)
    (folder / "backend.py").write_text(program)
    (folder / "submitter.py").write_text(SUBMITTER)
    (folder / "worker.py").write_text(WORKER)
    with ExitStack() as stack:

        def started(name: str, number: int) -> WorkerProcess:
            command = [sys.executable, f"{name}.py"]
            log = folder / f"{name}-{number}"
            return stack.enter_context(WorkerProcess(command, log=log, folder=folder))

        first = started("worker", 1)
        submitters = [started("submitter", number) for number in range(SUBMITTERS)]
        more_run(folder)
        submitters[0].kill()
        more_run(folder)
        first.kill()
        started("worker", 2)
        more_run(folder)
        for submitter in submitters[1:]:
            submitter.kill()
        names: dict[str, AnyTask] = {}
        exec(TASKS, names)
        index = names["index"]
        last = submit(index(folder, -1), on=backend, unique="k", debounce=0).unwrap()
        assert result(last, on=backend, timeout=PATIENCE) == Success(-1)
        assert ran(folder)[-1] == "-1"
        for number in range(SUBMITTERS):
            for id in set((folder / f"submitter-{number}").read_text().splitlines()):
                found = result(index.ref(id), on=backend, timeout=PATIENCE)
                assert isinstance(found, Success), found
    assert not (folder / "overlap").exists()


def ran(folder: Path) -> list[str]:
    """The arguments of the calls that have run."""
    file = folder / "ran"
    return file.read_text().splitlines() if file.exists() else []


def more_run(folder: Path) -> None:
    """Waits until a few more calls have run."""
    many = len(ran(folder)) + 5
    _until(lambda: len(ran(folder)) >= many)


def _until(condition: Callable[[], bool]) -> None:
    until(condition, within=PATIENCE, otherwise=lambda: "no more calls ran")
