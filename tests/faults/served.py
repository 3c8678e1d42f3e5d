"""What the workers serve that are killed, and how they start.

`python -m tests.faults.served WORKERS LEASE BROKER LEDGER [POINT FLAG]` keeps so many of them going
by forking, which is quicker than to start each anew. With a point, the first that comes by it while
the flag is there, a file, takes the flag down and dies.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from celery.backends.redis import RedisBackend
from kombu.transport.redis import Channel, QoS

from onward import Catalog, current, each, task, together, work
from onward.backends.celery import celery
from onward.backends.celery.ledger import RedisLedger
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
    time.sleep(float(os.environ.get(PACE, "0")))


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

POINTS: dict[str, tuple[type, str, bool]] = {
    "popped": (QoS, "append", False),
    "begun": (RedisLedger, "begin", True),
    "recorded": (RedisLedger, "record", True),
    "put off": (RedisLedger, "put_off", True),
    "sent": (Channel, "_put", True),
    "counted": (RedisBackend, "on_chord_part_return", False),
    "gathered": (RedisBackend, "on_chord_part_return", True),
    "settled": (RedisLedger, "settle", True),
}
"""Where a worker may die: a class, its method, and whether it dies after it or before."""


def arm(point: str, flag: Path) -> None:
    """Makes this process die at a point, if it is the first to take down the flag."""
    owner, name, is_after = POINTS[point]
    method: Callable[..., Any] = getattr(owner, name)

    def die() -> None:
        try:
            flag.unlink()
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    @functools.wraps(method)
    def armed(*args: Any, **kwargs: Any) -> Any:
        if not is_after:
            die()
        came = method(*args, **kwargs)
        if is_after:
            die()
        return came

    setattr(owner, name, armed)


def keep(workers: int, serve: Callable[[], object]) -> NoReturn:
    """Keeps so many processes going that do so."""
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


def serve(lease: float, broker: str, ledger: str) -> None:
    """Works until it is stopped."""
    backend = celery(broker, ledger, lease=lease)
    print("started", flush=True)
    work(catalog, on=backend, concurrency=THREADS).unwrap()


def main(workers: str, lease: str, broker: str, ledger: str, *crash: str) -> NoReturn:
    """Keeps so many workers going."""
    importlib.import_module("onward.backends.celery.worker")  # once, before the first fork
    if crash:
        arm(crash[0], Path(crash[1]))
    keep(int(workers), lambda: serve(float(lease), broker, ledger))


if __name__ == "__main__":
    main(*sys.argv[1:])
