"""What the engine has noted about a task: deliveries, failures, cancels.

Only its HTTP API has these events.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from returns.result import Failure

from onward.backends.hatchet.http_api import HttpApi

_WITH_IT = timedelta(seconds=10)
"""How long after its failure a run may be cancelled as if it were not over.

The engine takes up to five seconds to report that it could not hand a run to a worker.
"""


_MOST = 200
"""How many events of a task to read."""


class TaskEvent(Struct, frozen=True, rename="camel"):
    """An event of a task.

    Args:
        event_type: What happened, such as `STARTED`, `CANCELLED` or `FAILED`.
        timestamp: When it happened.
        retry_count: How often the engine had delivered the task before.
    """

    event_type: str
    timestamp: datetime
    retry_count: int = 0


class TaskEvents(Struct, frozen=True):
    """The events of a task.

    Args:
        rows: The events.
        now: The time at the engine; None if it is not known.
    """

    rows: list[TaskEvent] = []
    now: datetime | None = None

    @property
    def is_cancelled(self) -> bool:
        """Whether a task was cancelled that the engine shows as failed.

        One that is cancelled while the engine tries to hand it to a dead worker gets both events,
        and the failure hides the cancel.
        """
        failures, cancels = self._first("FAILED"), self._first("CANCELLED")
        return any(
            moment <= failures[delivery] + _WITH_IT
            for delivery, moment in cancels.items()
            if delivery in failures
        )

    @property
    def replays(self) -> int:
        """How often somebody has had the task delivered again."""
        return sum(event.event_type == "RETRIED_BY_USER" for event in self.rows)

    @property
    def failed_for(self) -> float:
        """How long ago it failed last, in seconds; 0 if that is not known."""
        moments = [event.timestamp for event in self.rows if event.event_type == "FAILED"]
        if self.now is None or not moments:
            return 0.0
        return max(0.0, (self.now - max(moments)).total_seconds())

    def _first(self, kind: str) -> dict[int, datetime]:
        """The first events of a kind, by delivery."""
        found: dict[int, datetime] = {}
        for event in self.rows:
            if event.event_type == kind:
                moment = found.get(event.retry_count, event.timestamp)
                found[event.retry_count] = min(moment, event.timestamp)
        return found


_EVENTS = msgspec.json.Decoder(TaskEvents)


async def events_of(http: HttpApi, task: str) -> TaskEvents:
    """Returns the events of a task; none if the HTTP API does not answer."""
    # Without a limit, the engine gives none; the newest come first.
    query = {"limit": str(_MOST), "offset": "0"}
    answer = await http.fetch("GET", f"stable/tasks/{task}/task-events", query=query)
    if isinstance(answer, Failure):
        return TaskEvents()
    found = answer.unwrap()
    try:
        events = _EVENTS.decode(found.raw)
    except msgspec.MsgspecError:
        return TaskEvents()
    now = None if found.ahead is None else datetime.fromtimestamp(time.time() + found.ahead, UTC)
    return replace(events, now=now)
