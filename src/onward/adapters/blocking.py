"""Blocking callers of a backend whose client awaits, and awaiting ones on other loops than its."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from returns.result import Failure, Result

from onward.adapters.loop import Closed, LoopThread
from onward.backend import (
    AsyncBackend,
    AsyncCancels,
    AsyncSchedules,
    Schedule,
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
