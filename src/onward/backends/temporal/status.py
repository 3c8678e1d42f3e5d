"""Reads the status of a call, and cancels a call."""

from __future__ import annotations

import contextlib

from msgspec import MsgspecError
from msgspec.structs import replace
from temporalio.api.common.v1 import Payloads, WorkflowExecution
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryReverseRequest,
)
from temporalio.client import (
    ActivityExecutionStatus,
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
)
from temporalio.service import RPCError, RPCStatusCode

from onward.backend import State, Status, state_of
from onward.backends.temporal import ending, limit_message
from onward.backends.temporal.client import PROMPT
from onward.backends.temporal.message import (
    SINGLE,
    WAITING,
    Heartbeat,
    WaitNote,
    decode_heartbeat,
    decode_step,
    decode_wait,
    name_of,
)
from onward.backends.temporal.paths import path_in
from onward.backends.temporal.unique_lookup import drop, has_begun
from onward.backends.temporal.wait import has_ended, outcome_of_call
from onward.context import moment
from onward.fault import Conflict, Moved
from onward.past import node_at
from onward.plan import Runnable
from onward.scope import in_cleanup

_FIRST_STEP = 5
"""How many events a workflow's history has when its first step is scheduled."""

_LAST = 20
"""How many events of a history are read per request, from its end."""


async def cancel(client: Client, id: str) -> None:
    """Cancels a call, unless it has an outcome; raises RPCError."""
    try:
        if await has_begun(client, id) or not await drop(client, id):
            await ending.cancel(client, id)
    except RPCError as problem:
        # The server also refuses this if the call has an outcome.
        if not ending.is_refused(problem) or not await has_ended(client, id):
            raise


async def give_up(client: Client, id: str, moved: Moved) -> Conflict | None:
    """Ends a call that goes on elsewhere, unless it has an outcome; raises RPCError."""
    try:
        if await has_begun(client, id):
            return await ending.give_up(client, id, moved)
    except RPCError as problem:
        if not ending.is_refused(problem) or not await has_ended(client, id):
            raise
        return None
    message = "the call waits until another one with the same unique key has ended"
    return Conflict(moved.task, message, "Move it once it has begun.")


async def status_of(client: Client, id: str) -> Status:
    """Returns the status of a call; raises RPCError."""
    return await (_single(client, id) if id.startswith(SINGLE) else _flow(client, id))


async def _single(client: Client, id: str) -> Status:
    found = await client.get_activity_handle(id).describe(
        include_heartbeat_details=True, rpc_timeout=PROMPT
    )
    reported = await found.heartbeat_details() if found.has_heartbeat_details() else []
    heartbeat = decode_heartbeat(reported[0]) if reported else Heartbeat()
    if found.status != ActivityExecutionStatus.RUNNING:
        is_done = found.status == ActivityExecutionStatus.COMPLETED
        state: State = "done" if is_done else state_of(await outcome_of_call(client, id))
        if found.last_started_time is None:
            return Status(state)
        return Status(state, found.activity_type, "0", heartbeat.attempt)
    if found.last_started_time is None:
        return Status("queued")
    task = heartbeat.task or found.activity_type
    return Status("running", task, heartbeat.step or "0", heartbeat.attempt, heartbeat.progress)


async def _flow(client: Client, id: str) -> Status:
    if not await has_begun(client, id):
        return Status("queued")
    found = await client.get_workflow_handle(id).describe(rpc_timeout=PROMPT)
    if found.status != WorkflowExecutionStatus.RUNNING:
        is_done = found.status == WorkflowExecutionStatus.COMPLETED
        state: State = "done" if is_done else state_of(await outcome_of_call(client, id))
        return await _ended(client, id, state)
    now = await _running(client, id, found)
    is_cancelled = found.raw_description.workflow_extended_info.cancel_requested
    if now.state == "queued" or in_cleanup(now.step):
        left = await ending.late_after(client, id)
        is_late = left is not None and left <= 0
        if is_late and now.state == "queued":
            await ending.expire(client, id)
            return Status("expired") if await has_ended(client, id) else now
        is_cancelled = is_cancelled or is_late
    return replace(now, state="cancelling") if is_cancelled else now


