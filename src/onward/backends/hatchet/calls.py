"""Lists calls: the runs that are calls, and not a part of one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime

from msgspec import Struct
from returns.result import Failure, Result, Success

from onward.backend import CallPage, CallQuery, CallRecord, State, Status, state_of
from onward.backend.history import Listed, matches
from onward.backends.hatchet import marks
from onward.backends.hatchet.connection import Connection
from onward.backends.hatchet.errors import unknown
from onward.backends.hatchet.message import KEY, decode_result
from onward.backends.hatchet.runs import (
    CANCELLED,
    COMPLETED,
    FAILED,
    QUEUED,
    RUNNING,
    Run,
    list_runs,
)
from onward.fault import BadPayload, Fault
from onward.outcome import Faulted, Outcome

_APPEARS = 0.1
"""The pause between looks for a run, in seconds."""

_LARGEST = 500
"""How many runs to ask for at once."""

_RUNS: dict[Listed, tuple[str, ...]] = {
    "queued": (QUEUED, RUNNING),
    "running": (QUEUED, RUNNING),
    "waiting": (RUNNING,),
    "cancelling": (QUEUED, RUNNING, CANCELLED),
    "done": (COMPLETED,),
    "failed": (FAILED, CANCELLED),
    "lost": (FAILED,),
    "cancelled": (FAILED, CANCELLED),
    "expired": (QUEUED, RUNNING, FAILED, CANCELLED),
    "moved": (FAILED, CANCELLED),
}
"""The states that the run of a call may have, by the state of the call."""

_STATES: dict[str, State] = {
    QUEUED: "queued",
    RUNNING: "running",
    COMPLETED: "done",
    FAILED: "failed",
    CANCELLED: "cancelled",
}

_OPEN: tuple[State, ...] = ("queued", "running", "waiting", "cancelling")

_FAULTS: dict[State, str] = {"cancelled": "Cancelled", "expired": "Expired", "moved": "Moved"}


class Calls:
    """Lists calls.

    Args:
        connection: The connections to the engine.
        status: Returns the status of a call, for those whose runs do not say it.
    """

    def __init__(
        self,
        connection: Connection,
        status: Callable[[str], Awaitable[Result[Status, Fault]]],
    ) -> None:
        self._connection = connection
        self._status = status

    async def page(self, query: CallQuery, after: str) -> Result[CallPage, Fault]:
        """See `AsyncLists.calls`."""
        place = _Place.read(after)
        if place is None:
            return Failure(BadPayload("", f"{after!r} is not the end of a page of calls"))
        found: list[CallRecord] = []
        while True:
            most = min(query.limit + 1, _LARGEST)
            listed = await self._runs(query, place, most)
            if isinstance(listed, Failure):
                return Failure(listed.failure())
            rows = listed.unwrap()
            reading = (self._read(row, query.flow) for row in rows)
            for row, call in zip(rows, await asyncio.gather(*reading), strict=True):
                if matches(query, call):
                    if len(found) == query.limit:
                        return Success(CallPage(tuple(found), place.text))
                    found.append(call)
                place = place.past(row.created)
            if len(rows) < most:
                return Success(CallPage(tuple(found)))

    async def find(self, id: str, timeout: float) -> Result[str, Fault]:
        """See `AsyncFinds.find`. The HTTP API learns of a run a moment after it was submitted."""
        settings, end = self._connection.settings, time.monotonic() + timeout
        entry = f"{KEY}:{settings.prefix}{id}"
        while True:
            listed = await list_runs(self._connection.http, settings.tenant, [entry], limit=1)
            if isinstance(listed, Failure):
                return Failure(listed.failure())
            if rows := listed.unwrap().rows:
                return Success(rows[0].id)
            if time.monotonic() >= end:
                return Failure(unknown(id))
            await asyncio.sleep(_APPEARS)

    async def _runs(self, query: CallQuery, place: _Place, most: int) -> Result[list[Run], Fault]:
        settings = self._connection.settings
        states = {run for state in query.states for run in _RUNS[state]}
        page = await list_runs(
            self._connection.http,
            settings.tenant,
            marks.filters(settings.prefix, query.flow, query.tags),
            statuses=states,
            since=query.since,
            until=place.until or query.until,
            offset=place.skips,
            limit=most,
        )
        return page.map(lambda listed: listed.rows)

    async def _read(self, run: Run, wanted: str) -> CallRecord:
        state, fault = await self._state(run)
        return CallRecord(
            id=run.id,
            flow=marks.flow_in(run.marks, wanted),
            state=state,
            submitted=run.created,
            ended=None if state in _OPEN else run.finished_at,
            tags=marks.tags_in(run.marks),
            fault=fault,
            starts=marks.start_in(run.marks) if state == "queued" else None,
        )

    async def _state(self, run: Run) -> tuple[State, str]:
        """The state of a call, and the kind of its fault."""
        if run.status == FAILED:
            said = decode_result(run.error_message or "")
            if said is not None:
                return state_of(said.read), kind_of(said.read)
        may_differ = marks.LOOK in run.marks and run.status != COMPLETED
        if run.status in (FAILED, CANCELLED) or may_differ:
            found = await self._status(run.id)
            if isinstance(found, Success):
                state = found.unwrap().state
                return state, "Lost" if state == "failed" else _FAULTS.get(state, "")
        state = _STATES.get(run.status, "running")
        return state, _FAULTS.get(state, "")


class _Place(Struct, frozen=True):
    """Where a page ends: after so many calls of those that were submitted at this moment."""

    until: datetime | None = None
    skips: int = 0

    @property
    def text(self) -> str:
        return "" if self.until is None else f"{self.until.isoformat()} {self.skips}"

    @classmethod
    def read(cls, text: str) -> _Place | None:
        if not text:
            return cls()
        moment, _, skips = text.partition(" ")
        try:
            return cls(datetime.fromisoformat(moment), int(skips))
        except ValueError:
            return None

    def past(self, created: datetime) -> _Place:
        return _Place(created, self.skips + 1 if created == self.until else 1)


def kind_of(outcome: Outcome | None) -> str:
    """The kind of the fault that an outcome has; empty if it has none."""
    return type(outcome.fault).__name__ if isinstance(outcome, Faulted) else ""
