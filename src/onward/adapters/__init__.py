"""Blocking callers of an awaitable backend, and awaiting callers of a blocking one.

An engine's client either blocks or awaits. A backend is written once, in its client's own way, and
is given the other way here.
"""

from __future__ import annotations

from onward.adapters.blocking import (
    AsyncEngine,
    Blocking,
    BlockingCancels,
    BlockingEngine,
    OnThread,
    OnThreadCancels,
    OnThreadEngine,
)
from onward.adapters.loop import Closed, LoopThread
from onward.adapters.threads import InThreads, InThreadsCancels, InThreadsSchedules
from onward.backend import (
    AsyncBackend,
    AsyncCancels,
    AsyncSchedules,
    Backend,
    Cancels,
    Schedules,
)

__all__ = [
    "AsyncEngine",
    "Blocking",
    "BlockingCancels",
    "BlockingEngine",
    "Closed",
    "InThreads",
    "InThreadsCancels",
    "InThreadsSchedules",
    "LoopThread",
    "OnThread",
    "OnThreadCancels",
    "OnThreadEngine",
    "awaitable",
    "awaitable_cancels",
    "awaitable_schedules",
]


def awaitable(backend: Backend) -> AsyncBackend:
    """The backend for callers that await: its own awaitable side, or threads around it."""
    return backend.aio if isinstance(backend, Blocking) else InThreads(backend)


def awaitable_cancels(backend: Cancels) -> AsyncCancels:
    """Like `awaitable`, for a backend that can cancel."""
    return backend.aio if isinstance(backend, BlockingCancels) else InThreadsCancels(backend)


def awaitable_schedules(backend: Schedules) -> AsyncSchedules:
    """Like `awaitable`, for a backend that makes calls by the clock."""
    return backend.aio if isinstance(backend, BlockingEngine) else InThreadsSchedules(backend)
