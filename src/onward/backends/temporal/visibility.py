"""Reads the server's visibility store so that the newest executions come first.

The store lists those that run first, the newest of them first, and then those that have ended, by
the time of their end. A call that began after the end of another one that is listed is listed
before it. So what is listed so far tells down to which time it is complete.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

from temporalio.client import ActivityExecution, Client, WorkflowExecution
from temporalio.service import RPCError, RPCStatusCode

_ENDED = "ExecutionStatus != 'Running'"
_LATEST = datetime.max.replace(tzinfo=UTC)
_EARLIEST = datetime.min.replace(tzinfo=UTC)
_STEP = timedelta(microseconds=1)


class Execution(NamedTuple):
    """A workflow, or an activity that no workflow began. They sort by the time of their start."""

    start: datetime
    id: str
    found: WorkflowExecution | ActivityExecution

    @property
    def key(self) -> tuple[datetime, str]:
        """What it is sorted by."""
        return self.start, self.id


class _Pages(Protocol):
    """What the SDK lists, in pages."""

    @property
    def current_page(self) -> Sequence[WorkflowExecution | ActivityExecution] | None: ...

    @property
    def next_page_token(self) -> bytes | None: ...

    async def fetch_next_page(self) -> None: ...


class _Stream:
    """What one query lists."""

    def __init__(self, pages: _Pages) -> None:
        self._pages = pages
        self.complete = _LATEST
        """All that started after this is listed."""
        self.lists_running = False
        """Whether only those that run are asked for, because another stream lists the others."""

    async def fetch(self) -> list[Execution]:
        """Reads the next page."""
        await self._pages.fetch_next_page()
        found = list(map(_execution, self._pages.current_page or ()))
        ended = found[-1].found.close_time if found else None
        if self._pages.next_page_token is None or (self.lists_running and ended is not None):
            self.complete = _EARLIEST
        elif found:
            self.complete = ended or found[-1].start
        return found

    @property
    def ends_in_running(self) -> bool:
        """Whether there is more, and only such that run are listed so far."""
        page = self._pages.current_page or ()
        return self.complete > _EARLIEST and len(page) > 0 and page[-1].close_time is None


def _execution(found: WorkflowExecution | ActivityExecution) -> Execution:
    if isinstance(found, WorkflowExecution):
        return Execution(found.start_time, found.id, found)
    return Execution(found.schedule_time, found.activity_id, found)


async def newest_first(
    client: Client,
    workflows: str,
    activities: str | None,
    before: tuple[datetime, str] | None,
    page_size: int,
) -> AsyncGenerator[Execution]:
    """Lists executions, the newest first; raises RPCError.

    Args:
        client: The connection.
        workflows: The query for workflows.
        activities: The query for activities; None for no activities.
        before: The start and the id of an execution; those before it are listed.
        page_size: How many are read at once.
    """

    def flows(*conditions: str) -> _Stream:
        query = both(workflows, *conditions)
        return _Stream(client.list_workflows(query, page_size=page_size))

    def singles(*conditions: str) -> _Stream:
        query = both(activities or "", *conditions)
        return _Stream(client.list_activities(query, page_size=page_size))

    time = "" if before is None else f"StartTime < '{text_of_time(before[0] + _STEP)}'"
    streams: list[_Stream] = []
    waiting: dict[str, Execution] = {}
    for make in (flows, singles) if activities is not None else (flows,):
        stream = make(time)
        try:
            waiting |= {each.id: each for each in await stream.fetch()}
        except RPCError as problem:
            if make is singles and problem.status == RPCStatusCode.UNIMPLEMENTED:
                continue  # an older server runs only workflows
            raise
        streams.append(stream)
        if stream.ends_in_running:
            stream.lists_running = True
            streams.append(make(time, _ENDED))
    while True:
        last = max(streams, key=lambda stream: stream.complete)
        complete = last.complete
        ready = [each for each in waiting.values() if each.start > complete]
        for each in sorted(ready, key=lambda each: each.key, reverse=True):
            del waiting[each.id]
            if before is None or each.key < before:
                yield each
        if complete == _EARLIEST:
            return
        # What started later was listed before, by the other stream.
        waiting |= {each.id: each for each in await last.fetch() if each.start <= complete}


def both(*conditions: str) -> str:
    """A query for what meets all of these conditions; an empty one is none."""
    return " AND ".join(filter(None, conditions))


def text_of_time(time: datetime) -> str:
    """A time in a query."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")
