"""The one workflow of Onward: it runs the evaluator over a plan, and each step as an activity.

What is in here is replayed: it must do the same again, given the same outcomes of activities. What
changes that, ends running calls; tests/temporal replays histories that were recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from msgspec import MsgspecError
from msgspec.structs import replace
from returns.result import Failure
from temporalio import workflow
from temporalio.common import Priority, RawValue, RetryPolicy
from temporalio.exceptions import ActivityError, CancelledError, ChildWorkflowError

from onward import plan as plans
from onward.backends.temporal.converter import value
from onward.backends.temporal.message import (
    CRASHES,
    LIMIT,
    How,
    Ticket,
    checked,
    failure,
    name_of,
    omitted,
    outcome_of,
    read_how,
    shortened,
    size_of,
    taken,
    too_large,
    unreadable,
    values,
    write,
)
from onward.backends.temporal.native import Part, parted, within
from onward.evaluate import evaluate
from onward.execute import raised
from onward.outcome import Outcome, Value, faulted
from onward.plan import Args, Plan, Runnable

LONGEST = timedelta(days=365)
"""How long Temporal gives an attempt; a timeout is the worker's to keep, and its death is heard."""

_AT_ONCE = 2_000_000
"""How many bytes may be sent in one workflow task, which is one message of at most 4 MB."""

_IN_FLIGHT = 100
"""How many items of an `each` without a limit of its own are run at a time."""


def retry_policy(step: Runnable, crashes: int = CRASHES) -> RetryPolicy:
    """How often Temporal makes an attempt.

    When the next one is due, the worker says that has failed; the wait here is for one that died.

    Args:
        step: The step.
        crashes: How often its worker may die.
    """
    return RetryPolicy(
        initial_interval=timedelta(seconds=1),
        maximum_interval=timedelta(seconds=10),
        maximum_attempts=step.attempts + crashes,
    )


def priority_of(step: Runnable, plan: Plan) -> Priority:
    """A priority from 0 (least) to 9 as one of Temporal's, from 5 (least) to 1."""
    priority = plan.priority if step.priority is None else step.priority
    return Priority() if priority is None else Priority(priority_key=5 - priority // 2)


def ticket_of(step: Runnable, args: Args, at: str, plan: Plan, call: str) -> Ticket:
    """What a worker is told of a step."""
    keyword = tuple(args.keyword)
    return Ticket(call, plan.flow, at, step, plan.key, plan.deadline, keyword, plan.trace)


@workflow.defn(dynamic=True, sandboxed=False)
class FlowWorkflow:
    """Runs any flow; it goes by the flow's name."""

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> RawValue:
        """Runs a plan; the arguments are the plan and the `How`."""
        name = workflow.info().workflow_type
        try:
            outcome = omitted(args, name)
            if outcome is None:
                outcome = checked(await _run([each.payload.data for each in args], name), name)
        except Exception as problem:  # not a step's, which is an outcome, but ours
            outcome = faulted(raised(name, problem))
        if isinstance(outcome, Value):
            return value(outcome.raw)
        raise failure(outcome)


async def _run(sent: Sequence[bytes], name: str) -> Outcome:
    try:
        raw, how_raw = sent
        how = read_how(how_raw)
    except (MsgspecError, ValueError) as problem:
        return unreadable(name, problem)
    decoded = plans.decode(raw)
    if isinstance(decoded, Failure):
        return faulted(decoded.failure())
    plan = decoded.unwrap()
    root = within(plan.root) if how.at else parted(plan.root)
    return await evaluate(root, plan.args, _Steps(plan, how), where=how.at, in_flight=_IN_FLIGHT)


def _ended(error: ActivityError | ChildWorkflowError, name: str) -> Outcome:
    """The outcome of a step that gave no value."""
    if isinstance(error.cause, CancelledError):
        # Nothing ends a step so but the end of the call, which no other step is to run after.
        raise asyncio.CancelledError from error
    return outcome_of(error, name)


class _Steps:
    """Runs steps as activities, and parts here for as long as there is room in the history."""

    def __init__(self, plan: Plan, how: How) -> None:
        self._plan = plan
        self._how = how
        self._call = plan.id or workflow.info().workflow_id
        self._task = 0
        self._sent = 0

    async def __call__(self, step: Runnable, args: Args, where: str, /) -> Outcome:
        if isinstance(step, Part):
            if workflow.info().is_continue_as_new_suggested() and size_of(args) < LIMIT:
                return await self._elsewhere(step, args, where)
            return await evaluate(within(step.body), args, self, where=where, in_flight=_IN_FLIGHT)
        return await self._activity(step, args, where)

    async def _activity(self, step: Runnable, args: Args, where: str) -> Outcome:
        name = name_of(step, self._plan.flow)
        ticket = write(ticket_of(step, args, where, self._plan, self._call))
        size = size_of(args) + len(ticket)
        if size > LIMIT:
            return too_large(name, size)
        await self._room(size)
        try:
            given: RawValue = await workflow.execute_activity(
                name,
                args=[*map(value, values(args)), value(ticket)],
                result_type=RawValue,
                task_queue=step.queue or self._plan.queue,
                activity_id=where,
                start_to_close_timeout=LONGEST,
                heartbeat_timeout=timedelta(seconds=self._how.heartbeat),
                retry_policy=retry_policy(step, self._how.crashes),
                priority=priority_of(step, self._plan),
            )
        except ActivityError as error:
            return _ended(error, name)
        return taken(given, name)

    async def _elsewhere(self, part: Part, args: Args, where: str) -> Outcome:
        plan = replace(self._plan, id=self._call, root=part.body, args=args)
        raw = plans.encode(plan)
        if len(raw) > LIMIT:
            return too_large(plan.flow, len(raw))
        await self._room(len(raw))
        try:
            given: RawValue = await workflow.execute_child_workflow(
                shortened(plan.flow),
                args=[value(raw), value(write(replace(self._how, at=where)))],
                result_type=RawValue,
                id=f"{self._call}/{where}",
            )
        except ChildWorkflowError as error:
            return _ended(error, plan.flow)
        return taken(given, plan.flow)

    async def _room(self, size: int) -> None:
        """Waits for the next workflow task, if there is no room for so many bytes in this one."""
        while True:
            task = workflow.info().get_current_history_length()
            if task != self._task:
                self._task, self._sent = task, 0
            if self._sent == 0 or self._sent + size <= _AT_ONCE:
                self._sent += size
                return
            await workflow.sleep(0.001)
