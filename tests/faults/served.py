"""What the workers serve that are killed, what is noted of it, and how they are kept going."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from onward import Catalog, current, each, task, together
from onward.policy import Constant, Retry

TRACE = "FAULTS_TRACE"
"""The environment variable that names the folder in which a call's starts are noted."""
THREADS = 4
"""How many steps a worker runs at a time."""
PACE = "FAULTS_PACE"
"""The environment variable that says how long a step takes, in seconds."""


def note(call: str, text: str) -> None:
    """Adds a line to what is known of a call, in one write that stays whole."""
    if folder := os.environ.get(TRACE):
        with Path(folder, call).open("ab", buffering=0) as file:
            file.write(f"{text}\n".encode())


def noted(folder: Path, call: str) -> list[str]:
    """What was noted of a call."""
    file = folder / call
    return file.read_text().splitlines() if file.exists() else []


def toil() -> None:
    """Takes as long as a step takes."""
    # Where a clock is wrong on purpose, libfaketime lets no time.sleep by the monotonic one.
    threading.Event().wait(float(os.environ.get(PACE, "0")))


@task
def step(n: int) -> int:
    """One more."""
    note(current().id, f"step {n}")
    toil()
    return n + 1


@task
def add_up(numbers: list[int]) -> int:
    """Their sum."""
    note(current().id, f"add_up {len(numbers)}")
    toil()
    return sum(numbers)


@task(retry=Retry(attempts=2, backoff=Constant(0.2), on=(ConnectionError,)))
def stumble(n: int) -> int:
    """The same, but only at the second attempt."""
    note(current().id, f"stumble {n}")
    if current().attempt == 1:
        raise ConnectionResetError(f"stumbled at {n}")
    return n


@task
def hold(gate: str) -> str:
    """The same, once there is such a file."""
    note(current().id, "hold")
    while not Path(gate).exists():
        time.sleep(0.01)
    return gate


@task
def unserved(n: int) -> int:
    """The same, if a worker knew it."""
    return n


chain = (step >> step >> step).named("chain")
fan_out = (each(step) >> add_up).named("fan_out")
pairs = (together(step, step >> step) >> each(step) >> add_up).named("pairs")
catalog = Catalog(step, add_up, stumble, hold)


def keep(workers: int, serve: Callable[[], object]) -> NoReturn:
    """Keeps so many processes going that do so, by forking: quicker than to start each anew."""
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
