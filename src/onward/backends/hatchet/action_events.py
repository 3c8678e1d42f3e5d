"""The events that workers report of the actions that the engine assigned to them."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from hatchet_sdk.contracts.dispatcher_pb2 import (
    AssignedAction,
    StepActionEvent,
    StepActionEventType,
)


def event_of(
    action: AssignedAction, worker: str, kind: StepActionEventType, since: Timestamp
) -> StepActionEvent:
    """Makes an event of an action.

    Args:
        action: The action.
        worker: The worker's id.
        kind: The type of the event.
        since: The time of the event.
    """
    return StepActionEvent(
        worker_id=worker,
        job_id=action.job_id,
        job_run_id=action.job_run_id,
        task_id=action.task_id,
        task_run_external_id=action.task_run_external_id,
        action_id=action.action_id,
        event_timestamp=since,
        event_type=kind,
        retry_count=action.retry_count,
    )


def now() -> Timestamp:
    """Returns the current time."""
    moment = Timestamp()
    moment.GetCurrentTime()
    return moment
