"""The client's side: calls become activities and workflows."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta

from returns.result import Failure, Result, Success
from temporalio.client import Client
from temporalio.common import (
    ActivityIDConflictPolicy,
    ActivityIDReusePolicy,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import ActivityAlreadyStartedError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from onward import plan as plans
from onward.backend import Diagnosis, Schedule, Status, Submission, Worker
from onward.backend.adapters import BlockingCancels, BlockingDiagnoses, BlockingSchedules
from onward.backend.loop import LoopThread
from onward.backends.temporal import calls, native, schedules
from onward.backends.temporal.client import PROMPT, Address, Connection
from onward.backends.temporal.converter import value
from onward.backends.temporal.listen import Listener
from onward.backends.temporal.message import LIMIT, How, name_of, shortened, values, write
from onward.backends.temporal.probe import Census
from onward.backends.temporal.workflow import LONGEST, priority_of, retry_policy, ticket_of
from onward.catalog import Catalog
from onward.fault import Fault, TooLarge
from onward.outcome import Outcome, one_of
from onward.plan import FusedNode, Plan, StepNode

_AT_ONCE = 32
"""How many calls are submitted side by side."""

_LINGER = 0.05
"""How long the loop goes on after its end: without that, 1 in 100 short processes crashed."""

_SHORTEST = timedelta(milliseconds=1)
"""To Temporal, no time at all is no limit."""


class TemporalBackend(
    BlockingCancels["Core"], BlockingSchedules["Core"], BlockingDiagnoses["Core"]
):
    """What `temporal()` gives."""

    def __init__(self, address: Address) -> None:
        super().__init__(Core(address), LoopThread("onward-temporal", _LINGER))
        self._address = address

    def __repr__(self) -> str:
        at = self._address
        return f"temporal({at.target!r}, namespace={at.namespace!r}, task_queue={at.task_queue!r})"

    def explain(self, plan: Plan, /) -> str:
        """See `Explains.explain`."""
        return native.shown(plan, self._address.task_queue)

    def check(self, plan: Plan, /) -> list[Fault]:
        """See `Checks.check`."""
        fault = _too_large(plan)
        return [] if fault is None else [fault]


class Core:
    """The awaitable side; all of it lives on one event loop."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connection = Connection(address)
        self._listener = Listener(self._connection)
        self._has_activities = True
        self._census = Census()

    async def submit(self, submission: Submission, /) -> Result[str, Fault]:
        plan = submission.plan
        fault = _too_large(plan)
        if fault is not None:
            return Failure(fault)
        ask = self._connection.ask
        if native.is_single(plan) and self._has_activities:
            started = await ask(plan.flow, lambda client: self._start_single(client, submission))
            if self._has_activities:
                return started
        return await ask(plan.flow, lambda client: self._start(client, submission))

    async def submit_all(self, submissions: Iterable[Submission], /) -> Result[list[str], Fault]:
        todo = list(submissions)
        for submission in todo:
            fault = _too_large(submission.plan)
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

    async def _start(self, client: Client, submission: Submission) -> str:
        plan, how = submission.plan, How(self._address.heartbeat)
        with contextlib.suppress(WorkflowAlreadyStartedError):
            await client.start_workflow(
                shortened(plan.flow),
                args=[value(plans.encode(plan)), value(write(how))],
                id=plan.id,
                task_queue=self._address.task_queue,
                execution_timeout=_left(plan),
                start_delay=_delay(submission),
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                rpc_timeout=PROMPT,
            )
        return plan.id

    async def _start_single(self, client: Client, submission: Submission) -> str:
        plan = submission.plan
        step, id = plan.root, f"{calls.SINGLE}{plan.id}"
        assert isinstance(step, StepNode | FusedNode)  # as is_single has seen to
        ticket = ticket_of(step, plan.args, "0", plan, id)
        left, delay = _left(plan), _delay(submission)
        if left is not None and delay is not None:
            # Of an activity, unlike a workflow, the time that it may take begins after the delay.
            delay, left = min(delay, left), max(left - delay, _SHORTEST)
        try:
            await client.start_activity(
                name_of(step, plan.flow),
                args=[*map(value, values(plan.args)), value(write(ticket))],
                id=id,
                task_queue=step.queue or plan.queue or self._address.task_queue,
                schedule_to_close_timeout=left,
                start_to_close_timeout=LONGEST,
                heartbeat_timeout=timedelta(seconds=self._address.heartbeat),
                retry_policy=retry_policy(step),
                priority=priority_of(step, plan),
                start_delay=delay,
                id_reuse_policy=ActivityIDReusePolicy.REJECT_DUPLICATE,
                id_conflict_policy=ActivityIDConflictPolicy.USE_EXISTING,
                rpc_timeout=PROMPT,
            )
        except ActivityAlreadyStartedError:
            pass  # by the same key
        except RPCError as problem:
            if problem.status == RPCStatusCode.UNIMPLEMENTED:  # an older server: all are workflows
                self._has_activities = False
            raise
        return id

    async def outcome(
        self, id: str, /, timeout: float | None = None
    ) -> Result[Outcome | None, Fault]:
        return one_of(await self.settled([id], timeout), id)

    async def settled(
        self, ids: Collection[str], /, timeout: float | None = None
    ) -> Result[Mapping[str, Outcome], Fault]:
        return await self._listener.first(ids, timeout)

    async def status(self, id: str, /) -> Result[Status, Fault]:
        return await self._connection.ask(id, lambda client: calls.status(client, id))

    async def cancel(self, id: str, /) -> Result[None, Fault]:
        return await self._connection.ask(id, lambda client: calls.end(client, id))

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
        steps = sorted({flows, *catalog.queues} if queues is None else set(queues))
        return await self._connection.ask(
            "", lambda client: start(client, catalog, steps, flows, concurrency)
        )

    async def diagnose(self, queues: Collection[str] = ()) -> Result[Diagnosis, Fault]:
        from onward.backends.temporal.diagnose import look

        return await self._connection.ask(
            "", lambda client: look(client, self._address, queues, self._census)
        )

    async def schedule(self, schedule: Schedule, plan: Plan, /) -> Result[Schedule, Fault]:
        fault = _too_large(plan)
        if fault is not None:
            return Failure(fault)
        how, queue = How(self._address.heartbeat), self._address.task_queue
        return await self._connection.ask(
            schedule.name, lambda client: schedules.put(client, schedule, plan, how, queue)
        )

    async def schedules(self) -> Result[list[Schedule], Fault]:
        return await self._connection.ask("", schedules.listed)

    async def pause_schedule(self, name: str, /) -> Result[None, Fault]:
        return await self._connection.ask(
            name, lambda client: schedules.pause(client, name, is_paused=True)
        )

    async def resume_schedule(self, name: str, /) -> Result[None, Fault]:
        return await self._connection.ask(
            name, lambda client: schedules.pause(client, name, is_paused=False)
        )

    async def unschedule(self, name: str, /) -> Result[None, Fault]:
        return await self._connection.ask(name, lambda client: schedules.remove(client, name))


def _too_large(plan: Plan) -> TooLarge | None:
    size = len(plans.encode(plan))
    if size <= LIMIT:
        return None
    message = (
        f"its plan has {size} bytes with its arguments, and Temporal carries {LIMIT} at a time"
    )
    return TooLarge(plan.flow, message, size, LIMIT)


def _left(plan: Plan) -> timedelta | None:
    """How long a call may take from now on."""
    if plan.deadline is None:
        return None
    return max(timedelta(seconds=plan.deadline - time.time()), _SHORTEST)


def _delay(submission: Submission) -> timedelta | None:
    return timedelta(seconds=submission.delay) if submission.delay else None
