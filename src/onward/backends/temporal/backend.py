"""The Temporal backend, which implements the port and its capabilities."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping

from msgspec import Raw
from returns.result import Failure, Result, Success
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

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
    BlockingForgets,
    BlockingLists,
    BlockingMoves,
    BlockingReadsSchedules,
    BlockingSignals,
    BlockingSubmitsUnique,
)
from onward.backend.features import NOTHING
from onward.backend.loop import LoopThread
from onward.backend.support import queues_served
from onward.backends.temporal import (
    forget,
    history,
    listing,
    lower,
    schedules,
    signals,
    single,
    status,
)
from onward.backends.temporal.client import Address, Connection
from onward.backends.temporal.message import LIMIT, new_options
from onward.backends.temporal.probe import WorkerProbe
from onward.backends.temporal.submit import start_flow, start_step, too_large
from onward.backends.temporal.unique_submit import submit_unique
from onward.backends.temporal.wait import Listener
from onward.catalog import Catalog
from onward.fault import Conflict, Fault, Moved, TooLarge
from onward.outcome import Outcome, one_of
from onward.plan import Plan

_AT_ONCE = 32
"""How many calls are submitted at the same time."""

_LINGER = 0.05
"""How long the loop runs on after `close`, in seconds.

Without it, 1 in 100 short processes crashed.
"""


class TemporalBackend(
    BlockingCancels["Core"],
    BlockingSignals["Core"],
    BlockingFinds["Core"],
    BlockingMoves["Core"],
    BlockingLists["Core"],
    BlockingForgets["Core"],
    BlockingReadsSchedules["Core"],
    BlockingDiagnoses["Core"],
    BlockingSubmitsUnique["Core"],
):
    """The backend that `temporal()` returns."""

    lacks = NOTHING

    def __init__(self, address: Address) -> None:
        super().__init__(Core(address), LoopThread("onward-temporal", _LINGER))
        self.address: Address = address

    def __repr__(self) -> str:
        at = self.address
        return f"temporal({at.target!r}, namespace={at.namespace!r}, task_queue={at.task_queue!r})"

    def explain(self, plan: Plan, /) -> str:
        """See `Explains.explain`."""
        return lower.explain(plan, self.address.task_queue)

    def check(self, plan: Plan, /) -> list[Fault]:
        """See `Checks.check`."""
        fault = too_large(plan)
        return [] if fault is None else [fault]


class Core:
    """The async backend behind `TemporalBackend`; all of it runs on one event loop."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connection = Connection(address)
        self._listener = Listener(self._connection)
        self._has_activities = True
        self._probe = WorkerProbe()

    async def submit(self, submission: Submission, /) -> Result[str, Fault]:
        plan = submission.plan
        fault = too_large(plan)
        if fault is not None:
            return Failure(fault)
        request = self._connection.request
        if lower.is_single(plan) and self._has_activities:
            started = await request(plan.flow, lambda client: self._start_step(client, submission))
            if self._has_activities:
                return started
        return await request(
            plan.flow, lambda client: start_flow(client, self._address, submission)
        )

    async def submit_unique(self, submission: Submission, /) -> Result[str, Fault]:
        plan, unique = submission.plan, submission.unique
        assert unique is not None  # see `SubmitsUnique`
        fault = too_large(plan)
        if fault is not None:
            return Failure(fault)
        return await self._connection.request(
            plan.flow, lambda client: submit_unique(client, self._address, submission, unique)
        )

    async def _start_step(self, client: Client, submission: Submission) -> str:
        try:
            return await start_step(client, self._address, submission)
        except RPCError as problem:
            if problem.status == RPCStatusCode.UNIMPLEMENTED:  # an older server runs only workflows
                self._has_activities = False
            raise

    async def submit_all(self, submissions: Iterable[Submission], /) -> Result[list[str], Fault]:
        todo = list(submissions)
        for submission in todo:
            fault = too_large(submission.plan)
            if fault is not None:
                return Failure(fault)
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(submission: Submission) -> Result[str, Fault]:
            async with turns:
                return await self.submit(submission)

        ids: list[str] = []
        for started in await asyncio.gather(*map(one, todo)):
            if isinstance(started, Failure):
                return started
            ids.append(started.unwrap())
        return Success(ids)

    async def outcome(
        self, id: str, /, timeout: float | None = None
    ) -> Result[Outcome | None, Fault]:
        return one_of(await self.settled([id], timeout), id)

    async def settled(
        self, ids: Collection[str], /, timeout: float | None = None
    ) -> Result[Mapping[str, Outcome], Fault]:
        return await self._listener.wait_for_any(ids, timeout)

    async def status(self, id: str, /) -> Result[Status, Fault]:
        return await self._connection.request(id, lambda client: status.status_of(client, id))

    async def cancel(self, id: str, /) -> Result[None, Fault]:
        return await self._connection.request(id, lambda client: status.cancel(client, id))

    async def send(self, id: str, name: str, raw: Raw, /) -> Result[None, Fault]:
        size = memoryview(raw).nbytes
        if size > LIMIT:
            message = f"the value of signal {name!r} is too large"
            return Failure(TooLarge(id, message, size, LIMIT))
        sent = await self._connection.request(
            id, lambda client: signals.send(client, id, name, raw)
        )
        return sent.bind(_unless)

    async def history(
        self, id: str, /, after: str = "", limit: int = 1000
    ) -> Result[HistoryPage, Fault]:
        return await self._connection.request(
            id, lambda client: history.history_of(client, id, after, limit)
        )

    async def calls(self, query: CallQuery, /, after: str = "") -> Result[CallPage, Fault]:
        queue = self._address.task_queue
        return await self._connection.request(
            "", lambda client: listing.calls(client, queue, query, after)
        )

    async def give_up(self, id: str, moved: Moved, /) -> Result[None, Fault]:
        given_up = await self._connection.request(
            id, lambda client: status.give_up(client, id, moved)
        )
        return given_up.bind(_unless)

    async def find(self, id: str, /, timeout: float = 0.0) -> Result[str, Fault]:
        return await self._connection.request(id, lambda client: single.call_of(client, id))

    async def forget(self, id: str, /) -> Result[None, Fault]:
        forgotten = await self._connection.request(id, lambda client: forget.forget(client, id))
        return forgotten.bind(_unless)

    async def serve(
        self,
        catalog: Catalog,
        /,
        *,
        concurrency: int | None = None,
        queues: Collection[str] | None = None,
    ) -> Result[Worker, Fault]:
        from onward.backends.temporal.worker import start

        flows = self._address.task_queue
        steps = queues_served(flows, catalog, queues)
        return await self._connection.request(
            "", lambda client: start(client, catalog, steps, flows, concurrency)
        )

    async def diagnose(self, queues: Collection[str] = ()) -> Result[Diagnosis, Fault]:
        from onward.backends.temporal.diagnose import make_diagnosis

        return await self._connection.request(
            "", lambda client: make_diagnosis(client, self._address, queues, self._probe)
        )

    async def schedule(self, schedule: Schedule, plan: Plan, /) -> Result[Schedule, Fault]:
        fault = too_large(plan)
        if fault is not None:
            return Failure(fault)
        options, queue = new_options(self._address.heartbeat), self._address.task_queue
        return await self._connection.request(
            schedule.name,
            lambda client: schedules.create_or_replace(client, schedule, plan, options, queue),
        )

    async def schedules(self) -> Result[list[Schedule], Fault]:
        return await self._connection.request("", schedules.list_all)

    async def scheduled(self, name: str, /) -> Result[Scheduled, Fault]:
        return await self._connection.request(name, lambda client: schedules.read(client, name))

    async def pause_schedule(self, name: str, /) -> Result[None, Fault]:
        return await self._connection.request(
            name, lambda client: schedules.pause(client, name, is_paused=True)
        )

    async def resume_schedule(self, name: str, /) -> Result[None, Fault]:
        return await self._connection.request(
            name, lambda client: schedules.pause(client, name, is_paused=False)
        )

    async def unschedule(self, name: str, /) -> Result[None, Fault]:
        return await self._connection.request(name, lambda client: schedules.remove(client, name))


def _unless(conflict: Conflict | None) -> Result[None, Fault]:
    """What a request answers that was done, unless a conflict kept it from being done."""
    return Success(None) if conflict is None else Failure(conflict)
