"""Many submitters of debounced calls of one key: at once, and killed together with workers."""

from __future__ import annotations

import itertools
import random
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from returns.result import Failure, Success

from onward import Cancelled, Cancels, Ref, cancel, result, submit, task
from onward.backend import Backend
from onward.flows.flow import AnyTask
from tests.engines.process import until
from tests.engines.worker import WorkerProcess

AnyRef: TypeAlias = Ref[Any, Any]

PATIENCE = 120.0
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


@task
def lasting(seconds: float) -> float:
    """Takes so long."""
    time.sleep(seconds)
    return seconds


class Sent(NamedTuple):
    """A submission: its ref and its argument, when it began, and when it had its ref."""

    ref: AnyRef
    seconds: float
    began: float
    ended: float


def contend(backend: Cancels, seconds: float) -> None:
    """Has 32 threads submit calls of one key, and cancel some.

    No call may run with arguments that a later submission with the same ref has replaced.

    Args:
        backend: It has a worker.
        seconds: For how long.
    """
    numbers = itertools.count(1)
    end = time.monotonic() + seconds

    def submit_some(seed: int) -> tuple[list[Sent], set[AnyRef]]:
        chance = random.Random(seed)
        sent: list[Sent] = []
        cancelled: set[AnyRef] = set()
        while time.monotonic() < end:
            argument, began = 0.01 + next(numbers) * 1e-6, time.monotonic()
            debounce = chance.choice([0.0, 0.0, 0.01, 0.05])
            ref = submit(lasting(argument), on=backend, unique="k", debounce=debounce).unwrap()
            sent.append(Sent(ref, argument, began, time.monotonic()))
            if chance.random() < 0.1:
                cancelled.add(ref)
                cancel(ref, on=backend).unwrap()
            time.sleep(chance.random())  # or no call would ever start
        return sent, cancelled

    with ThreadPoolExecutor(32) as threads:
        parts = list(threads.map(submit_some, range(32)))
    every = sorted((each for sent, _ in parts for each in sent), key=lambda each: each.ref.id)
    cancelled = {ref for _, some in parts for ref in some}
    submit(lasting(0.0), on=backend, unique="k", debounce=0).unwrap()
    for ref, group in itertools.groupby(every, key=lambda each: each.ref):
        sent = [*group]
        found = result(ref, on=backend, timeout=PATIENCE)
        if isinstance(found, Failure):
            assert ref in cancelled
            assert isinstance(found.failure(), Cancelled)
        elif found.unwrap():  # it was not replaced by the very last one
            [ran] = [each for each in sent if each.seconds == found.unwrap()]
            assert [each for each in sent if each.began > ran.ended] == []


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
