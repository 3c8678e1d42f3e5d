"""Calls of Onward's flows from the workflows of others: `child`."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TypeVar

import msgspec
from msgspec.structs import replace
from returns.result import Failure, Result
from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, CancelledError, ChildWorkflowError
from temporalio.workflow import ParentClosePolicy

from onward import outcome as outcomes
from onward import plan as plans
from onward.backends.temporal.converter import raw_value
from onward.backends.temporal.errors import outcome_of
from onward.backends.temporal.message import (
    encode,
    named,
    new_options,
    outcome_of_value,
    workflow_type,
)
from onward.fault import KINDS, BadPayload, Fault
from onward.flows.flow import Call
from onward.flows.lower import travelling
from onward.outcome import Outcome
from onward.plan import Plan

# The sandbox keeps msgspec from finding a fault's fields later, within a workflow.
_DECODERS = tuple(map(msgspec.json.Decoder, KINDS.values()))

Value = TypeVar("Value")
Error = TypeVar("Error")


async def child(
    call: Call[Value, Error],
    /,
    *,
    task_queue: str = "onward",
    id: str | None = None,
    timeout: timedelta | None = None,
    heartbeat: float = 10.0,
) -> Result[Value, Error | Fault]:
    """Runs a call as a child workflow of the Temporal workflow that awaits this.

    Onward's workers of the task queue serve it. If the workflow is cancelled, so is the call. It is
    deterministic: a replay makes the same child.

    Args:
        call: The call.
        task_queue: The task queue of Onward's workers, as in `temporal(task_queue=...)`.
        id: The child's id; None for one that belongs to this workflow's run.
        timeout: How long the call may take; None for no limit.
        heartbeat: How long a worker that runs a step may send no heartbeat, in seconds.

    Returns:
        The value, the domain error or the fault of the call.

    Raises:
        TypeError: If it is not a call.
        asyncio.CancelledError: If the workflow is cancelled.

    Example:
        ```python
        @workflow.defn
        class Order:
            @workflow.run
            async def run(self, item: str) -> str:
                return str(await child(ship(item)))
        ```
    """
    if not isinstance(call, Call):
        raise TypeError(f"{call!r} is not a call: apply a flow to its arguments")
    # In the sandbox, a module that is imported on first use would be another copy of itself.
    with workflow.unsafe.imports_passed_through():
        plan = _plan(call, id)
    if isinstance(plan, BadPayload):
        return Failure(plan)
    try:
        given: RawValue = await workflow.execute_child_workflow(
            workflow_type(plan.flow),
            args=[raw_value(plans.encode(plan)), raw_value(encode(new_options(heartbeat)))],
            result_type=RawValue,
            id=plan.id,
            task_queue=task_queue,
            execution_timeout=timeout,
            # Cleanups of the call run also if this workflow is terminated.
            parent_close_policy=ParentClosePolicy.REQUEST_CANCEL,
        )
    except ChildWorkflowError as error:
        itself = asyncio.current_task()
        is_ending = itself is not None and itself.cancelling() > 0
        if is_ending and isinstance(error.cause, CancelledError):
            raise
        outcome = _outcome_of_child(error.cause, plan.flow)
    else:
        outcome = outcome_of_value(given, plan.flow)
    with workflow.unsafe.imports_passed_through():
        return call.flow.read(outcome)


def _plan(call: Call[Value, Error], id: str | None) -> Plan | BadPayload:
    if isinstance(call.args, BadPayload):
        return call.args
    name, form = call.flow.name, travelling(call.flow)
    if isinstance(form, BadPayload):
        return replace(form, task=name)
    root, version = form
    if id is None:
        id = f"{workflow.info().workflow_id}-{workflow.uuid4().hex}"
    return Plan(v=version, id=id, flow=name, root=root, args=call.args)


def _outcome_of_child(error: BaseException | None, name: str) -> Outcome:
    """Turns a child's error into an outcome, as this workflow's own data converter reads it."""
    if isinstance(error, ApplicationError) and error.details:
        detail = error.details[0]
        raw = detail if isinstance(detail, bytes) else msgspec.json.encode(detail)
        return named(outcomes.decode(raw), name)
    return outcome_of(error, name)
