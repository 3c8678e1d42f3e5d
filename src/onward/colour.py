"""Blocking callers of an awaitable backend, and awaiting callers of a blocking one.

An engine's client either blocks or awaits. A backend is written once, in its client's own way, and
is given the other way here.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from returns.result import Failure, Result

from onward.backend import (
    AsyncBackend,
    AsyncCancels,
    AsyncSchedules,
    Backend,
    Cancels,
    Schedule,
    Schedules,
    Status,
    Submission,
    Worker,
)
from onward.catalog import Catalog
from onward.fault import Fault, Misconfigured, Unavailable
from onward.outcome import Outcome
from onward.plan import Plan

T = TypeVar("T")
Core = TypeVar("Core", bound=AsyncBackend)


class LoopThread:
    """An event loop on a thread of its own, for a client that must stay on one loop.

    It starts when first needed, and ends with `close`, with the interpreter, or when nobody holds
    it any more.

    Args:
        name: What the thread goes by.
        linger: How long the loop still goes on when it is to end, in seconds. Threads of a client
            that is no Python may just be about to tell it something, and one that is in Python
            when the interpreter goes takes the process down with it.
    """

    def __init__(self, name: str, linger: float = 0.0) -> None:
        self._name = name
        self._linger = linger
        self._lock = threading.Lock()
        self._running: tuple[asyncio.AbstractEventLoop, threading.Thread] | None = None
        self._is_closed = False
        self._process = os.getpid()
        self._stop: Callable[[], object] = lambda: None

    def start(self, start: Callable[[], Coroutine[Any, Any, T]]) -> concurrent.futures.Future[T]:
        """Starts a coroutine on the loop, and the loop if it is not running; raises `Closed`."""
        with self._lock:
            if self._is_closed:
                raise Closed("the backend was closed")
            if self._process != os.getpid():
                raise Closed(
                    "this process was forked from the one that made the backend, and has not its "
                    "threads: make another backend after the fork"
                )
            if self._running is None:
                loop = asyncio.new_event_loop()
                thread = threading.Thread(
                    target=_run_loop, args=(loop, self._linger), name=self._name, daemon=True
                )
                thread.start()
                self._running = loop, thread
                # Neither the thread nor the finalizer may hold this object, or it never goes.
                self._stop = weakref.finalize(self, _stop_loop, loop, thread)
            return asyncio.run_coroutine_threadsafe(_started(start), self._running[0])

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._is_closed

    def is_this_thread(self) -> bool:
        """Whether the caller runs on the loop's own thread."""
        return self._running is not None and self._running[1] is threading.current_thread()

    def call(self, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Runs a coroutine on the loop while the caller blocks; raises `Closed`."""
        future = self.start(start)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise Closed("the backend was closed") from None
        except BaseException:
            future.cancel()
            raise

    async def hop(self, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Runs a coroutine on the loop while the caller awaits, on whichever loop; `Closed`."""
        if self.is_this_thread():
            return await start()
        future = self.start(start)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if self._is_closed:
                raise Closed("the backend was closed") from None
            raise

    def close(self) -> None:
        """Ends the loop and its thread for good; what runs on it is cancelled."""
        with self._lock:
            self._is_closed = True
        self._stop()


class Closed(Exception):
    """The loop thread was closed, or is another process's."""


async def _started(start: Callable[[], Coroutine[Any, Any, T]]) -> T:
    return await start()


def _run_loop(loop: asyncio.AbstractEventLoop, linger: float) -> None:
    asyncio.set_event_loop(loop)
    try:
        while True:
            try:
                loop.run_forever()
                break
            except (SystemExit, KeyboardInterrupt):
                # asyncio lets these through from any task, here from one that a step has started.
                # The step hears of it; the loop belongs to others too.
                continue
        pending = asyncio.all_tasks(loop)
        for task in pending:
            task.cancel()
        if pending:
            loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(asyncio.sleep(linger))
    finally:
        loop.close()


def _stop_loop(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    with contextlib.suppress(RuntimeError):  # it is closed already
        loop.call_soon_threadsafe(loop.stop)
    if thread is not threading.current_thread():
        thread.join(timeout=1)


class _Held:
    """A worker that keeps the loop that it lives on, also where nobody keeps its backend."""

    def __init__(self, worker: Worker, thread: LoopThread) -> None:
        self._worker = worker
        self._thread = thread

    def stop(self, grace: float = 30.0) -> None:
        """See `Worker.stop`."""
        self._worker.stop(grace)

    def wait(self, timeout: float | None = None) -> bool:
        """See `Worker.wait`."""
        return self._worker.wait(timeout)


class Blocking(Generic[Core]):
    """A `Backend` over an awaitable one, which lives on a loop thread.

    Args:
        core: The awaitable backend.
        thread: The loop that the core is to live on.
    """

    def __init__(self, core: Core, thread: LoopThread) -> None:
        self._core = core
        self._thread = thread

    @property
    def aio(self) -> AsyncBackend:
        """The same backend for callers that await, on any loop."""
        return OnThread(self._core, self._thread)

    def close(self) -> None:
        """Ends the connection and its thread. What was submitted stays with the engine."""
        self._thread.close()

    def submit(self, submission: Submission, /) -> Result[str, Fault]:
        """See `Backend.submit`."""
        return self._wait(lambda: self._core.submit(submission))

    def submit_all(self, submissions: Iterable[Submission], /) -> Result[list[str], Fault]:
        """See `Backend.submit_all`."""
        return self._wait(lambda: self._core.submit_all(submissions))

    def outcome(self, id: str, /, timeout: float | None = None) -> Result[Outcome | None, Fault]:
        """See `Backend.outcome`."""
        return self._wait(lambda: self._core.outcome(id, timeout))

    def settled(
        self, ids: Collection[str], /, timeout: float | None = None
    ) -> Result[Mapping[str, Outcome], Fault]:
        """See `Backend.settled`."""
        return self._wait(lambda: self._core.settled(ids, timeout))

    def status(self, id: str, /) -> Result[Status, Fault]:
        """See `Backend.status`."""
        return self._wait(lambda: self._core.status(id))

    def serve(
        self,
        catalog: Catalog,
        /,
        *,
        concurrency: int | None = None,
        queues: Collection[str] | None = None,
    ) -> Result[Worker, Fault]:
        """See `Backend.serve`."""
        served = self._wait(
            lambda: self._core.serve(catalog, concurrency=concurrency, queues=queues)
        )
        return served.map(lambda worker: _Held(worker, self._thread))

    def _wait(self, start: Callable[[], Coroutine[Any, Any, Result[T, Fault]]]) -> Result[T, Fault]:
        if self._thread.is_this_thread():
            return Failure(
                Misconfigured(
                    "",
                    "a blocking call in an async task would wait for the loop that it blocks: "
                    "await the same function of onward.aio",
                )
            )
        try:
            return self._thread.call(start)
        except Closed as closed:
            return Failure(Unavailable("", str(closed)))


class OnThread:
    """An `AsyncBackend` whose work is done on the loop thread that the core lives on."""

    def __init__(self, core: AsyncBackend, thread: LoopThread) -> None:
        self._core = core
        self._thread = thread

    async def _hop(
        self, start: Callable[[], Coroutine[Any, Any, Result[T, Fault]]]
    ) -> Result[T, Fault]:
        try:
            return await self._thread.hop(start)
        except Closed as closed:
            return Failure(Unavailable("", str(closed)))

    async def submit(self, submission: Submission, /) -> Result[str, Fault]:
        """See `Backend.submit`."""
        return await self._hop(lambda: self._core.submit(submission))

    async def submit_all(self, submissions: Iterable[Submission], /) -> Result[list[str], Fault]:
        """See `Backend.submit_all`."""
        return await self._hop(lambda: self._core.submit_all(submissions))

    async def outcome(
        self, id: str, /, timeout: float | None = None
    ) -> Result[Outcome | None, Fault]:
        """See `Backend.outcome`."""
        return await self._hop(lambda: self._core.outcome(id, timeout))

    async def settled(
        self, ids: Collection[str], /, timeout: float | None = None
    ) -> Result[Mapping[str, Outcome], Fault]:
        """See `Backend.settled`."""
        return await self._hop(lambda: self._core.settled(ids, timeout))

    async def status(self, id: str, /) -> Result[Status, Fault]:
        """See `Backend.status`."""
        return await self._hop(lambda: self._core.status(id))

    async def serve(
        self,
        catalog: Catalog,
        /,
        *,
        concurrency: int | None = None,
        queues: Collection[str] | None = None,
    ) -> Result[Worker, Fault]:
        """See `Backend.serve`."""
        served = await self._hop(
            lambda: self._core.serve(catalog, concurrency=concurrency, queues=queues)
        )
        return served.map(lambda worker: _Held(worker, self._thread))


class BlockingCancels(Blocking[AsyncCancels]):
    """A `Cancels` over an awaitable one."""

    @property
    def aio(self) -> AsyncCancels:
        """The same backend for callers that await, on any loop."""
        return OnThreadCancels(self._core, self._thread)

    def cancel(self, id: str, /) -> Result[None, Fault]:
        """See `Cancels.cancel`."""
        return self._wait(lambda: self._core.cancel(id))


class OnThreadCancels(OnThread):
    """An `AsyncCancels` whose work is done on the loop thread that the core lives on."""

    def __init__(self, core: AsyncCancels, thread: LoopThread) -> None:
        super().__init__(core, thread)
        self._cancels = core

    async def cancel(self, id: str, /) -> Result[None, Fault]:
        """See `Cancels.cancel`."""
        return await self._hop(lambda: self._cancels.cancel(id))


class AsyncEngine(AsyncCancels, AsyncSchedules, Protocol):
    """A backend with all capabilities, for callers that await."""


class BlockingEngine(BlockingCancels):
    """A `Cancels` and `Schedules` over an awaitable one."""

    def __init__(self, core: AsyncEngine, thread: LoopThread) -> None:
        super().__init__(core, thread)
        self._engine = core

    @property
    def aio(self) -> AsyncEngine:
        """The same backend for callers that await, on any loop."""
        return OnThreadEngine(self._engine, self._thread)

    def schedule(self, schedule: Schedule, plan: Plan, /) -> Result[Schedule, Fault]:
        """See `Schedules.schedule`."""
        return self._wait(lambda: self._engine.schedule(schedule, plan))

    def schedules(self) -> Result[list[Schedule], Fault]:
        """See `Schedules.schedules`."""
        return self._wait(self._engine.schedules)

    def pause_schedule(self, name: str, /) -> Result[None, Fault]:
        """See `Schedules.pause_schedule`."""
        return self._wait(lambda: self._engine.pause_schedule(name))

    def resume_schedule(self, name: str, /) -> Result[None, Fault]:
        """See `Schedules.resume_schedule`."""
        return self._wait(lambda: self._engine.resume_schedule(name))

    def unschedule(self, name: str, /) -> Result[None, Fault]:
        """See `Schedules.unschedule`."""
        return self._wait(lambda: self._engine.unschedule(name))


class OnThreadEngine(OnThreadCancels):
    """An `AsyncEngine` whose work is done on the loop thread that the core lives on."""

    def __init__(self, core: AsyncEngine, thread: LoopThread) -> None:
        super().__init__(core, thread)
        self._engine = core

    async def schedule(self, schedule: Schedule, plan: Plan, /) -> Result[Schedule, Fault]:
        """See `Schedules.schedule`."""
        return await self._hop(lambda: self._engine.schedule(schedule, plan))

    async def schedules(self) -> Result[list[Schedule], Fault]:
        """See `Schedules.schedules`."""
        return await self._hop(self._engine.schedules)

    async def pause_schedule(self, name: str, /) -> Result[None, Fault]:
        """See `Schedules.pause_schedule`."""
        return await self._hop(lambda: self._engine.pause_schedule(name))

    async def resume_schedule(self, name: str, /) -> Result[None, Fault]:
        """See `Schedules.resume_schedule`."""
        return await self._hop(lambda: self._engine.resume_schedule(name))

    async def unschedule(self, name: str, /) -> Result[None, Fault]:
        """See `Schedules.unschedule`."""
        return await self._hop(lambda: self._engine.unschedule(name))


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


def awaitable(backend: Backend) -> AsyncBackend:
    """The backend for callers that await: its own awaitable side, or threads around it."""
    return backend.aio if isinstance(backend, Blocking) else InThreads(backend)


def awaitable_cancels(backend: Cancels) -> AsyncCancels:
    """Like `awaitable`, for a backend that can cancel."""
    return backend.aio if isinstance(backend, BlockingCancels) else InThreadsCancels(backend)


def awaitable_schedules(backend: Schedules) -> AsyncSchedules:
    """Like `awaitable`, for a backend that makes calls by the clock."""
    return backend.aio if isinstance(backend, BlockingEngine) else InThreadsSchedules(backend)
