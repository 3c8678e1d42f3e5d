"""Lists calls by the server's visibility store: workflows, and activities that are calls.

What ended a call that has no value, and what a running one does, is read from the call itself.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from datetime import datetime

from msgspec import MsgspecError, json
from temporalio.client import ActivityExecution, Client, WorkflowExecution
from temporalio.service import RPCError, RPCStatusCode

from onward.backend import CallPage, CallQuery, CallRecord, matches, state_of
from onward.backends.temporal import limit_message, unique_message
from onward.backends.temporal.message import SINGLE, TAGS, workflow_type
from onward.backends.temporal.records import kind_of_fault, start_of
from onward.backends.temporal.status import status_of
from onward.backends.temporal.unique_lookup import place_of
from onward.backends.temporal.unique_message import holder_of
from onward.backends.temporal.visibility import Execution, both, newest_first, text_of_time
from onward.backends.temporal.wait import outcome_of_call

_AT_ONCE = 32
"""How many calls are looked at at the same time."""

_AT_LEAST, _AT_MOST = 200, 1000
"""How many calls are read from the visibility store at once."""

_OPEN = frozenset(("queued", "running", "waiting", "cancelling"))
_ENDED = ("Failed", "Terminated", "Canceled", "TimedOut")
_SINGLE = re.compile(rf"{SINGLE}[0-9a-f]{{32}}")


async def calls(client: Client, queue: str, query: CallQuery, after: str) -> CallPage:
    """Lists calls; raises RPCError.

    Args:
        client: The connection.
        queue: The task queue of their workflows.
        query: Which ones.
        after: The last call of the page before: its submission and its id.
    """
    return await _Lister(client, queue, query).page(after)


class _Lister:
    """Makes one page."""

    def __init__(self, client: Client, queue: str, query: CallQuery) -> None:
        self._client = client
        self._query = query
        statuses = _statuses(query)
        wanted = f"ExecutionStatus IN ({', '.join(map(_text, statuses))})" if statuses else ""
        flow = _text(workflow_type(query.flow))
        type_ = _text(unique_message.TYPE)
        times = both(
            f"StartTime >= '{text_of_time(query.since)}'" if query.since else "",
            f"StartTime < '{text_of_time(query.until)}'" if query.until else "",
        )
        self._workflows = both(
            f"TaskQueue IN ({_text(queue)}, {type_})",
            # A call with a key is a child of the workflow that holds its key. Other children are
            # parts of calls.
            f"(ParentWorkflowId IS NULL OR WorkflowId STARTS_WITH {_text(unique_message.PREFIX)})",
            f"WorkflowType != {_text(limit_message.TYPE)}",
            f"(WorkflowType != {type_} OR ExecutionStatus = 'Running')",
            f"WorkflowType IN ({flow}, {type_})" if query.flow else "",
            wanted,
            times,
        )
        self._activities = both(
            f"ActivityId STARTS_WITH {_text(SINGLE)}",
            f"ActivityType = {flow}" if query.flow else "",
            wanted,
            times,
        )

    async def page(self, after: str) -> CallPage:
        query, page = self._query, list[CallRecord]()
        last = _last(after)
        newest = newest_first(
            self._client,
            self._workflows,
            None if query.tags else self._activities,  # a call with tags is a workflow
            last,
            min(max(_AT_LEAST, 2 * query.limit), _AT_MOST),
        )
        at_once = min(_AT_ONCE, query.limit + 1)
        async with aclosing(newest) as found, aclosing(_batches(found, at_once)) as batches:
            async for some in batches:
                records = await asyncio.gather(*map(self._record, some))
                for each, record in zip(some, records, strict=True):
                    if record is None or not matches(query, record):
                        continue
                    if len(page) == query.limit and last is not None:
                        return CallPage(tuple(page), f"{text_of_time(last[0])} {last[1]}")
                    page.append(record)
                    last = each.key
        return CallPage(tuple(page))

    async def _record(self, execution: Execution) -> CallRecord | None:
        """The record of a call; None if it is none, or is deleted meanwhile."""
        submitted, id, found = execution
        tags: tuple[str, ...] = ()
        try:
            if isinstance(found, ActivityExecution):
                if not _SINGLE.fullmatch(id):
                    return None
                flow = self._flow(found.activity_type)
            elif found.parent_id is not None and found.parent_id != holder_of(id):
                return None  # a part of a call with a key
            elif found.workflow_type == unique_message.TYPE:
                return await self._waiting(found)
            else:
                flow, tags = self._flow(found.workflow_type), await _tags(found)
                if not self._query.tags.issubset(tags):
                    return None
            status = "" if found.status is None else found.status.name
            if status == "COMPLETED":
                return CallRecord(id, flow, "done", submitted, found.close_time, tags)
            if status == "RUNNING":
                state = (await status_of(self._client, id)).state
                starts = start_of(state, submitted, found.execution_time)
                return CallRecord(id, flow, state, submitted, None, tags, "", starts)
            outcome = await outcome_of_call(self._client, id)
        except RPCError as problem:
            if problem.status != RPCStatusCode.NOT_FOUND:
                raise
            return None
        fault = kind_of_fault(outcome)
        return CallRecord(id, flow, state_of(outcome), submitted, found.close_time, tags, fault)

    def _flow(self, type_: str) -> str:
        """The name of a flow, which is longer than the type that it is listed by if that is cut."""
        wanted = self._query.flow
        return wanted if workflow_type(wanted) == type_ else type_

    async def _waiting(self, holder: WorkflowExecution) -> CallRecord | None:
        """The record of a call that the holder of its key has not started."""
        place = await place_of(holder)
        if place is None or not place.waits:
            return None
        return CallRecord(place.call, place.flow, "queued", holder.start_time)


async def _tags(found: WorkflowExecution) -> tuple[str, ...]:
    raw = await found.memo_value(TAGS, b"[]")
    with suppress(MsgspecError, TypeError):
        return json.decode(raw, type=tuple[str, ...])
    return ()


def _statuses(query: CallQuery) -> list[str]:
    """The statuses of Temporal's that calls of these states may have."""
    if not query.states:
        return []
    statuses = ["Running"] if query.states & _OPEN else []
    statuses += ["Completed"] if "done" in query.states else []
    # What ended such a call is in its outcome alone.
    return statuses + list(_ENDED if query.states - _OPEN - {"done"} else ())


def _text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _last(after: str) -> tuple[datetime, str] | None:
    time, _, id = after.partition(" ")
    return (datetime.fromisoformat(time), id) if id else None


async def _batches(found: AsyncIterator[Execution], size: int) -> AsyncGenerator[list[Execution]]:
    some: list[Execution] = []
    async for each in found:
        some.append(each)
        if len(some) == size:
            yield some
            some = []
    yield some
