"""The protocols of a backend whose engine's client awaits; see `onward.backend.protocols`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from msgspec import Raw
from returns.result import Result

from onward.backend.records import Diagnosis, Schedule, Scheduled, Status, Submission
from onward.backend.workers import Worker
from onward.fault import Fault, Moved
from onward.outcome import Outcome
from onward.plan import Plan

if TYPE_CHECKING:
    from onward.backend.history import CallPage, CallQuery, HistoryPage
    from onward.catalog import Catalog


class AsyncSubmits(Protocol):
    """`Submits`, for callers that await."""

    async def submit(self, submission: Submission, /) -> Result[str, Fault]:
        """Like `Submits.submit`."""
        ...

    async def submit_all(self, submissions: Iterable[Submission], /) -> Result[list[str], Fault]:
        """Like `Submits.submit_all`."""
        ...


class AsyncSubmitsUnique(Protocol):
    """`SubmitsUnique`, for callers that await."""

    async def submit_unique(self, submission: Submission, /) -> Result[str, Fault]:
        """Like `SubmitsUnique.submit_unique`."""
        ...


class AsyncBackend(AsyncSubmits, Protocol):
    """Carries plans to workers and outcomes back, for callers that await."""

    async def outcome(
        self, id: str, /, timeout: float | None = None
    ) -> Result[Outcome | None, Fault]:
        """Like `Backend.outcome`."""
        ...

    async def settled(
        self, ids: Collection[str], /, timeout: float | None = None
    ) -> Result[Mapping[str, Outcome], Fault]:
        """Like `Backend.settled`."""
        ...

    async def status(self, id: str, /) -> Result[Status, Fault]:
        """Like `Backend.status`."""
        ...

    async def serve(
        self,
        catalog: Catalog,
        /,
        *,
        concurrency: int | None = None,
        queues: Collection[str] | None = None,
    ) -> Result[Worker, Fault]:
        """Like `Backend.serve`."""
        ...


class AsyncCancels(Protocol):
    """`Cancels`, for callers that await."""

    async def cancel(self, id: str, /) -> Result[None, Fault]:
        """Like `Cancels.cancel`."""
        ...


class AsyncSignals(Protocol):
    """`Signals`, for callers that await."""

    async def send(self, id: str, name: str, raw: Raw, /) -> Result[None, Fault]:
        """Like `Signals.send`."""
        ...


class AsyncHistories(Protocol):
    """`Histories`, for callers that await."""

    async def history(
        self, id: str, /, after: str = "", limit: int = 1000
    ) -> Result[HistoryPage, Fault]:
        """Like `Histories.history`."""
        ...


class AsyncLists(Protocol):
    """`Lists`, for callers that await."""

    async def calls(self, query: CallQuery, /, after: str = "") -> Result[CallPage, Fault]:
        """Like `Lists.calls`."""
        ...


class AsyncMoves(Protocol):
    """`Moves`, for callers that await."""

    async def give_up(self, id: str, moved: Moved, /) -> Result[None, Fault]:
        """Like `Moves.give_up`."""
        ...


class AsyncFinds(Protocol):
    """`Finds`, for callers that await."""

    async def find(self, id: str, /, timeout: float = 0.0) -> Result[str, Fault]:
        """Like `Finds.find`."""
        ...


class AsyncForgets(Protocol):
    """`Forgets`, for callers that await."""

    async def forget(self, id: str, /) -> Result[None, Fault]:
        """Like `Forgets.forget`."""
        ...


class AsyncSchedules(Protocol):
    """`Schedules`, for callers that await."""

    async def schedule(self, schedule: Schedule, plan: Plan, /) -> Result[Schedule, Fault]:
        """Like `Schedules.schedule`."""
        ...

    async def schedules(self) -> Result[list[Schedule], Fault]:
        """Like `Schedules.schedules`."""
        ...

    async def pause_schedule(self, name: str, /) -> Result[None, Fault]:
        """Like `Schedules.pause_schedule`."""
        ...

    async def resume_schedule(self, name: str, /) -> Result[None, Fault]:
        """Like `Schedules.resume_schedule`."""
        ...

    async def unschedule(self, name: str, /) -> Result[None, Fault]:
        """Like `Schedules.unschedule`."""
        ...


class AsyncReadsSchedules(AsyncSchedules, Protocol):
    """`ReadsSchedules`, for callers that await."""

    async def scheduled(self, name: str, /) -> Result[Scheduled, Fault]:
        """Like `ReadsSchedules.scheduled`."""
        ...


class AsyncDiagnoses(Protocol):
    """`Diagnoses`, for callers that await."""

    async def diagnose(self, queues: Collection[str] = (), /) -> Result[Diagnosis, Fault]:
        """Like `Diagnoses.diagnose`."""
        ...
