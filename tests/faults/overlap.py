"""Steps that note when they begin and end, and a worker that serves them.

`python -m tests.faults.overlap LEASE QUEUE BROKER LEDGER` serves until it is stopped.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onward import Catalog, current, each, task, work
from onward.backends.celery import celery
from tests.faults.served import note, noted, take_time

CONCURRENCY = 8


@contextmanager
def noting() -> Iterator[None]:
    """Notes when the current step begins and ends."""
    note(current().id, f"begins {current().step}")
    yield
    note(current().id, f"ends {current().step}")


@task
def slow(n: int) -> int:
    """One more, after some time."""
    with noting():
        take_time()
    return n + 1


@task
def held(n: int, gate: str) -> int:
    """One more, once the file exists."""
    with noting():
        while not Path(gate).exists():
            time.sleep(0.01)
    return n + 1


@task
def total(ns: list[int]) -> int:
    """The sum."""
    with noting():
        take_time()
    return sum(ns)


chain = (slow >> slow >> slow).named("chain")
fan_out = (each(slow) >> total).named("fan_out")
catalog = Catalog(slow, held, total)


def begun(trace: Path, call: str) -> Counter[str]:
    """How often each step of a call has begun."""
    lines = (line.split() for line in noted(trace, call))
    return Counter(step for what, step in lines if what == "begins")


def overlapping(trace: Path, call: str) -> list[str]:
    """The steps of a call that ran twice at the same time."""
    running: Counter[str] = Counter()
    found: list[str] = []
    for line in noted(trace, call):
        what, step = line.split()
        running[step] += 1 if what == "begins" else -1
        if running[step] > 1:
            found.append(step)
    return found


def main(lease: str, queue: str, broker: str, ledger: str) -> None:
    """Serves until it is stopped."""
    backend = celery(broker, ledger, queue=queue, lease=float(lease))
    print("started", flush=True)
    work(catalog, on=backend, concurrency=CONCURRENCY).unwrap()


if __name__ == "__main__":
    main(*sys.argv[1:])
