"""Reads the history of one workflow: the steps, waits and parts that it began, and its signals."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from msgspec import Raw
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import Client, WorkflowExecutionStatus

from onward.backends.temporal import limit_message
from onward.backends.temporal.client import PROMPT
from onward.backends.temporal.ending import sent_in
from onward.backends.temporal.message import (
    BEGUN,
    WAITING,
    FlowOptions,
    WaitNote,
    decode_text,
    decode_wait,
    path_of_summary,
    value_of_signal,
)
from onward.plan import Plan

_ENDS = frozenset(
    f"workflow_execution_{end}_event_attributes"
    for end in ("completed", "failed", "timed_out", "canceled", "terminated", "continued_as_new")
)


@dataclass(slots=True)
class Entry:
    """A step, a wait or a part that a workflow began.

    Args:
        event: The event with which it began.
        started: When a worker began its last attempt, for a step that has ended.
        ended: How it ended.
        note: What is known of a wait.
        earlier: The attempts before this one, of a step with a limit.
    """

    event: HistoryEvent
    started: HistoryEvent | None = None
    ended: HistoryEvent | None = None
    note: WaitNote | None = None
    earlier: tuple[Entry, ...] = ()

    @property
    def child(self) -> str:
        """The id of the workflow that runs a part; empty for a step or a wait."""
        return self.event.start_child_workflow_execution_initiated_event_attributes.workflow_id

    @property
    def activity(self) -> str:
        """The id of the activity that runs a step; empty for a part or a wait."""
        scheduled = self.event.activity_task_scheduled_event_attributes
        return "" if scheduled.activity_type.name == limit_message.TYPE else scheduled.activity_id


@dataclass(slots=True)
class Signal:
    """A signal that a workflow got: its event and its value."""

    event: HistoryEvent
    raw: Raw


@dataclass(slots=True)
class Events:
    """The history of one workflow.

    Args:
        first: Its first event.
        last: Its last event, if it has ended.
        sent: Its plan and its options; None if it is not Onward's.
        entries: What it began, in this order.
        signals: The first signal of each name.
        pending: The activities that have not ended, by their ids.
    """

    first: HistoryEvent
    last: HistoryEvent | None
    sent: tuple[Plan, FlowOptions] | None
    entries: list[Entry]
    signals: Mapping[str, Signal]
    pending: Mapping[str, PendingActivityInfo] = field(default_factory=dict)
    _turns: list[int] = field(default_factory=list)

    @property
    def type(self) -> str:
        """The workflow type."""
        return self.first.workflow_execution_started_event_attributes.workflow_type.name

    @property
    def delay(self) -> timedelta:
        """How long its first task waited."""
        begun = self.first.workflow_execution_started_event_attributes
        return begun.first_workflow_task_backoff.ToTimedelta()

    def has_seen(self, signal: Signal, fired: HistoryEvent) -> bool:
        """Whether the workflow had got a signal when it went on because of a timer."""
        at = bisect.bisect_right(self._turns, fired.event_id)
        return at == len(self._turns) or signal.event.event_id < self._turns[at]


async def read(client: Client, id: str) -> Events:
    """Reads the history of a workflow; raises RPCError."""
    handle = client.get_workflow_handle(id)
    described = await handle.describe(rpc_timeout=PROMPT)
    is_running = described.status == WorkflowExecutionStatus.RUNNING
    run = client.get_workflow_handle(id, run_id=described.run_id)
    events = [event async for event in run.fetch_history_events()]
    pending = described.raw_description.pending_activities if is_running else ()
    return await parse(client, events, pending)


async def parse(
    client: Client, events: Sequence[HistoryEvent], pending: Iterable[PendingActivityInfo] = ()
) -> Events:
    """Reads events, of this or of an earlier release.

    Args:
        client: The connection, whose converter decodes them.
        events: All events of a workflow.
        pending: Its activities that have not ended.
    """
    entries, notes = _entries(events)
    await _decode(client, notes)
    return Events(
        events[0],
        events[-1] if events[-1].WhichOneof("attributes") in _ENDS else None,
        await sent_in(client, events[0]),
        _joined(entry for entry in entries if entry.child or entry.activity or entry.note),
        await _signals(client, events),
        {each.activity_id: each for each in pending},
        [
            event.workflow_task_completed_event_attributes.started_event_id
            for event in events
            if event.HasField("workflow_task_completed_event_attributes")
        ],
    )


def _entries(events: Iterable[HistoryEvent]) -> tuple[list[Entry], list[tuple[Entry, Payload]]]:
    """What a workflow began, and the payloads that tell of which waits some of it are."""
    entries: dict[int, Entry] = {}
    notes: list[tuple[Entry, Payload]] = []
    for event in events:
        match event.WhichOneof("attributes"):
            case (
                "activity_task_scheduled_event_attributes"
                | "start_child_workflow_execution_initiated_event_attributes"
            ):
                entries[event.event_id] = Entry(event)
            case "timer_started_event_attributes" if event.user_metadata.HasField("summary"):
                entries[event.event_id] = Entry(event)
                notes.append((entries[event.event_id], event.user_metadata.summary))
            case "workflow_properties_modified_event_attributes" as kind:
                memo = getattr(event, kind).upserted_memo.fields
                for key in (BEGUN, WAITING):
                    if key in memo:
                        entries[event.event_id] = Entry(event)
                        notes.append((entries[event.event_id], memo[key]))
            case "activity_task_started_event_attributes" as kind:
                entries[getattr(event, kind).scheduled_event_id].started = event
            case (
                "activity_task_completed_event_attributes"
                | "activity_task_failed_event_attributes"
                | "activity_task_timed_out_event_attributes"
                | "activity_task_canceled_event_attributes"
            ) as kind:
                entries[getattr(event, kind).scheduled_event_id].ended = event
            case "timer_fired_event_attributes" | "timer_canceled_event_attributes" as kind:
                timer = entries.get(getattr(event, kind).started_event_id)
                if timer is not None:
                    timer.ended = event
            case _:
                pass
    return list(entries.values()), notes


def _joined(entries: Iterable[Entry]) -> list[Entry]:
    """The entries, with all attempts at a step in one: each may be an activity of its own."""
    joined: list[Entry] = []
    places: dict[str, int] = {}
    for entry in entries:
        before = places.setdefault(entry.activity, len(joined)) if entry.activity else len(joined)
        if before == len(joined):
            joined.append(entry)
        else:
            last = joined[before]
            entry.earlier = (*last.earlier, last)
            joined[before] = entry
    return joined


async def _decode(client: Client, notes: Sequence[tuple[Entry, Payload]]) -> None:
    """Notes in each entry of a wait what is known of it, once for each wait."""
    payloads = Payloads(payloads=[payload for _, payload in notes])
    seen: set[str] = set()
    for (entry, _), raw in zip(notes, await decoded(client, payloads), strict=True):
        event = entry.event
        if event.HasField("timer_started_event_attributes"):
            path = path_of_summary(decode_text(raw))
            seconds = event.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta()
            until = (time_of(event) + seconds).timestamp()
            note = None if path is None else WaitNote(until=until, path=path)
        else:
            note = decode_wait(raw)
            memo = event.workflow_properties_modified_event_attributes.upserted_memo.fields
            if note is not None and BEGUN not in memo and (note.until is not None or note.limit):
                note = None  # its timer or its step is an entry
        if note is not None and note.path and note.path not in seen:
            seen.add(note.path)
            entry.note = note


async def _signals(client: Client, events: Iterable[HistoryEvent]) -> Mapping[str, Signal]:
    found: dict[str, Signal] = {}
    for event in events:
        if event.HasField("workflow_execution_signaled_event_attributes"):
            signal = event.workflow_execution_signaled_event_attributes
            if signal.signal_name not in found and signal.signal_name != limit_message.PLACE:
                raw = value_of_signal(await decoded(client, signal.input))
                if raw is not None:
                    found[signal.signal_name] = Signal(event, raw)
    return found


def time_of(event: HistoryEvent) -> datetime:
    """When an event happened."""
    return event.event_time.ToDatetime(UTC)


async def decoded(client: Client, sent: Payloads) -> list[bytes]:
    """The JSON in payloads."""
    return await client.data_converter.decode_wrapper(sent)
