"""What Temporal has recorded of a call that is a single activity, which has no history."""

from __future__ import annotations

from datetime import UTC

from msgspec import MsgspecError
from temporalio.api.enums.v1 import ActivityExecutionStatus, PendingActivityState
from temporalio.api.workflowservice.v1 import (
    DescribeActivityExecutionRequest,
    DescribeActivityExecutionResponse,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from onward.backend import AttemptRecord, CallRecord, HistoryPage, StepRecord, state_of
from onward.backends.temporal.client import PROMPT
from onward.backends.temporal.events import decoded
from onward.backends.temporal.message import SINGLE, args_of, decode_step
from onward.backends.temporal.records import kind_of_fault, outcome_of_attempt, start_of
from onward.backends.temporal.status import status_of
from onward.backends.temporal.wait import outcome_of_call
from onward.outcome import Failed, Faulted, Outcome
from onward.plan import Plan, version_of


async def call_of(client: Client, id: str) -> str:
    """Returns the id of the call of a plan's id, which may be a single activity.

    Raises:
        RPCError: Also if there is no such call.
    """
    single = f"{SINGLE}{id}"
    try:
        await client.get_activity_handle(single).describe(rpc_timeout=PROMPT)
    except RPCError as problem:
        if problem.status not in (RPCStatusCode.NOT_FOUND, RPCStatusCode.UNIMPLEMENTED):
            raise
        await client.get_workflow_handle(id).describe(rpc_timeout=PROMPT)
        return id
    return single


async def history_of_single(client: Client, id: str) -> HistoryPage:
    """Returns what is recorded of a call; raises RPCError."""
    found = await client.workflow_service.describe_activity_execution(
        DescribeActivityExecutionRequest(
            namespace=client.namespace,
            activity_id=id,
            include_input=True,
            include_last_failure=True,
        ),
        timeout=PROMPT,
    )
    info = found.info
    submitted = info.schedule_time.ToDatetime(UTC)
    ended = info.close_time.ToDatetime(UTC) if info.HasField("close_time") else None
    outcome = None if ended is None else await outcome_of_call(client, id)
    state = (await status_of(client, id)).state if outcome is None else state_of(outcome)
    plan = await _plan(client, id, found)
    call = CallRecord(
        id,
        info.activity_type.name if plan is None else plan.flow,
        state,
        submitted,
        ended,
        (),
        kind_of_fault(outcome),
        start_of(state, submitted, info.execution_time.ToDatetime(UTC)),
    )
    if not info.HasField("last_started_time"):
        return HistoryPage(call, plan, (), outcome)
    attempts = await _attempts(client, found, outcome)
    began = attempts[0].began if attempts[0].number == 1 else submitted
    step = StepRecord(
        "0", info.activity_type.name, "step", outcome, attempts, began or submitted, ended
    )
    return HistoryPage(call, plan, (step,), outcome)


async def _plan(client: Client, id: str, found: DescribeActivityExecutionResponse) -> Plan | None:
    *values, last = await decoded(client, found.input) or [b""]
    try:
        message = decode_step(last)
        args = args_of(values, message.keyword)
    except (MsgspecError, ValueError):
        return None  # it is not Onward's
    return Plan(
        v=version_of(message.step),
        id=id,
        flow=message.flow,
        root=message.step,
        args=args,
        key=message.key,
        deadline=message.deadline,
        trace=message.trace,
    )


async def _attempts(
    client: Client, found: DescribeActivityExecutionResponse, outcome: Outcome | None
) -> tuple[AttemptRecord, ...]:
    info = found.info
    worker, began = info.last_worker_identity, info.last_started_time.ToDatetime(UTC)
    ended = None
    if info.HasField("last_attempt_complete_time"):
        ended = info.last_attempt_complete_time.ToDatetime(UTC)
    last = None
    if info.HasField("last_failure"):
        last = await outcome_of_attempt(client, info.last_failure, info.activity_type.name)
    is_over = info.status != ActivityExecutionStatus.ACTIVITY_EXECUTION_STATUS_RUNNING
    if not is_over and info.run_state == PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED:
        return (AttemptRecord(info.attempt - 1, began, ended, worker, last),)
    if not is_over or info.status == ActivityExecutionStatus.ACTIVITY_EXECUTION_STATUS_TIMED_OUT:
        this = AttemptRecord(info.attempt, began, None, worker)
    else:
        this = AttemptRecord(info.attempt, began, ended, worker, outcome)
    if info.attempt < 2 or isinstance(outcome, Failed | Faulted):
        return (this,)
    return AttemptRecord(info.attempt - 1, outcome=last), this
