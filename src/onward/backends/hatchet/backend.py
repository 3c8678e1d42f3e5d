"""The Hatchet backend, for callers that block. Its connection is on a thread of its own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from msgspec import Raw
from returns.result import Failure, Result

from onward.backend import (
    CallPage,
    CallQuery,
    Diagnosis,
    HistoryPage,
    Schedule,
    Scheduled,
    Status,
    Submission,
    Worker,
)
from onward.backend.adapters import (
    BlockingCancels,
    BlockingDiagnoses,
    BlockingFinds,
    BlockingLists,
    BlockingMoves,
    BlockingReadsSchedules,
    BlockingSignals,
    BlockingSubmitsUnique,
)
from onward.backend.features import Feature
from onward.backend.loop import LoopThread
from onward.backends.hatchet import limits, lower, retention, sdk
from onward.backends.hatchet.settings import Settings
from onward.catalog import Catalog
from onward.fault import Fault, Moved, Unsupported
from onward.outcome import Outcome
from onward.plan import ChainNode, Plan

if TYPE_CHECKING:
    from onward.backends.hatchet.async_backend import AsyncHatchetBackend


class HatchetBackend(
    BlockingCancels["LazyBackend"],
    BlockingReadsSchedules["LazyBackend"],
    BlockingSignals["LazyBackend"],
    BlockingFinds["LazyBackend"],
    BlockingMoves["LazyBackend"],
    BlockingLists["LazyBackend"],
    BlockingDiagnoses["LazyBackend"],
    BlockingSubmitsUnique["LazyBackend"],
):
    """The backend that `hatchet()` returns."""

    lacks: Mapping[Feature, str] = limits.LACKS

    def __init__(self, settings: Settings, text: str) -> None:
        lazy = LazyBackend(settings)
        super().__init__(lazy, LoopThread("onward-hatchet"))
        self.settings = settings
        self._text = text

    def __repr__(self) -> str:
        return self._text

    def check(self, plan: Plan, /) -> list[Fault]:
        """See `Checks.check`."""
        return [
            *limits.faults_in(plan.root, self.settings.limits),
            *retention.faults_in(plan, self.settings.keep),
        ]

    def check_schedule(self, schedule: Schedule, /) -> list[Fault]:
        """See `ChecksSchedules.check_schedule`."""
        from onward.backends.hatchet.schedules import lacking  # which needs the SDK

        fault = lacking(schedule)
        return [] if fault is None else [fault]

    def explain(self, plan: Plan, /) -> str:
        """See `Explains.explain`."""
        root = plan.root if plan.past is None else ChainNode((plan.root,))  # not as a DAG
        return lower.explain(root, self.settings.prefix, self.settings.limits)


class LazyBackend:
    """Connects on the event loop when the connection is first needed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._core: AsyncHatchetBackend | None = None

    def _connected(self) -> AsyncHatchetBackend:
        if self._core is None:
            sdk.load()
            from onward.backends.hatchet.async_backend import AsyncHatchetBackend

            self._core = AsyncHatchetBackend(self._settings)
        return self._core

    async def submit(self, submission: Submission, /) -> Result[str, Fault]:
        """See `AsyncBackend.submit`."""
        return await self._connected().submit(submission)

    async def submit_all(self, submissions: Iterable[Submission], /) -> Result[list[str], Fault]:
        """See `AsyncBackend.submit_all`."""
        return await self._connected().submit_all(submissions)

    async def submit_unique(self, submission: Submission, /) -> Result[str, Fault]:
        """See `AsyncSubmitsUnique.submit_unique`."""
        unique = submission.unique
        if unique is not None and unique.replaces:
            message = "Hatchet cannot replace the arguments of a run that waits: leave debounce out"
            return Failure(Unsupported(submission.plan.flow, message))
        return await self._connected().submit_unique(submission)

    async def outcome(
        self, id: str, /, timeout: float | None = None
    ) -> Result[Outcome | None, Fault]:
        """See `AsyncBackend.outcome`."""
        return await self._connected().outcome(id, timeout)

    async def settled(
        self, ids: Collection[str], /, timeout: float | None = None
    ) -> Result[Mapping[str, Outcome], Fault]:
        """See `AsyncBackend.settled`."""
        return await self._connected().settled(ids, timeout)

    async def status(self, id: str, /) -> Result[Status, Fault]:
        """See `AsyncBackend.status`."""
        return await self._connected().status(id)

    async def cancel(self, id: str, /) -> Result[None, Fault]:
        """See `AsyncCancels.cancel`."""
        return await self._connected().cancel(id)

    async def history(
        self, id: str, /, after: str = "", limit: int = 1000
    ) -> Result[HistoryPage, Fault]:
        """See `AsyncHistories.history`."""
        return await self._connected().history(id, after, limit)

    async def calls(self, query: CallQuery, /, after: str = "") -> Result[CallPage, Fault]:
        """See `AsyncLists.calls`."""
        return await self._connected().calls(query, after)

    async def give_up(self, id: str, moved: Moved, /) -> Result[None, Fault]:
        """See `AsyncMoves.give_up`."""
        return await self._connected().give_up(id, moved)

    async def find(self, id: str, /, timeout: float = 0.0) -> Result[str, Fault]:
        """See `AsyncFinds.find`."""
        return await self._connected().find(id, timeout)

    async def send(self, id: str, name: str, raw: Raw, /) -> Result[None, Fault]:
        """See `AsyncSignals.send`."""
        return await self._connected().send(id, name, raw)

    async def diagnose(self, queues: Collection[str] = (), /) -> Result[Diagnosis, Fault]:
        """See `AsyncDiagnoses.diagnose`."""
        return await self._connected().diagnose()

    async def schedule(self, schedule: Schedule, plan: Plan, /) -> Result[Schedule, Fault]:
        """See `AsyncSchedules.schedule`."""
        return await self._connected().schedule(schedule, plan)

    async def schedules(self) -> Result[list[Schedule], Fault]:
        """See `AsyncSchedules.schedules`."""
        return await self._connected().schedules()

    async def scheduled(self, name: str, /) -> Result[Scheduled, Fault]:
        """See `AsyncReadsSchedules.scheduled`."""
        return await self._connected().scheduled(name)

    async def pause_schedule(self, name: str, /) -> Result[None, Fault]:
        """See `AsyncSchedules.pause_schedule`."""
        return await self._connected().pause_schedule(name)

    async def resume_schedule(self, name: str, /) -> Result[None, Fault]:
        """See `AsyncSchedules.resume_schedule`."""
        return await self._connected().resume_schedule(name)

    async def unschedule(self, name: str, /) -> Result[None, Fault]:
        """See `AsyncSchedules.unschedule`."""
        return await self._connected().unschedule(name)

    async def serve(
        self,
        catalog: Catalog,
        /,
        *,
        concurrency: int | None = None,
        queues: Collection[str] | None = None,
    ) -> Result[Worker, Fault]:
        """See `AsyncBackend.serve`."""
        return await self._connected().serve(catalog, concurrency=concurrency, queues=queues)
