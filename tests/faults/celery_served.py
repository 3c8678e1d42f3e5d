"""Workers of ours on Celery that are killed, and how they start.

`python -m tests.faults.celery_served WORKERS LEASE BROKER LEDGER [POINT FLAG]` keeps so many of
them going. With a point, the first that comes by it while the flag is there, a file, takes the flag
down and dies.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from celery.backends.redis import RedisBackend
from kombu.transport.redis import Channel
from kombu.transport.virtual import Transport

from onward import work
from onward.backends.celery import celery
from onward.backends.celery.core import Core
from onward.backends.celery.redis_due import RedisDue
from onward.backends.celery.redis_ledger import RedisLedger
from onward.backends.celery.schedules import ScheduleStore
from tests.faults.served import THREADS, catalog, keep

POINTS: dict[str, tuple[type, str, bool]] = {
    "popped": (Transport, "_deliver", False),
    "begun": (RedisLedger, "begin_step", True),
    "recorded": (RedisLedger, "record_outcome", True),
    "put off": (RedisLedger, "postpone", True),
    "made": (ScheduleStore, "advance", False),
    "sent": (Channel, "_put", True),
    "counted": (RedisBackend, "on_chord_part_return", False),
    "gathered": (RedisBackend, "on_chord_part_return", True),
    "settled": (RedisLedger, "settle", True),
    "held": (RedisDue, "begin_wait", True),
    "claimed": (Core, "send_messages", False),
    "published": (RedisDue, "release", False),
}
"""Where a worker may die: a class, its method, and whether it dies after it or before."""


def arm(point: str, flag: Path) -> None:
    """Makes this process die at a point, if it is the first to remove the flag."""
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
        value = method(*args, **kwargs)
        if is_after:
            die()
        return value

    setattr(owner, name, armed)


def serve(lease: float, broker: str, ledger: str) -> None:
    """Serves until it is stopped."""
    backend = celery(broker, ledger, lease=lease)
    print("started", flush=True)
    work(catalog, on=backend, concurrency=THREADS).unwrap()


def main(workers: str, lease: str, broker: str, ledger: str, *crash: str) -> NoReturn:
    """Keeps so many workers running."""
    importlib.import_module("onward.backends.celery.worker")  # once, before the first fork
    if crash:
        arm(crash[0], Path(crash[1]))
    keep(int(workers), lambda: serve(float(lease), broker, ledger))


if __name__ == "__main__":
    main(*sys.argv[1:])