async def _running(client: Client, id: str, found: WorkflowExecutionDescription) -> Status:
    raw = found.raw_description
    steps = (it for it in raw.pending_activities if it.activity_type.name != limit_message.TYPE)
    pending = sorted(steps, key=_is_started, reverse=True)
    if not pending:
        # A long flow continues in parts, which are child workflows.
        for child in raw.pending_children:
            inner = await _part(client, child.workflow_id)
            if inner is not None:
                return inner
        waiting = await _waiting(client, id, found)
        if waiting is not None:
            return waiting
        return Status("running" if found.history_length > _FIRST_STEP else "queued")
    step = pending[0]
    if not _is_started(step) and step.attempt <= 1 and found.history_length <= _FIRST_STEP + 1:
        return Status("queued")
    heartbeat = await _reported(client, found, step)
    task = heartbeat.task or step.activity_type.name
    path = heartbeat.step or await _path(client, id, step.activity_id)
    return Status("running", task, path, heartbeat.attempt, heartbeat.progress)


async def _waiting(client: Client, id: str, found: WorkflowExecutionDescription) -> Status | None:
    """Returns the status of a workflow that runs no step, if its memo says what it waits for."""
    raw = found.raw_description
    memo = raw.workflow_execution_info.memo.fields
    if WAITING not in memo or raw.HasField("pending_workflow_task"):
        return None
    note = decode_wait((await _decoded(client, Payloads(payloads=[memo[WAITING]])))[0])
    if note is None:
        return None
    if note.limit:
        return await _limited(client, id, note)
    last = await _ended(client, id, "waiting")
    return replace(last, signal=note.signal, until=moment(note.until))


async def _limited(client: Client, id: str, note: WaitNote) -> Status:
    sent = await ending.sent_to(client, id)
    step = None if sent is None else node_at(sent[0].root, note.path)
    name = "" if sent is None or not isinstance(step, Runnable) else name_of(step, sent[0].flow)
    return Status("waiting", name, note.path, note.attempt, limit=note.limit)


async def _ended(client: Client, id: str, state: State) -> Status:
    """Returns the status of a workflow that runs no step, with the step that began last."""
    token, attempts = b"", dict[int, int]()
    while True:
        page = await client.workflow_service.get_workflow_execution_history_reverse(
            GetWorkflowExecutionHistoryReverseRequest(
                namespace=client.namespace,
                execution=WorkflowExecution(workflow_id=id),
                maximum_page_size=_LAST,
                next_page_token=token,
            ),
            timeout=PROMPT,
        )
        for event in page.history.events:
            if event.HasField("activity_task_started_event_attributes"):
                started = event.activity_task_started_event_attributes
                attempts[started.scheduled_event_id] = started.attempt
            elif event.HasField("child_workflow_execution_started_event_attributes"):
                part = event.child_workflow_execution_started_event_attributes
                return await _ended(client, part.workflow_execution.workflow_id, state)
            elif event.event_id in attempts:
                step = event.activity_task_scheduled_event_attributes
                times = attempts[event.event_id]
                if step.activity_type.name == limit_message.TYPE:
                    continue
                with contextlib.suppress(MsgspecError, ValueError):  # it may not be Onward's
                    message = decode_step((await _decoded(client, step.input))[-1])
                    return Status(state, message.name, message.at, times + message.attempt - 1)
                return Status(state, step.activity_type.name, step.activity_id, times)
        token = page.next_page_token
        if not token:
            return Status(state)


async def _part(client: Client, id: str) -> Status | None:
    """Returns the status of a part of a call, if the part is running."""
    try:
        found = await _flow(client, id)
    except RPCError as problem:
        if problem.status != RPCStatusCode.NOT_FOUND:
            raise
        return None
    return found if found.state in ("running", "waiting", "cancelling") else None


def _is_started(step: PendingActivityInfo) -> bool:
    return step.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED


async def _reported(
    client: Client, found: WorkflowExecutionDescription, step: PendingActivityInfo
) -> Heartbeat:
    if not step.HasField("heartbeat_details"):
        return Heartbeat()
    reported = await _decoded(client, step.heartbeat_details)
    return decode_heartbeat(reported[0]) if reported else Heartbeat()


async def _decoded(client: Client, sent: Payloads) -> list[bytes]:
    return await client.data_converter.decode_wrapper(sent)


async def _path(client: Client, id: str, activity: str) -> str:
    """The path of an activity for which no worker has sent a heartbeat yet."""
    sent = await ending.sent_to(client, id)
    return activity if sent is None else path_in(*sent, activity)
