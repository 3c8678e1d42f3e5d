"""The only workflow of Onward: it evaluates a plan, and runs each step as an activity.

Temporal replays this code: with the same outcomes of activities it must do the same again. A change
of that ends running calls; tests/temporal replays recorded histories.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from msgspec import MsgspecError
from msgspec.structs import replace
from returns.result import Failure
from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, CancelledError, ChildWorkflowError

from onward import plan as plans
from onward.backends.temporal.converter import value
from onward.backends.temporal.errors import failure, outcome_of
from onward.backends.temporal.lower import LONGEST, Part, parted, priority_of, retry_policy, within
from onward.backends.temporal.message import (
    LIMIT,
    FlowOptions,
    checked,
    name_of,
    omitted,
    read_options,
    shortened,
    size_of,
    step_message,
    taken,
    too_large,
    unreadable,
    values,
    write,
)
from onward.backends.temporal.places import place_in
from onward.evaluate import evaluate
from onward.execute import raised
from onward.outcome import Outcome, Value, faulted
from onward.plan import Args, Plan, Runnable

_AT_ONCE = 2_000_000
"""How many bytes one workflow task may send: it is one message of at most 4 MB."""

_IN_FLIGHT = 100
"""How many items of an `each` run at a time, if it sets no limit."""


@workflow.defn(dynamic=True, sandboxed=False)
class FlowWorkflow:
    """Runs any flow; its type is the flow's name."""

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> RawValue:
        """Runs a plan; the arguments are the plan and the `FlowOptions`."""
        name = workflow.info().workflow_type
        try:
            outcome = omitted(args, name)
            if outcome is None:
                outcome = checked(await _run([each.payload.data for each in args], name), name)
        except Exception as problem:  # ours; what a step raises is an outcome
            outcome = faulted(raised(name, problem))
        if isinstance(outcome, Value):
            return value(outcome.raw)
        raise failure(outcome)


async def _run(sent: Sequence[bytes], name: str) -> Outcome:
    try:
        raw, raw_options = sent
        options = read_options(raw_options)
    except (MsgspecError, ValueError) as problem:
        return unreadable(name, problem)
    decoded = plans.decode(raw)
    if isinstance(decoded, Failure):
        return faulted(decoded.failure())
    plan = decoded.unwrap()
    root = within(plan.root) if options.at else parted(plan.root)
    return await evaluate(
        root, plan.args, _Steps(plan, options), where=options.at, in_flight=_IN_FLIGHT
    )


def _ended(error: ActivityError | ChildWorkflowError, name: str) -> Outcome:
    """The outcome of a step that returned no value."""
    if isinstance(error.cause, CancelledError):
        # Only the end of the call does this, after which no other step may run.
        raise asyncio.CancelledError from error
    return outcome_of(error, name)


class _Steps:
    """Runs steps as activities, and parts here while the history has room for them."""

    def __init__(self, plan: Plan, options: FlowOptions) -> None:
        self._plan = plan
        self._options = options
        self._call = plan.id or workflow.info().workflow_id
        self._task = 0
        self._sent = 0

    async def __call__(self, step: Runnable, args: Args, where: str, /) -> Outcome:
        if isinstance(step, Part):
            if workflow.info().is_continue_as_new_suggested() and size_of(args) < LIMIT:
                return await self._as_child(step, args, where)
            return await evaluate(within(step.body), args, self, where=where, in_flight=_IN_FLIGHT)
        return await self._activity(step, args, where)

    async def _activity(self, step: Runnable, args: Args, where: str) -> Outcome:
        name = name_of(step, self._plan.flow)
        place = self._place(where)
        message = write(step_message(step, args, place, self._plan, self._call))
        size = size_of(args) + len(message)
        if size > LIMIT:
            return too_large(name, size)
        await self._wait_for_room(size)
        try:
            given: RawValue = await workflow.execute_activity(
                name,
                args=[*map(value, values(args)), value(message)],
                result_type=RawValue,
                task_queue=step.queue or self._plan.queue,
                activity_id=where,
                start_to_close_timeout=LONGEST,
                heartbeat_timeout=timedelta(seconds=self._options.heartbeat),
                retry_policy=retry_policy(step, self._options.crashes),
                priority=priority_of(step, self._plan),
            )
        except ActivityError as error:
            return _ended(error, name)
        return taken(given, name)

    async def _as_child(self, part: Part, args: Args, where: str) -> Outcome:
        plan = replace(self._plan, id=self._call, root=part.body, args=args)
        raw = plans.encode(plan)
        if len(raw) > LIMIT:
            return too_large(plan.flow, len(raw))
        await self._wait_for_room(len(raw))
        options = replace(self._options, at=where, place=self._place(where))
        try:
            given: RawValue = await workflow.execute_child_workflow(
                shortened(plan.flow),
                args=[value(raw), value(write(options))],
                result_type=RawValue,
                id=f"{self._call}/{where}",
            )
        except ChildWorkflowError as error:
            return _ended(error, plan.flow)
        return taken(given, plan.flow)

    def _place(self, where: str) -> str:
        """The place that the step's task and people are told."""
        return place_in(self._plan, self._options, where)

    async def _wait_for_room(self, size: int) -> None:
        """Waits for the next workflow task, unless this one has room for so many bytes."""
        while True:
            task = workflow.info().get_current_history_length()
            if task != self._task:
                self._task, self._sent = task, 0
            if self._sent == 0 or self._sent + size <= _AT_ONCE:
                self._sent += size
                return
            await workflow.sleep(0.001)
