"""The workers of flows that wait: `python -m benchmarks.waits_served NAME PLACE` starts one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from benchmarks.hatchet import environment_backend
from benchmarks.hatchet_plain import waits
from benchmarks.temporal_served import backend_at
from onward import Catalog, Signal, awaits, sleep, task, unwrap, work
from onward.backend import Backend
from onward.backends.celery import celery
from onward.backends.sqlite import sqlite

LOCAL, SQLITE, CELERY, TEMPORAL, HATCHET = (
    f"Onward on {engine}" for engine in ("local", "SQLite", "Celery", "Temporal", "Hatchet")
)
HATCHET_SDK = "hatchet-sdk"
PAUSE = 0.2
"""How long a call sleeps, in seconds."""

GO = Signal("go", int)


@task
def step(n: int) -> int:
    return n


sleeping = step >> sleep(PAUSE) >> step
signalled = step >> awaits(GO) >> step

BACKENDS: Mapping[str, Callable[[str], Backend]] = {
    SQLITE: sqlite,
    CELERY: celery,
    TEMPORAL: backend_at,
    HATCHET: lambda _: environment_backend(),
}
"""The backends that have workers, each at a place: a path, or a server's URL."""


def main(name: str, place: str) -> None:
    """Serves until it is stopped."""
    if name == HATCHET_SDK:
        waits().serve()
    else:
        unwrap(work(Catalog(step), on=BACKENDS[name](place)))


if __name__ == "__main__":
    main(*sys.argv[1:])
