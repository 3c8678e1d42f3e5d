"""Awaiting callers of a backend whose client blocks."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import math
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import TypeVar

from returns.result import Failure, Result

from onward.backend import (
    Backend,
    Cancels,
    Schedule,
    Schedules,
    Status,
    Submission,
    Worker,
)
from onward.catalog import Catalog
from onward.fault import Fault, Unavailable
from onward.outcome import Outcome
from onward.plan import Plan

T = TypeVar("T")

_SLICE = 1.5
"""How long a wait keeps its thread before others have their turn, in seconds.

A thread cannot be told that nobody waits any more. It is not less, as a backend that looks for
deadlines once a second would not come to it.
"""

_OUTAGE = 60.0
"""How long who waits puts up with a backend that is away, in seconds."""

_WAITS = 100
"""How many waits of an event loop have a thread at a time; more of them take turns."""

_WAITING: weakref.WeakKeyDictionary[
    asyncio.AbstractEventLoop, concurrent.futures.ThreadPoolExecutor
] = weakref.WeakKeyDictionary()
"""Where each event loop waits: not in its default executor, which is the program's own."""


async def _waited(
    ask: Callable[[float], Result[T, Fault]], timeout: float | None
) -> Result[T, Fault]:
    """What a blocking wait answers, whose thread is free again soon after nobody awaits this."""
    loop = asyncio.get_running_loop()
    threads = _WAITING.get(loop)
    if threads is None:
        threads = concurrent.futures.ThreadPoolExecutor(_WAITS, "onward-wait")
        _WAITING[loop] = threads
    end = math.inf if timeout is None else time.monotonic() + timeout
    given_up = min(end, time.monotonic() + _OUTAGE)

    def asked() -> tuple[Result[T, Fault], bool]:
        began = time.monotonic()
        left = max(min(_SLICE, end - began), 0.0)
        answer = ask(left)
        return answer, time.monotonic() - began < left

    while True:
        variables = contextvars.copy_context()
        answer, is_early = await loop.run_in_executor(threads, partial(variables.run, asked))
        if isinstance(answer, Failure):
            # One that comes at the end of a slice may only be for want of patience.
            is_away = isinstance(answer.failure(), Unavailable) and not is_early
            if not is_away or time.monotonic() >= given_up:
                return answer
            continue
        if answer.unwrap() or time.monotonic() >= end:
            return answer
        given_up = min(end, time.monotonic() + _OUTAGE)


class InThreads:
    """An `AsyncBackend` over a blocking one, each of whose calls takes a thread meanwhile."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def submit(self, submission: Submission, /) -> Result[str, Fault]:
        """See `Backend.submit`."""
        return await asyncio.to_thread(self._backend.submit, submission)

    async def submit_all(self, submissions: Iterable[Submission], /) -> Result[list[str], Fault]:
        """See `Backend.submit_all`."""
        return await asyncio.to_thread(self._backend.submit_all, submissions)

    async def outcome(
        self, id: str, /, timeout: float | None = None
    ) -> Result[Outcome | None, Fault]:
        """See `Backend.outcome`."""
        return await _waited(lambda left: self._backend.outcome(id, left), timeout)

    async def settled(
        self, ids: Collection[str], /, timeout: float | None = None
    ) -> Result[Mapping[str, Outcome], Fault]:
        """See `Backend.settled`."""
        return await _waited(lambda left: self._backend.settled(ids, left), timeout)

    async def status(self, id: str, /) -> Result[Status, Fault]:
        """See `Backend.status`."""
        return await asyncio.to_thread(self._backend.status, id)

    async def serve(
        self,
        catalog: Catalog,
        /,
        *,
        concurrency: int | None = None,
        queues: Collection[str] | None = None,
    ) -> Result[Worker, Fault]:
        """See `Backend.serve`."""
        return await asyncio.to_thread(
            self._backend.serve, catalog, concurrency=concurrency, queues=queues
        )


class InThreadsCancels(InThreads):
    """An `AsyncCancels` over a blocking one."""

    def __init__(self, backend: Cancels) -> None:
        super().__init__(backend)
        self._cancels = backend

    async def cancel(self, id: str, /) -> Result[None, Fault]:
        """See `Cancels.cancel`."""
        return await asyncio.to_thread(self._cancels.cancel, id)


class InThreadsSchedules(InThreads):
    """An `AsyncSchedules` over a blocking one."""

    def __init__(self, backend: Schedules) -> None:
        super().__init__(backend)
        self._schedules = backend

    async def schedule(self, schedule: Schedule, plan: Plan, /) -> Result[Schedule, Fault]:
        """See `Schedules.schedule`."""
        return await asyncio.to_thread(self._schedules.schedule, schedule, plan)

    async def schedules(self) -> Result[list[Schedule], Fault]:
        """See `Schedules.schedules`."""
        return await asyncio.to_thread(self._schedules.schedules)

    async def pause_schedule(self, name: str, /) -> Result[None, Fault]:
        """See `Schedules.pause_schedule`."""
        return await asyncio.to_thread(self._schedules.pause_schedule, name)

    async def resume_schedule(self, name: str, /) -> Result[None, Fault]:
        """See `Schedules.resume_schedule`."""
        return await asyncio.to_thread(self._schedules.resume_schedule, name)

    async def unschedule(self, name: str, /) -> Result[None, Fault]:
        """See `Schedules.unschedule`."""
        return await asyncio.to_thread(self._schedules.unschedule, name)
