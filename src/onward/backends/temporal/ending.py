"""Ends calls from outside: by a cancel, or because their deadline has passed."""

from __future__ import annotations

import contextlib
import time

from msgspec import MsgspecError
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryRequest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from onward import plan as plans
from onward.backend.support import is_cancelling
from onward.backends.temporal.client import PROMPT
from onward.backends.temporal.message import (
    CANCELLED,
    EXPIRED,
    MOVED,
    SINGLE,
    FlowOptions,
    decode_options,
)
from onward.codec import encode_fault
from onward.fault import Conflict, Moved
from onward.plan import Plan

_UNBEGUN = 2
"""The most events of a workflow that no worker has begun, before it is cancelled."""

_FIRST = 10
"""How many of a workflow's first events are read."""


async def cancel(client: Client, id: str) -> None:
    """Cancels a call; raises RPCError, also if the call has an outcome.

    A call with cleanups is cancelled by its worker, which runs them. Any other call is terminated,
    which needs no worker, and so is one that no worker has begun.
    """
    if id.startswith(SINGLE):
        await client.get_activity_handle(id).terminate(reason=CANCELLED, rpc_timeout=PROMPT)
        return
    sent = await sent_to(client, id)
    if sent is not None and plans.has_cleanup(sent[0]):
        await _cancel_cleanly(client, id, CANCELLED)
    else:
        await client.get_workflow_handle(id).terminate(reason=CANCELLED, rpc_timeout=PROMPT)


async def give_up(client: Client, id: str, moved: Moved) -> Conflict | None:
    """Ends a call that goes on elsewhere, without its cleanups, unless it has an outcome.

    Returns:
        Why it cannot be given up, if that is so; raises RPCError, also if the call has ended.
    """
    reason = MOVED + encode_fault(moved).decode()
    if id.startswith(SINGLE):
        await client.get_activity_handle(id).terminate(reason=reason, rpc_timeout=PROMPT)
        return None
    call = client.get_workflow_handle(id)
    found = await call.describe(rpc_timeout=PROMPT)
    is_running = found.status == WorkflowExecutionStatus.RUNNING
    if is_running and found.raw_description.workflow_extended_info.cancel_requested:
        return is_cancelling(moved.task)
    await call.terminate(reason=reason, rpc_timeout=PROMPT)
    return None


async def _cancel_cleanly(client: Client, id: str, reason: str) -> None:
    call = client.get_workflow_handle(id)
    await call.cancel(rpc_timeout=PROMPT)
    for event in (await _history(client, id, _FIRST)).events:
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED:
            return
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED:
            # Whoever begins it now knows of the cancel and runs no step, so nobody need begin it.
            with contextlib.suppress(RPCError):  # it has ended, or a worker will end it
                await call.terminate(reason=reason, rpc_timeout=PROMPT)
            return


async def expire(client: Client, id: str) -> None:
    """Ends a call with cleanups whose deadline has passed, if no worker has begun it.

    Otherwise its worker does, unless there is none. Raises RPCError.
    """
    found = await client.get_workflow_handle(id).describe(rpc_timeout=PROMPT)
    is_running = found.status == WorkflowExecutionStatus.RUNNING
    if is_running and found.history_length <= _UNBEGUN:
        await _cancel_cleanly(client, id, EXPIRED)


async def late_after(client: Client, id: str) -> float | None:
    """How long it is until the deadline of a call with cleanups, in seconds; may be negative.

    Returns:
        None if the call has no deadline, or the server ends it by itself; raises RPCError.
    """
    if id.startswith(SINGLE):
        return None
    sent = await sent_to(client, id)
    if sent is None or sent[0].deadline is None or not plans.has_cleanup(sent[0]):
        return None
    return sent[0].deadline - time.time()


async def sent_to(client: Client, id: str) -> tuple[Plan, FlowOptions] | None:
    """Returns the plan of a workflow, and its options; None if it is not Onward's."""
    return await sent_in(client, (await _history(client, id, 1)).events[0])


async def sent_in(client: Client, first: HistoryEvent) -> tuple[Plan, FlowOptions] | None:
    """Returns what the first event of a workflow has; None if it is not Onward's."""
    begun = first.workflow_execution_started_event_attributes
    with contextlib.suppress(MsgspecError, ValueError):
        raw, options = await client.data_converter.decode_wrapper(begun.input)
        plan = plans.decode(raw).value_or(None)
        if plan is not None:
            return plan, decode_options(options)
    return None


async def _history(client: Client, id: str, count: int) -> History:
    page = await client.workflow_service.get_workflow_execution_history(
        GetWorkflowExecutionHistoryRequest(
            namespace=client.namespace,
            execution=WorkflowExecution(workflow_id=id),
            maximum_page_size=count,
        ),
        timeout=PROMPT,
    )
    return page.history


def is_refused(problem: RPCError) -> bool:
    """Whether the server answered that it will not do this, rather than not at all."""
    return problem.status not in (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED)
