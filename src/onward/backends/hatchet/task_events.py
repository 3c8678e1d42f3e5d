"""What the engine has noted about the tasks of a run: deliveries, failures, cancels.

Only its HTTP API has these events.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct
from returns.result import Failure

from onward.backends.hatchet.http_api import HttpApi

_WITH_IT = timedelta(seconds=10)
"""How long after its failure a run may be cancelled as if it were not over.

The engine takes up to five seconds to report that it could not hand a run to a worker.
"""


class TaskEvent(Struct, frozen=True, rename="camel"):
    """An event of a task.

    Args:
        task_id: The task's id.
        event_type: What happened, such as `STARTED`, `CANCELLED` or `FAILED`.
        timestamp: When it happened.
        retry_count: How often the engine had delivered the task before.
        worker_id: The worker's id, if the event is of one.
    """

    task_id: str
    event_type: str
    timestamp: datetime
    retry_count: int = 0
    worker_id: str = ""


class _Events(Struct, frozen=True):
    rows: list[TaskEvent] = []


_EVENTS = msgspec.json.Decoder(_Events)


async def events_of(http: HttpApi, run: str) -> Sequence[TaskEvent]:
    """Returns the events of a run's tasks; empty if the HTTP API does not answer."""
    answer = await http.request("GET", f"stable/workflow-runs/{run}/task-events")
    if isinstance(answer, Failure):
        return ()
    try:
        return _EVENTS.decode(answer.unwrap()).rows
    except msgspec.MsgspecError:
        return ()


def is_cancelled(events: Iterable[TaskEvent]) -> bool:
    """Whether a run was cancelled that the engine shows as failed.

    A run that is cancelled while the engine tries to hand it to a dead worker gets both events, and
    the failure hides the cancel.
    """
    failures: dict[tuple[str, int], datetime] = {}
    cancels: dict[tuple[str, int], datetime] = {}
    for event in events:
        found = {"FAILED": failures, "CANCELLED": cancels}.get(event.event_type)
        if found is not None:
            delivery = event.task_id, event.retry_count
            found[delivery] = min(found.get(delivery, event.timestamp), event.timestamp)
    return any(
        moment <= failures[delivery] + _WITH_IT
        for delivery, moment in cancels.items()
        if delivery in failures
    )
