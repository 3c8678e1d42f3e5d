"""Where an in-process worker runs its steps: so many at a time, on threads that block nobody."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
import itertools
import threading
import weakref
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import TypeAlias, TypeVar, cast

T = TypeVar("T")

_DEFAULT_PRIORITY = 5
_Inbox: TypeAlias = SimpleQueue[Callable[[], None] | None]


class Slots:
    """So many at a time; the most urgent of those that wait goes first."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def add(self, count: int) -> None:
        """Puts so many slots back, or takes as many away for good."""
        self._free += count
        while self._free > 0 and self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                self._free -= 1
                turn.set_result(None)

    async def take(self, priority: int | None) -> None:
        """Takes a slot, once one is free and nobody more urgent waits."""
        if self._free > 0:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        urgency = _DEFAULT_PRIORITY if priority is None else priority
        heapq.heappush(self._waiting, (-urgency, next(self._order), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was given a slot all the same
                self.add(1)
            raise


class Threads:
    """Threads that do not keep the process alive, unlike an executor's.

    A step that never returns must not hang the program at its end. Idle threads end when nobody
    holds this object any more.
    """

    def __init__(self) -> None:
        self._crew = _Crew()
        weakref.finalize(self, self._crew.dismiss)

    async def run(self, job: Callable[[], T]) -> T:
        """Runs a job on a thread; if the awaiting task is cancelled, the job goes on unheard."""
        loop = asyncio.get_running_loop()
        finished: asyncio.Future[T] = loop.create_future()
        variables = contextvars.copy_context()

        def work() -> None:
            try:
                deliver = partial(_settle, finished, variables.run(job))
            except BaseException as problem:
                deliver = partial(_settle, finished, problem=problem)
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(deliver)

        self._crew.take(work)
        return await finished


def _settle(
    finished: asyncio.Future[T], value: T | None = None, problem: BaseException | None = None
) -> None:
    if finished.done():
        return
    if problem is None:
        finished.set_result(cast(T, value))
    else:
        finished.set_exception(problem)


class _Crew:
    """The threads themselves, each waiting at its own inbox. They hold this, and not `Threads`."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # dismiss may come from a collection in this very thread
        self._idle: list[_Inbox] = []
        self._is_dismissed = False

    def take(self, work: Callable[[], None]) -> None:
        with self._lock:
            inbox = self._idle.pop() if self._idle else None
        if inbox is None:
            inbox = SimpleQueue()
            threading.Thread(
                target=self._serve, args=(inbox,), name="onward-step", daemon=True
            ).start()
        inbox.put(work)

    def dismiss(self) -> None:
        with self._lock:
            self._is_dismissed = True
            for inbox in self._idle:
                inbox.put(None)

    def _serve(self, inbox: _Inbox) -> None:
        while (work := inbox.get()) is not None:
            work()
            del work  # it holds the step's arguments and value
            with self._lock:
                if self._is_dismissed:
                    return
                self._idle.append(inbox)
