"""Submits calls: a single step as an activity, everything else as a workflow."""

from __future__ import annotations

import contextlib
import time
from datetime import timedelta

from msgspec.structs import replace
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
from onward.backends.temporal.converter import raw_value
from onward.backends.temporal.lower import LONGEST, awaits_any, priority_of, retry_policy
from onward.backends.temporal.message import (
    LIMIT,
    SINGLE,
    encode,
    name_of,
    new_options,
    step_message,
    tags_memo,
    values,
    workflow_type,
)
from onward.fault import TooLarge
from onward.plan import Plan, Runnable

_SHORTEST = timedelta(milliseconds=1)
"""The shortest duration, because Temporal takes 0 for no limit."""


async def start_flow(client: Client, address: Address, submission: Submission) -> str:
    """Starts a call as a workflow, and returns its id; raises RPCError."""
    plan, options = submission.plan, new_options(address.heartbeat)
    if submission.delay and awaits_any(plan.root):
        options = replace(options, delay=submission.delay)
    with contextlib.suppress(WorkflowAlreadyStartedError):
        await client.start_workflow(
            workflow_type(plan.flow),
            args=[raw_value(plans.encode(plan)), raw_value(encode(options))],
            id=plan.id,
            task_queue=address.task_queue,
            # A call with cleanups keeps the time itself, because it goes on after its deadline.
            execution_timeout=None if plans.has_cleanup(plan) else _time_left(plan),
            start_delay=_delay(submission),
            memo=tags_memo(plan.tags),
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            rpc_timeout=PROMPT,
        )
    return plan.id


async def start_step(client: Client, address: Address, submission: Submission) -> str:
    """Starts a call of one step as an activity, and returns its id.

    Raises:
        RPCError: If the server refuses it; `UNIMPLEMENTED` if the server is too old for this.
    """
    plan = submission.plan
    step, id = plan.root, f"{SINGLE}{plan.id}"
    assert isinstance(step, Runnable)  # the caller has checked is_single
    # The activity keeps no plan, so that its step has the call's own policy.
    priority = plan.priority if step.priority is None else step.priority
    step = replace(step, queue=step.queue or plan.queue, priority=priority)
    message = step_message(step, plan.args, "0", plan, id)
    left, delay = _time_left(plan), _delay(submission)
    if left is not None and delay is not None:
        # The time limit of an activity, unlike a workflow's, starts after the delay.
        delay, left = min(delay, left), max(left - delay, _SHORTEST)
    with contextlib.suppress(ActivityAlreadyStartedError):  # submitted before with the same key
        await client.start_activity(
            name_of(step, plan.flow),
            args=[*map(raw_value, values(plan.args)), raw_value(encode(message))],
            id=id,
            task_queue=step.queue or address.task_queue,
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
    """Returns the fault for a plan that is too large for Temporal, or None."""
    size = len(plans.encode(plan))
    if size <= LIMIT:
        return None
    what = "its arguments"
    if plan.past is not None:
        known = size - len(plans.encode(replace(plan, past=None)))
        what += f" and {known} bytes of outcomes that it takes over"
    message = f"the call has {size} bytes with {what}, and Temporal carries at most {LIMIT}"
    return TooLarge(plan.flow, message, size, LIMIT)


def _time_left(plan: Plan) -> timedelta | None:
    """The time until a call's deadline; None without one."""
    if plan.deadline is None:
        return None
    return max(timedelta(seconds=plan.deadline - time.time()), _SHORTEST)


def _delay(submission: Submission) -> timedelta | None:
    return timedelta(seconds=submission.delay) if submission.delay else None
