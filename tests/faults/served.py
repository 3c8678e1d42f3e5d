"""The tasks of workers that are killed, their notes, and how the workers are kept running."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from onward import Catalog, Fault, current, each, task, together
from onward.policy import Constant, Retry

TRACE = "FAULTS_TRACE"
"""The environment variable with the folder in which steps note their starts."""
THREADS = 4
"""How many steps a worker runs at the same time."""
PACE = "FAULTS_PACE"
"""The environment variable that says how long a step takes, in seconds."""


def note(call: str, text: str) -> None:
    """Appends a line to a call's notes, in one atomic write."""
    if folder := os.environ.get(TRACE):
        with Path(folder, call).open("ab", buffering=0) as file:
            file.write(f"{text}\n".encode())


def noted(folder: Path, call: str) -> list[str]:
    """The lines of a call's notes."""
    file = folder / call
    return file.read_text().splitlines() if file.exists() else []


def take_time() -> None:
    """Waits as long as a step should take."""
    # With a wrong clock, libfaketime breaks time.sleep, which uses the monotonic clock.
    threading.Event().wait(float(os.environ.get(PACE, "0")))


@task
def step(n: int) -> int:
    """One more."""
    note(current().id, f"step {n}")
    take_time()
    return n + 1


@task
def add_up(numbers: list[int]) -> int:
    """Their sum."""
    note(current().id, f"add_up {len(numbers)}")
    take_time()
    return sum(numbers)


@task(retry=Retry(attempts=2, backoff=Constant(0.2), on=(ConnectionError,)))
def stumble(n: int) -> int:
    """Returns its argument, in the second attempt."""
    note(current().id, f"stumble {n}")
    if current().attempt == 1:
        raise ConnectionResetError(f"stumbled at {n}")
    return n


@task
def hold(gate: str) -> str:
    """Returns its argument, once the file of this name exists."""
    note(current().id, "hold")
    while not Path(gate).exists():
        time.sleep(0.01)
    return gate


@task
def undo(n: int) -> None:
    """A cleanup, noted when it ends."""
    take_time()
    note(current().id, f"undo {n}")


@task
def refuse(n: int) -> int:
    """Fails."""
    note(current().id, f"refuse {n}")
    raise ValueError(n)


@task
def join(pair: tuple[int, int]) -> int:
    """The sum of two."""
    note(current().id, f"join {pair}")
    return sum(pair)


@task
def go_on(failed: tuple[int, Fault]) -> int:
    """Ten times what went in, when that has failed as it should."""
    n, fault = failed
    return 10 * n if fault.task == refuse.name else -1


@task
def unserved(n: int) -> int:
    """No worker serves this task."""
    return n


chain = (step >> step >> step).named("chain")
fan_out = (each(step) >> add_up).named("fan_out")
pairs = (together(step, step >> step) >> each(step) >> add_up).named("pairs")
catalog = Catalog(step, add_up, stumble, hold, undo, refuse, join, go_on)


def keep(workers: int, serve: Callable[[], object]) -> NoReturn:
    """Keeps so many processes running; they are forked, which is quicker than starting them."""
    going: set[int] = set()
    while True:
        while len(going) < workers:
            pid = os.fork()
            if not pid:
                try:
                    serve()
                finally:
                    os._exit(1)
            going.add(pid)
        pid, _ = os.wait()
        going.discard(pid)
