"""What `onward.adapters` was called in the first release; the names are the same."""

from __future__ import annotations

from onward.adapters import (
    AsyncEngine,
    Blocking,
    BlockingCancels,
    BlockingEngine,
    Closed,
    InThreads,
    InThreadsCancels,
    InThreadsSchedules,
    LoopThread,
    OnThread,
    OnThreadCancels,
    OnThreadEngine,
    awaitable,
    awaitable_cancels,
    awaitable_schedules,
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
