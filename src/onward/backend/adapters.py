"""Adapters between backends that block and backends that await.

An engine's client either blocks or awaits, and its backend is written in the same way. An adapter
for each of its capabilities offers it to the other kind of caller.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast

from msgspec import Raw
from returns.result import Failure, Result

from onward.backend.async_protocols import (
    AsyncBackend,
    AsyncCancels,
    AsyncDiagnoses,
    AsyncFinds,
    AsyncForgets,
    AsyncHistories,
    AsyncLists,
    AsyncMoves,
    AsyncReadsSchedules,
    AsyncSchedules,
    AsyncSignals,
    AsyncSubmits,
    AsyncSubmitsUnique,
)
from onward.backend.guard import fault_of
from onward.backend.history import CallPage, CallQuery, HistoryPage
from onward.backend.loop import Closed, LoopThread
from onward.backend.records import (
    Diagnosis,
    Hearing,
    Schedule,
    Scheduled,
    Status,
    Submission,
)
from onward.backend.support import hearing_of
from onward.backend.waits import wait_async
from onward.backend.workers import Worker
from onward.catalog import Catalog
from onward.fault import Fault, Misconfigured, Moved, Unavailable
from onward.outcome import Outcome
from onward.plan import Plan

P = ParamSpec("P")
T = TypeVar("T")
K = TypeVar("K")


class CancelsCore(AsyncBackend, AsyncCancels, Protocol):
    """An async backend that can cancel calls."""


class SubmitsUniqueCore(AsyncSubmits, AsyncSubmitsUnique, Protocol):
    """What has unique calls, async."""


class SchedulesCore(AsyncBackend, AsyncSchedules, Protocol):
    """An async backend that has schedules."""


class ReadsSchedulesCore(AsyncBackend, AsyncReadsSchedules, Protocol):
    """An async backend that can say what a schedule calls."""


class SignalsCore(AsyncBackend, AsyncSignals, Protocol):
    """An async backend that can send signals."""


class HistoriesCore(AsyncBackend, AsyncHistories, Protocol):
    """An async backend that can say what happened in a call."""


class ListsCore(AsyncBackend, AsyncLists, Protocol):
    """An async backend that can list its calls."""


class MovesCore(HistoriesCore, AsyncMoves, Protocol):
    """An async backend whose calls can be moved."""


class FindsCore(AsyncBackend, AsyncFinds, Protocol):
    """An async backend where the id of a call is not always the id of its plan."""


class ForgetsCore(AsyncBackend, AsyncForgets, Protocol):
    """An async backend that can delete a call."""


class DiagnosesCore(AsyncBackend, AsyncDiagnoses, Protocol):
    """An async backend that can diagnose its engine."""


SubmitsCore = TypeVar("SubmitsCore", bound=AsyncSubmits)
Core = TypeVar("Core", bound=AsyncBackend)
CancelsCoreT = TypeVar("CancelsCoreT", bound=CancelsCore)
SubmitsUniqueCoreT = TypeVar("SubmitsUniqueCoreT", bound=SubmitsUniqueCore)
SchedulesCoreT = TypeVar("SchedulesCoreT", bound=SchedulesCore)
ReadsSchedulesCoreT = TypeVar("ReadsSchedulesCoreT", bound=ReadsSchedulesCore)
SignalsCoreT = TypeVar("SignalsCoreT", bound=SignalsCore)
HistoriesCoreT = TypeVar("HistoriesCoreT", bound=HistoriesCore)
ListsCoreT = TypeVar("ListsCoreT", bound=ListsCore)
MovesCoreT = TypeVar("MovesCoreT", bound=MovesCore)
FindsCoreT = TypeVar("FindsCoreT", bound=FindsCore)
ForgetsCoreT = TypeVar("ForgetsCoreT", bound=ForgetsCore)
DiagnosesCoreT = TypeVar("DiagnosesCoreT", bound=DiagnosesCore)


class _LoopKeeper:
    """A worker that keeps its loop thread alive, even if nobody refers to its backend any more."""

    def __init__(self, worker: Worker, thread: LoopThread) -> None:
        self._worker = worker
        self._thread = thread

    def stop(self, grace: float = 30.0) -> None:
        """See `Worker.stop`."""
        self._worker.stop(grace)

    def wait(self, timeout: float | None = None) -> bool:
        """See `Worker.wait`."""
        return self._worker.wait(timeout)

    def hearing(self) -> Hearing | None:
        """See `Hears.hearing`."""
        return hearing_of(self._worker)


# -- an async backend, for callers that block -------------------------------------------------


class BlockingSubmits(ABC, Generic[SubmitsCore]):
    """`Submits` over an async one. A subclass says how its methods are run.

    Args:
        core: The async one.
    """

    def __init__(self, core: SubmitsCore) -> None:
        self._core = core

    def submit(self, submission: Submission, /) -> Result[str, Fault]:
        """See `Submits.submit`."""
        return self._wait(lambda: self._core.submit(submission))

    def submit_all(self, submissions: Iterable[Submission], /) -> Result[list[str], Fault]:
        """See `Submits.submit_all`."""
        return self._wait(lambda: self._core.submit_all(submissions))

    @abstractmethod
    def _wait(self, start: Callable[[], Coroutine[Any, Any, Result[T, Fault]]]) -> Result[T, Fault]:
        """Runs a method of the core while the caller blocks."""

    @abstractmethod
    async def _await(
        self, start: Callable[[], Coroutine[Any, Any, Result[T, Fault]]]
    ) -> Result[T, Fault]:
        """Runs a method of the core while the caller awaits."""


class BlockingSubmitsUnique(BlockingSubmits[SubmitsUniqueCoreT]):
    """`SubmitsUnique` over an async one."""

    def submit_unique(self, submission: Submission, /) -> Result[str, Fault]:
        """See `SubmitsUnique.submit_unique`."""
        return self._wait(lambda: self._core.submit_unique(submission))


class Blocking(BlockingSubmits[Core]):
    """A `Backend` over an async one, which runs on a loop thread.

    Each further capability of the core has a mixin: `class Mine(BlockingCancels[MyCore],
    BlockingSchedules[MyCore])`.

    Args:
        core: The async backend.
        thread: The loop thread that runs the core.
    """

    def __init__(self, core: Core, thread: LoopThread) -> None:
        super().__init__(core)
        self._thread = thread

    def close(self) -> None:
        """Closes the connection and ends its thread. Submitted calls stay with the engine."""
        self._thread.close()

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
        return served.map(lambda worker: _LoopKeeper(worker, self._thread))

    def _wait(self, start: Callable[[], Coroutine[Any, Any, Result[T, Fault]]]) -> Result[T, Fault]:
        """Runs a method of the core while the caller blocks."""
        if self._thread.is_this_thread():
            return Failure(
                Misconfigured(
                    "",
                    "a blocking call in an async task would block the loop that it waits for: "
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
        """Runs a method of the core while the caller awaits."""
        try:
            return await self._thread.run(start)
        except Closed as closed:
            return Failure(Unavailable("", str(closed)))


class BlockingCancels(Blocking[CancelsCoreT]):
    """`Cancels` over an async backend."""

    def cancel(self, id: str, /) -> Result[None, Fault]:
        """See `Cancels.cancel`."""
        return self._wait(lambda: self._core.cancel(id))


class BlockingSignals(Blocking[SignalsCoreT]):
    """`Signals` over an async backend."""

    def send(self, id: str, name: str, raw: Raw, /) -> Result[None, Fault]:
        """See `Signals.send`."""
        return self._wait(lambda: self._core.send(id, name, raw))


class BlockingHistories(Blocking[HistoriesCoreT]):
    """`Histories` over an async backend."""

    def history(self, id: str, /, after: str = "", limit: int = 1000) -> Result[HistoryPage, Fault]:
        """See `Histories.history`."""
        return self._wait(lambda: self._core.history(id, after, limit))


class BlockingLists(Blocking[ListsCoreT]):
    """`Lists` over an async backend."""

    def calls(self, query: CallQuery, /, after: str = "") -> Result[CallPage, Fault]:
        """See `Lists.calls`."""
        return self._wait(lambda: self._core.calls(query, after))


class BlockingMoves(BlockingHistories[MovesCoreT]):
    """`Moves` over an async backend."""

    def give_up(self, id: str, moved: Moved, /) -> Result[None, Fault]:
        """See `Moves.give_up`."""
        return self._wait(lambda: self._core.give_up(id, moved))


class BlockingFinds(Blocking[FindsCoreT]):
    """`Finds` over an async backend."""

    def find(self, id: str, /, timeout: float = 0.0) -> Result[str, Fault]:
        """See `Finds.find`."""
        return self._wait(lambda: self._core.find(id, timeout))


class BlockingForgets(Blocking[ForgetsCoreT]):
    """`Forgets` over an async backend."""

    def forget(self, id: str, /) -> Result[None, Fault]:
        """See `Forgets.forget`."""
        return self._wait(lambda: self._core.forget(id))


class BlockingSchedules(Blocking[SchedulesCoreT]):
    """`Schedules` over an async backend."""

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


class BlockingReadsSchedules(BlockingSchedules[ReadsSchedulesCoreT]):
    """`ReadsSchedules` over an async backend."""

    def scheduled(self, name: str, /) -> Result[Scheduled, Fault]:
        """See `ReadsSchedules.scheduled`."""
        return self._wait(lambda: self._core.scheduled(name))


class BlockingDiagnoses(Blocking[DiagnosesCoreT]):
    """`Diagnoses` over an async backend."""

    def diagnose(self, queues: Collection[str] = (), /) -> Result[Diagnosis, Fault]:
        """See `Diagnoses.diagnose`."""
        return self._wait(lambda: self._core.diagnose(queues))


# -- any backend, for callers that await ------------------------------------------------------


async def call_backend_async(
    method: Callable[P, Result[T, Fault]], /, *args: P.args, **kwargs: P.kwargs
) -> Result[T, Fault]:
    """Calls a backend's blocking method from a caller that awaits.

    If the backend adapts an async one, the async method runs on its loop thread. Otherwise the
    blocking method runs on a thread.

    Args:
        method: The bound method, such as `backend.submit`.
        args: Its arguments.
        kwargs: Its keyword arguments.

    Returns:
        The method's result. An exception becomes a fault.
    """
    owner = getattr(method, "__self__", None)
    try:
        if isinstance(owner, BlockingSubmits):
            start = partial(getattr(owner._core, method.__name__), *args, **kwargs)
            return await owner._await(start)
        return await asyncio.to_thread(method, *args, **kwargs)
    except Exception as problem:
        return Failure(fault_of(method, problem))


async def await_outcome(
    method: Callable[[K, float | None], Result[T, Fault]], id_or_ids: K, timeout: float | None
) -> Result[T, Fault]:
    """Like `call_backend_async`, for `outcome` and `settled`: an abandoned wait frees its thread.

    Args:
        method: The bound method.
        id_or_ids: What the method takes: one id, or several.
        timeout: The longest wait, in seconds; None for no limit.
    """
    owner = getattr(method, "__self__", None)
    if isinstance(owner, Blocking):
        return await call_backend_async(method, id_or_ids, timeout)
    ids = [id_or_ids] if isinstance(id_or_ids, str) else cast(Collection[str], id_or_ids)
    try:
        return await wait_async(owner, ids, partial(method, id_or_ids), timeout)
    except Exception as problem:
        return Failure(fault_of(method, problem))
