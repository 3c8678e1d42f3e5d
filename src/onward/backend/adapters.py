"""Blocking callers of an awaitable backend, and awaiting callers of a blocking one.

An engine's client either blocks or awaits. A backend is written once, in its client's own way, and
an adapter of each capability that it has gives it the other way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast

from returns.result import Failure, Result

from onward.backend.guard import raising
from onward.backend.loop import Closed, LoopThread
from onward.backend.protocols import (
    AsyncBackend,
    AsyncCancels,
    AsyncDiagnoses,
    AsyncSchedules,
    Worker,
)
from onward.backend.records import Diagnosis, Schedule, Status, Submission
from onward.backend.waits import waited
from onward.catalog import Catalog
from onward.fault import Fault, Misconfigured, Unavailable
from onward.outcome import Outcome
from onward.plan import Plan

P = ParamSpec("P")
T = TypeVar("T")
K = TypeVar("K")


class CancelsCore(AsyncBackend, AsyncCancels, Protocol):
    """An awaitable backend that can cancel."""


class SchedulesCore(AsyncBackend, AsyncSchedules, Protocol):
    """An awaitable backend that makes calls by the clock."""


class DiagnosesCore(AsyncBackend, AsyncDiagnoses, Protocol):
    """An awaitable backend that can tell how its engine is."""


Core = TypeVar("Core", bound=AsyncBackend)
CancelsCoreT = TypeVar("CancelsCoreT", bound=CancelsCore)
SchedulesCoreT = TypeVar("SchedulesCoreT", bound=SchedulesCore)
DiagnosesCoreT = TypeVar("DiagnosesCoreT", bound=DiagnosesCore)


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


# -- an awaitable backend, for callers that block ---------------------------------------------


class Blocking(Generic[Core]):
    """A `Backend` over an awaitable one, which lives on a loop thread.

    What the core can do besides takes a mixin each: `class Mine(BlockingCancels[MyCore],
    BlockingSchedules[MyCore])`.

    Args:
        core: The awaitable backend.
        thread: The loop that the core is to live on.
    """

    def __init__(self, core: Core, thread: LoopThread) -> None:
        self._core = core
        self._thread = thread

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
        """What the core answers, while the caller blocks."""
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

    async def _await(
        self, start: Callable[[], Coroutine[Any, Any, Result[T, Fault]]]
    ) -> Result[T, Fault]:
        """What the core answers, while the caller awaits."""
        try:
            return await self._thread.run(start)
        except Closed as closed:
            return Failure(Unavailable("", str(closed)))


class BlockingCancels(Blocking[CancelsCoreT]):
    """A `Cancels` over an awaitable one."""

    def cancel(self, id: str, /) -> Result[None, Fault]:
        """See `Cancels.cancel`."""
        return self._wait(lambda: self._core.cancel(id))


class BlockingSchedules(Blocking[SchedulesCoreT]):
    """A `Schedules` over an awaitable one."""

    def schedule(self, schedule: Schedule, plan: Plan, /) -> Result[Schedule, Fault]:
        """See `Schedules.schedule`."""
        return self._wait(lambda: self._core.schedule(schedule, plan))

    def schedules(self) -> Result[list[Schedule], Fault]:
        """See `Schedules.schedules`."""
        return self._wait(self._core.schedules)

    def pause_schedule(self, name: str, /) -> Result[None, Fault]:
        """See `Schedules.pause_schedule`."""
        return self._wait(lambda: self._core.pause_schedule(name))

    def resume_schedule(self, name: str, /) -> Result[None, Fault]:
        """See `Schedules.resume_schedule`."""
        return self._wait(lambda: self._core.resume_schedule(name))

    def unschedule(self, name: str, /) -> Result[None, Fault]:
        """See `Schedules.unschedule`."""
        return self._wait(lambda: self._core.unschedule(name))


class BlockingDiagnoses(Blocking[DiagnosesCoreT]):
    """A `Diagnoses` over an awaitable one."""

    def diagnose(self, queues: Collection[str] = (), /) -> Result[Diagnosis, Fault]:
        """See `Diagnoses.diagnose`."""
        return self._wait(lambda: self._core.diagnose(queues))


# -- any backend, for callers that await ------------------------------------------------------


async def awaiting(
    method: Callable[P, Result[T, Fault]], /, *args: P.args, **kwargs: P.kwargs
) -> Result[T, Fault]:
    """What a backend's blocking method answers, for a caller that awaits.

    A backend that adapts an awaitable one has the same method of that run on its loop thread; for
    any other, a thread blocks meanwhile.

    Args:
        method: The bound method, such as `backend.submit`.
        args: Its arguments.
        kwargs: Its arguments by name.
    """
    owner = getattr(method, "__self__", None)
    try:
        if isinstance(owner, Blocking):
            ask = partial(getattr(owner._core, method.__name__), *args, **kwargs)
            return await owner._await(ask)
        return await asyncio.to_thread(method, *args, **kwargs)
    except Exception as problem:
        return Failure(raising(method, problem))


async def awaiting_within(
    method: Callable[[K, float | None], Result[T, Fault]], asked: K, timeout: float | None
) -> Result[T, Fault]:
    """Like `awaiting`, for `outcome` and `settled`: a wait that is given up lets go of its thread.

    Args:
        method: The bound method.
        asked: The id, or the ids.
        timeout: How long to wait at most, in seconds.
    """
    owner = getattr(method, "__self__", None)
    if isinstance(owner, Blocking):
        return await awaiting(method, asked, timeout)
    ids = [asked] if isinstance(asked, str) else cast(Collection[str], asked)
    try:
        return await waited(owner, ids, partial(method, asked), timeout)
    except Exception as problem:
        return Failure(raising(method, problem))
