"""Handing calls to Temporal: a single step as an activity, anything else as a workflow."""

from __future__ import annotations

import contextlib
import time
from datetime import timedelta

from temporalio.client import Client
from temporalio.common import (
    ActivityIDConflictPolicy,
    ActivityIDReusePolicy,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import ActivityAlreadyStartedError, WorkflowAlreadyStartedError

from onward import plan as plans
from onward.backend import Submission
from onward.backends.temporal.client import PROMPT, Address
from onward.backends.temporal.converter import value
from onward.backends.temporal.lower import LONGEST, priority_of, retry_policy
from onward.backends.temporal.message import (
    LIMIT,
    SINGLE,
    FlowOptions,
    name_of,
    shortened,
    step_message,
    values,
    write,
)
from onward.fault import TooLarge
from onward.plan import Plan, Runnable

_SHORTEST = timedelta(milliseconds=1)
"""Temporal reads a duration of 0 as no limit."""


async def start_flow(client: Client, address: Address, submission: Submission) -> str:
    """Starts a call as a workflow, and returns its id; raises RPCError."""
    plan, options = submission.plan, FlowOptions(address.heartbeat)
    with contextlib.suppress(WorkflowAlreadyStartedError):
        await client.start_workflow(
            shortened(plan.flow),
            args=[value(plans.encode(plan)), value(write(options))],
            id=plan.id,
            task_queue=address.task_queue,
            execution_timeout=_left(plan),
            start_delay=_delay(submission),
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            rpc_timeout=PROMPT,
        )
    return plan.id


async def start_step(client: Client, address: Address, submission: Submission) -> str:
    """Starts a call of one step as an activity, and returns its id.

    Raises:
        RPCError: If the server refuses; `UNIMPLEMENTED` if it has no such activities.
    """
    plan = submission.plan
    step, id = plan.root, f"{SINGLE}{plan.id}"
    assert isinstance(step, Runnable)  # the caller asked is_single
    message = step_message(step, plan.args, "0", plan, id)
    left, delay = _left(plan), _delay(submission)
    if left is not None and delay is not None:
        # For an activity, unlike a workflow, the time limit begins after the delay.
        delay, left = min(delay, left), max(left - delay, _SHORTEST)
    with contextlib.suppress(ActivityAlreadyStartedError):  # submitted before, by the same key
        await client.start_activity(
            name_of(step, plan.flow),
            args=[*map(value, values(plan.args)), value(write(message))],
            id=id,
            task_queue=step.queue or plan.queue or address.task_queue,
            schedule_to_close_timeout=left,
            start_to_close_timeout=LONGEST,
            heartbeat_timeout=timedelta(seconds=address.heartbeat),
            retry_policy=retry_policy(step),
            priority=priority_of(step, plan),
            start_delay=delay,
            id_reuse_policy=ActivityIDReusePolicy.REJECT_DUPLICATE,
            id_conflict_policy=ActivityIDConflictPolicy.USE_EXISTING,
            rpc_timeout=PROMPT,
        )
    return id


def too_large(plan: Plan) -> TooLarge | None:
    """The fault of a plan that Temporal cannot carry, or None."""
    size = len(plans.encode(plan))
    if size <= LIMIT:
        return None
    message = (
        f"its plan has {size} bytes with its arguments, and Temporal carries {LIMIT} at a time"
    )
    return TooLarge(plan.flow, message, size, LIMIT)


def _left(plan: Plan) -> timedelta | None:
    """How much time a call has left."""
    if plan.deadline is None:
        return None
    return max(timedelta(seconds=plan.deadline - time.time()), _SHORTEST)


def _delay(submission: Submission) -> timedelta | None:
    return timedelta(seconds=submission.delay) if submission.delay else None
