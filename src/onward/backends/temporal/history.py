"""What Temporal has recorded of a call, in pages: its workflow, and the parts of a long one.

A page names the entry of the workflow that the next one begins with: `12`, or `12/3` within the
part that is entry 12. So a page reads the workflow, and those parts that it is about.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from msgspec.structs import replace
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from onward.backend import CallRecord, HistoryPage, state_of
from onward.backends.temporal.events import Entry, Events, read, time_of
from onward.backends.temporal.message import SINGLE
from onward.backends.temporal.records import has_begun, kind_of_fault, record_of, start_of
from onward.backends.temporal.single import history_of_single
from onward.backends.temporal.status import status_of
from onward.backends.temporal.unique_lookup import has_begun as is_workflow
from onward.backends.temporal.unique_lookup import pending
from onward.backends.temporal.wait import outcome_of_call


async def history_of(client: Client, id: str, after: str, limit: int) -> HistoryPage:
    """Returns a page of what is recorded of a call; raises RPCError."""
    if id.startswith(SINGLE):
        return await history_of_single(client, id)
    if not await is_workflow(client, id):
        holder = await pending(client, id)
        flow = holder.place.flow if holder is not None and holder.place.call == id else ""
        return HistoryPage(CallRecord(id, flow, "queued"), None, ())
    events = await read(client, id)
    plan = None if events.sent is None else replace(events.sent[0], id=id)
    start = [int(each) for each in after.split("/") if each.isdigit()]
    found: list[tuple[Events, Entry]] = []
    following = await _collect(client, events, start, limit, found)
    steps = await asyncio.gather(*(record_of(client, *each, plan) for each in found))
    outcome = None if events.last is None else await outcome_of_call(client, id)
    state = (await status_of(client, id)).state if outcome is None else state_of(outcome)
    submitted = time_of(events.first)
    call = CallRecord(
        id,
        events.type if plan is None else plan.flow,
        state,
        submitted,
        None if events.last is None else time_of(events.last),
        () if plan is None else plan.tags,
        kind_of_fault(outcome),
        start_of(state, submitted, submitted + events.delay),
    )
    signals = {name: signal.raw for name, signal in events.signals.items()}
    return HistoryPage(call, plan, tuple(steps), outcome, signals, following)


async def _collect(
    client: Client,
    events: Events,
    start: Sequence[int],
    limit: int,
    found: list[tuple[Events, Entry]],
) -> str:
    """Adds the entries of a workflow and of its parts until the page is full.

    Args:
        client: The connection.
        events: What the workflow has recorded.
        start: The entry to begin with, and the entry within that one if it is a part.
        limit: How many entries make a page.
        found: The page.

    Returns:
        What to begin the next page with; empty if there is no more.
    """
    first, inner = (start[0], start[1:]) if start else (0, ())
    for index, entry in enumerate(events.entries[first:], first):
        if len(found) >= limit and (entry.child or has_begun(events, entry)):
            return str(index)
        if entry.child:
            part = await _part(client, entry.child)
            if part is not None:
                rest = await _collect(client, part, inner if index == first else (), limit, found)
                if rest:
                    return f"{index}/{rest}"
        elif has_begun(events, entry):
            found.append((events, entry))
    return ""


async def _part(client: Client, id: str) -> Events | None:
    try:
        return await read(client, id)
    except RPCError as problem:
        if problem.status != RPCStatusCode.NOT_FOUND:
            raise
        return None
