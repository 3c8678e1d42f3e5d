"""Backends of one broker and ledger, as several processes have them, and workers on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from onward import Catalog
from onward.backends.celery.backend import CeleryBackend
from tests.engines.process import until

Make = Callable[[], CeleryBackend]
"""Makes a backend, as each process does."""


@contextmanager
def working(make: Make, catalog: Catalog, *queues: str) -> Iterator[None]:
    """A worker, on a backend of its own."""
    with closing(make()) as backend:
        worker = backend.serve(catalog, queues=[backend.queue, *queues]).unwrap()
        try:
            yield
        finally:
            worker.stop()


def wait_for_due(redis: Any, count: int) -> None:
    """Waits until so many entries are due later."""
    until(
        lambda: redis.zcard("onward:due") == count,
        within=120,
        otherwise=lambda: str(redis.zrange("onward:due", 0, -1, withscores=True)),
    )


def wait_for_held(redis: Any, id: str, count: int = 1) -> None:
    """Waits until the ledger holds so many messages of a call."""
    until(
        lambda: redis.hlen(f"onward:{id}:held") == count,
        within=120,
        otherwise=lambda: str(redis.hgetall(f"onward:{id}")),
    )


def wait_for_end(redis: Any, id: str, end: str) -> None:
    """Waits until the ledger says that a call has ended so, without asking as a client does."""
    until(
        lambda: (redis.hget(f"onward:{id}", "end") or b"").decode() == end,
        within=120,
        otherwise=lambda: str(redis.hgetall(f"onward:{id}")),
    )
