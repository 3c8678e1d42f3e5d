"""Makes records of the steps and waits of a workflow from its events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from msgspec import Raw
from msgspec.structs import replace
from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import Client
from temporalio.common import RawValue

from onward.backend import AttemptRecord, State, StepRecord
from onward.backends.temporal.errors import outcome_of
from onward.backends.temporal.events import Entry, Events, Signal, time_of
from onward.backends.temporal.message import WaitNote, outcome_of_value
from onward.backends.temporal.paths import without_parts
from onward.context import moment
from onward.execute import is_retried
from onward.fault import Cancelled, TooLarge
from onward.outcome import Faulted, Outcome, Value, faulted
from onward.past import node_at
from onward.plan import AwaitsNode, Plan, Runnable, Waiting
from onward.unanswered import unanswered

_NOTHING = Value(Raw(b"null"))


def kind_of_fault(outcome: Outcome | None) -> str:
    """The name of the fault of an outcome; empty if it has none."""
    return type(outcome.fault).__name__ if isinstance(outcome, Faulted) else ""


def start_of(state: State, submitted: datetime, due: datetime | None) -> datetime | None:
    """When a call starts that was submitted with a delay; None if it has begun, or had no delay.

    Args:
        state: Its state.
        submitted: When it was submitted.
        due: When its first task is due.
    """
    return due if state == "queued" and due is not None and due > submitted else None


def has_begun(events: Events, entry: Entry) -> bool:
    """Whether a worker has begun a step, or may have, if the server does not keep that."""
    pending = None if entry.ended else events.pending.get(entry.activity)
    return pending is None or _is_started(pending) or pending.attempt > 1


def _is_started(pending: PendingActivityInfo) -> bool:
    return pending.state != PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED


async def record_of(client: Client, events: Events, entry: Entry, plan: Plan | None) -> StepRecord:
    """Makes the record of a step or a wait.

    Args:
        client: The connection.
        events: The history of its workflow.
        entry: Where it stands there.
        plan: The plan of the whole call, if there is one.
    """
    if entry.note is not None:
        return _wait(events, entry, entry.note, plan)
    return await _step(client, events, entry, plan)


# -- steps ------------------------------------------------------------------------------------


async def _step(client: Client, events: Events, entry: Entry, plan: Plan | None) -> StepRecord:
    scheduled = entry.event.activity_task_scheduled_event_attributes
    name = scheduled.activity_type.name
    path = entry.activity if plan is None else without_parts(plan.root, entry.activity)
    outcome = None if entry.ended is None else await _outcome(client, entry.ended, name)
    attempts = await _attempts(client, events, entry, name, outcome)
    if entry.earlier:
        attempts = await _all_attempts(client, events, entry, name, attempts)
    node = None if plan is None else node_at(plan.root, path)
    if isinstance(node, Runnable) and node.limit is not None and outcome is not None:
        outcome = None if is_retried(node, outcome, len(entry.earlier) + 1) else outcome
    is_first = bool(attempts) and attempts[0].number == 1 and attempts[0].began is not None
    return StepRecord(
        path,
        name,
        "step",
        outcome,
        attempts,
        # Only the last attempt has a time. If it is not the first one, the step was begun between.
        attempts[0].began if is_first else time_of(entry.event),
        None if entry.ended is None or outcome is None else time_of(entry.ended),
    )


async def _all_attempts(
    client: Client, events: Events, entry: Entry, name: str, last: Sequence[AttemptRecord]
) -> tuple[AttemptRecord, ...]:
    """The attempts at a step with a limit, each of which was an activity."""
    found: list[AttemptRecord] = []
    for each in entry.earlier:
        outcome = None if each.ended is None else await _outcome(client, each.ended, name)
        found += await _attempts(client, events, each, name, outcome)
    return tuple(
        replace(attempt, number=number) for number, attempt in enumerate([*found, *last], 1)
    )


async def _attempts(
    client: Client, events: Events, entry: Entry, name: str, outcome: Outcome | None
) -> tuple[AttemptRecord, ...]:
    if entry.started is not None:
        started = entry.started.activity_task_started_event_attributes
        ended, last = entry.ended, started.last_failure
        has_died = ended is not None and ended.HasField("activity_task_timed_out_event_attributes")
        this = AttemptRecord(
            started.attempt,
            time_of(entry.started),
            None if ended is None else time_of(ended),
            started.identity,
            None if has_died else outcome,
        )
        has_failed = started.HasField("last_failure")
    else:
        pending = events.pending.get(entry.activity)
        if pending is None:
            return ()
        last, has_failed = pending.last_failure, pending.HasField("last_failure")
        began = pending.last_started_time.ToDatetime(UTC)
        if not _is_started(pending):  # it waits for its next attempt
            failed = await outcome_of_attempt(client, last, name) if has_failed else None
            number, worker = pending.attempt - 1, pending.last_worker_identity
            return (AttemptRecord(number, began, None, worker, failed),)
        this = AttemptRecord(pending.attempt, began, None, pending.last_worker_identity)
    if not has_failed or this.number < 2:
        return (this,)
    before = await outcome_of_attempt(client, last, name)
    return AttemptRecord(this.number - 1, outcome=before), this


async def _outcome(client: Client, ended: HistoryEvent, name: str) -> Outcome:
    """The outcome of a step that has ended."""
    match ended.WhichOneof("attributes"):
        case "activity_task_completed_event_attributes" as kind:
            return await outcome_of_result(client, getattr(ended, kind).result, name)
        case "activity_task_canceled_event_attributes":
            return faulted(Cancelled(name, "it was cancelled"))
        case kind:
            return await outcome_of_failure(client, getattr(ended, str(kind)).failure, name)


async def outcome_of_result(client: Client, result: Payloads, name: str) -> Outcome:
    """The outcome of a step that gave a result."""
    [given] = await client.data_converter.decode(result.payloads, [RawValue])
    return outcome_of_value(given, name)


async def outcome_of_failure(client: Client, failure: Failure, name: str) -> Outcome:
    """The outcome of a step that failed for good."""
    return outcome_of(await client.data_converter.decode_failure(failure), name)


async def outcome_of_attempt(client: Client, failure: Failure, name: str) -> Outcome | None:
    """The outcome of an attempt that failed; None if its worker died."""
    if failure.HasField("timeout_failure_info"):
        return None
    if failure.HasField("server_failure_info"):  # in place of one that was too large to be kept
        return faulted(TooLarge(name, "Temporal did not keep how this attempt failed"))
    return await outcome_of_failure(client, failure, name)


# -- waits ------------------------------------------------------------------------------------


def _wait(events: Events, entry: Entry, note: WaitNote, plan: Plan | None) -> StepRecord:
    node = None if plan is None else node_at(plan.root, note.path)
    past = None if plan is None else plan.past
    # A wait that had begun in the call before ends when it would have ended there.
    due = None if past is None else past.due.get(note.path)
    signal = node.signal if isinstance(node, AwaitsNode) else note.signal
    outcome = _outcome_of_wait(events, entry, note, node)
    ended = None
    if outcome is not None:
        got = events.signals.get(signal)
        times = [time_of(entry.event if entry.ended is None else entry.ended)]
        if entry.ended is None and got is not None:
            times.append(time_of(got.event))
        ended = max(times)
    return StepRecord(
        note.path,
        signal,
        "awaits" if signal else "sleep",
        outcome,
        (),
        time_of(entry.event),
        ended,
        moment(note.until if due is None else due),
    )


def _outcome_of_wait(
    events: Events, entry: Entry, note: WaitNote, node: Runnable | Waiting | None
) -> Outcome | None:
    awaits = node if isinstance(node, AwaitsNode) else None
    got = None if awaits is None else events.signals.get(awaits.signal)
    if entry.ended is not None and entry.ended.HasField("timer_fired_event_attributes"):
        if got is not None and not events.has_seen(got, entry.ended):
            got = None
        return _NOTHING if awaits is None else _answer(awaits, got)
    if entry.ended is not None and got is None:
        return faulted(Cancelled("" if awaits is None else awaits.signal, "it was cancelled"))
    is_due = note.until is not None and note.until <= time_of(entry.event).timestamp()
    if entry.event.HasField("timer_started_event_attributes") or not is_due:
        return None if got is None else Value(got.raw)
    return _NOTHING if awaits is None else _answer(awaits, got)


def _answer(awaits: AwaitsNode, got: Signal | None) -> Outcome:
    return unanswered(awaits) if got is None else Value(got.raw)
