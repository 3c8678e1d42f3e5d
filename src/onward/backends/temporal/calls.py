"""A call by its id: an activity of its own, or a workflow."""

from __future__ import annotations

from temporalio import exceptions
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import (
    ActivityExecutionStatus,
    ActivityFailureError,
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
)
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from onward.backend import State, Status, state_of
from onward.backends.temporal.client import PROMPT
from onward.backends.temporal.message import (
    CANCELLED,
    Beat,
    expired,
    outcome_of,
    read_beat,
    taken,
)
from onward.outcome import Outcome, Value, faulted

SINGLE = "task-"
"""What the id of a call begins with that is an activity."""

_BEGUN = 5
"""How many events a workflow's history has when its first step is scheduled."""


_LAST = 20
"""How many events of a history are read at a time, from its end."""


async def wait(client: Client, id: str) -> Outcome:
    """Waits for the outcome of a call; raises RPCError."""
    try:
        if id.startswith(SINGLE):
            given = await client.get_activity_handle(id, result_type=RawValue).result()
        else:
            given = await client.get_workflow_handle(id, result_type=RawValue).result()
    except (ActivityFailureError, WorkflowFailureError) as problem:
        if isinstance(problem.cause, ApplicationError):
            return outcome_of(problem.cause, id)
        of = await name(client, id)
        if isinstance(problem, WorkflowFailureError) and isinstance(
            problem.cause, exceptions.TimeoutError
        ):
            return faulted(expired(of))  # a workflow has no time limit but its call's deadline
        return outcome_of(problem.cause, of)
    outcome = taken(given, id)
    return outcome if isinstance(outcome, Value) else taken(given, await name(client, id))


async def name(client: Client, id: str) -> str:
    """The task or flow of a call; raises RPCError."""
    if id.startswith(SINGLE):
        return (await client.get_activity_handle(id).describe(rpc_timeout=PROMPT)).activity_type
    return (await client.get_workflow_handle(id).describe(rpc_timeout=PROMPT)).workflow_type


async def has_ended(client: Client, id: str) -> bool:
    """Whether a call has an outcome; raises RPCError."""
    if id.startswith(SINGLE):
        single = await client.get_activity_handle(id).describe(rpc_timeout=PROMPT)
        return single.status != ActivityExecutionStatus.RUNNING
    flow = await client.get_workflow_handle(id).describe(rpc_timeout=PROMPT)
    return flow.status != WorkflowExecutionStatus.RUNNING


async def end(client: Client, id: str) -> None:
    """Ends a call for good, whether or not a worker is there; raises RPCError."""
    try:
        if id.startswith(SINGLE):
            await client.get_activity_handle(id).terminate(reason=CANCELLED, rpc_timeout=PROMPT)
        else:
            await client.get_workflow_handle(id).terminate(reason=CANCELLED, rpc_timeout=PROMPT)
    except RPCError as problem:
        # The server refuses it also where there is an outcome.
        is_away = problem.status in (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED)
        if is_away or not await has_ended(client, id):
            raise


async def status(client: Client, id: str) -> Status:
    """Where a call is; raises RPCError."""
    return await (_single(client, id) if id.startswith(SINGLE) else _flow(client, id))


async def _single(client: Client, id: str) -> Status:
    found = await client.get_activity_handle(id).describe(
        include_heartbeat_details=True, rpc_timeout=PROMPT
    )
    said = await found.heartbeat_details() if found.has_heartbeat_details() else []
    beat = read_beat(said[0]) if said else Beat()
    if found.status != ActivityExecutionStatus.RUNNING:
        is_done = found.status == ActivityExecutionStatus.COMPLETED
        state: State = "done" if is_done else state_of(await wait(client, id))
        if found.last_started_time is None:
            return Status(state)
        return Status(state, beat.task or found.activity_type, beat.step or "0", beat.attempt)
    if found.last_started_time is None:
        return Status("queued")
    task = beat.task or found.activity_type
    return Status("running", task, beat.step or "0", beat.attempt, beat.progress)


async def _flow(client: Client, id: str) -> Status:
    found = await client.get_workflow_handle(id).describe(rpc_timeout=PROMPT)
    if found.status != WorkflowExecutionStatus.RUNNING:
        is_done = found.status == WorkflowExecutionStatus.COMPLETED
        state: State = "done" if is_done else state_of(await wait(client, id))
        return await _ended(client, id, state)
    raw = found.raw_description
    pending = sorted(raw.pending_activities, key=_is_started, reverse=True)
    if not pending:
        # What is far along may go on in parts, each a workflow of its own.
        for child in raw.pending_children:
            inner = await _part(client, child.workflow_id)
            if inner is not None:
                return inner
        return Status("running" if found.history_length > _BEGUN else "queued")
    step = pending[0]
    if not _is_started(step) and step.attempt <= 1 and found.history_length <= _BEGUN + 1:
        return Status("queued")
    beat = await _said(client, found, step)
    task, place = beat.task or step.activity_type.name, beat.step or step.activity_id
    return Status("running", task, place, beat.attempt, beat.progress)


async def _ended(client: Client, id: str, state: State) -> Status:
    """A workflow that has ended, and the step that began last in it."""
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
                return Status(state, step.activity_type.name, step.activity_id, times)
        token = page.next_page_token
        if not token:
            return Status(state)


async def _part(client: Client, id: str) -> Status | None:
    """Where a part of a call is, if it runs: it may not have begun, or have ended just now."""
    try:
        found = await _flow(client, id)
    except RPCError as problem:
        if problem.status != RPCStatusCode.NOT_FOUND:
            raise
        return None
    return found if found.state == "running" else None


def _is_started(step: PendingActivityInfo) -> bool:
    return step.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED


async def _said(
    client: Client, found: WorkflowExecutionDescription, step: PendingActivityInfo
) -> Beat:
    if not step.HasField("heartbeat_details"):
        return Beat()
    said = await client.data_converter.decode_wrapper(step.heartbeat_details)
    return read_beat(said[0]) if said else Beat()
