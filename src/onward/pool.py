"""Slots and threads for the steps of an in-process worker."""

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
    """A limited number of slots. The most urgent waiter gets the next one."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def add(self, count: int) -> None:
        """Adds slots, or removes them if the count is negative."""
        self._free += count
        while self._free > 0 and self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                self._free -= 1
                turn.set_result(None)

    async def take(self, priority: int | None) -> None:
        """Takes a slot as soon as one is free and nobody more urgent waits."""
        if self._free > 0:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        urgency = _DEFAULT_PRIORITY if priority is None else priority
        heapq.heappush(self._waiting, (-urgency, next(self._order), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it got a slot before it was cancelled
                self.add(1)
            raise


class Threads:
    """Daemon threads, so that a step that never returns does not keep the program from ending.

    Idle threads end when this object is garbage-collected.
    """

    def __init__(self) -> None:
        self._pool = _ThreadPool()
        weakref.finalize(self, self._pool.close)

    async def run(self, job: Callable[[], T], variables: contextvars.Context) -> T:
        """Runs a job on a thread. If the awaiting task is cancelled, the job goes on.

        Args:
            job: What it does.
            variables: The context that it runs in, which nothing else runs in meanwhile.
        """
        loop = asyncio.get_running_loop()
        finished: asyncio.Future[T] = loop.create_future()

        def work() -> None:
            try:
                deliver = partial(_settle, finished, variables.run(job))
            except BaseException as problem:
                deliver = partial(_settle, finished, problem=problem)
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(deliver)

        self._pool.submit(work)
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


class _ThreadPool:
    """The threads, each with its own inbox. They refer to this object and not to `Threads`."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # garbage collection may call `close` in this same thread
        self._idle: list[_Inbox] = []
        self._is_closed = False

    def submit(self, work: Callable[[], None]) -> None:
        with self._lock:
            inbox = self._idle.pop() if self._idle else None
        if inbox is None:
            inbox = SimpleQueue()
            thread = threading.Thread(
                target=self._serve, args=(inbox,), name="onward-step", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as problem:
                if "shutdown" not in str(problem):
                    raise
                work()  # a cleanup: since Python 3.12, a program that ends starts no threads
                return
        inbox.put(work)

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            for inbox in self._idle:
                inbox.put(None)

    def _serve(self, inbox: _Inbox) -> None:
        while (work := inbox.get()) is not None:
            work()
            del work  # it refers to the step's arguments and value
            with self._lock:
                if self._is_closed:
                    return
                self._idle.append(inbox)
