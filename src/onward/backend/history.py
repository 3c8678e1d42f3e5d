"""The records of calls that a backend lists, and of what happened in one of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, TypeAlias

from msgspec import Raw, Struct

from onward.backend.records import State
from onward.outcome import Outcome
from onward.plan import Plan

Kind: TypeAlias = Literal["step", "sleep", "awaits"]
"""What stands at a path: a step that runs a task or a fused flow, or a wait."""


class AttemptRecord(Struct, frozen=True, omit_defaults=True):
    """One attempt at a step.

    Args:
        number: Its number, from 1.
        began: When it began; None if the engine does not know.
        ended: When it ended; None if it has not, or the engine does not know.
        worker: The worker that made it; empty if the engine does not know.
        outcome: How it ended; None if it runs, or if its worker died.
    """

    number: int
    began: datetime | None = None
    ended: datetime | None = None
    worker: str = ""
    outcome: Outcome | None = None


class StepRecord(Struct, frozen=True, omit_defaults=True):
    """What an engine knows of one step, or of one wait, of a call.

    Args:
        path: Where it stands within the call.
        task: Its task; for a fused step, the flow; for a wait, the signal's name, or nothing.
        kind: Whether it is a step, a sleep, or a wait for a signal.
        outcome: Its outcome; None if it has none yet.
        attempts: What is known of the attempts at it, in order.
        began: When it began first.
        ended: When it got its outcome.
        until: When a wait ends at the latest.
    """

    path: str
    task: str = ""
    kind: Kind = "step"
    outcome: Outcome | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    began: datetime | None = None
    ended: datetime | None = None
    until: datetime | None = None


class CallRecord(Struct, frozen=True, omit_defaults=True):
    """A call in a list of calls.

    Args:
        id: The call's id, which is its ref's text.
        flow: The name of its flow.
        state: Its state.
        submitted: When it was submitted.
        ended: When it got its outcome.
        tags: The tags that it was submitted with.
        fault: The kind of its fault, such as `Lost`, if a fault ended it.
        starts: When it starts, if it was submitted with a delay and has not begun.
    """

    id: str
    flow: str
    state: State
    submitted: datetime | None = None
    ended: datetime | None = None
    tags: tuple[str, ...] = ()
    fault: str = ""
    starts: datetime | None = None


class CallPage(Struct, frozen=True):
    """Some of the calls that a backend lists.

    Args:
        calls: The calls, the newest first.
        next: What to ask for the next page with; empty if this is the last one.
    """

    calls: tuple[CallRecord, ...]
    next: str = ""


Listed: TypeAlias = State | Literal["lost"]
"""A state that calls are listed by. The calls that are `lost` are the `failed` ones whose fault is
`Lost`."""


class CallQuery(Struct, frozen=True):
    """Which calls to list. An empty field stands for all of them.

    Args:
        states: Their states, any of them.
        flow: The name of their flow.
        tags: Tags that they have, all of them.
        since: The earliest time at which they were submitted.
        until: The time before which they were submitted.
        limit: The largest number of calls on a page.
    """

    states: frozenset[Listed] = frozenset()
    flow: str = ""
    tags: frozenset[str] = frozenset()
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 100


class HistoryPage(Struct, frozen=True):
    """What a backend has recorded of a call, or a part of its steps.

    Args:
        call: The call.
        plan: Its plan; None if the engine does not keep it.
        steps: Its steps and waits that have begun, in the order in which they began. Those whose
            outcomes it took over from another call stand in the plan alone.
        outcome: Its outcome; None if it has none yet.
        signals: The values of the signals that it has got, by name.
        next: What to ask for the next page with; empty if this is the last one.
        plan_id: The id that the plan was submitted with, if the call has another one, which the
            engine gave it. A key is known by it.
    """

    call: CallRecord
    plan: Plan | None
    steps: tuple[StepRecord, ...]
    outcome: Outcome | None = None
    signals: Mapping[str, Raw] = {}
    next: str = ""
    plan_id: str = ""


def matches(query: CallQuery, call: CallRecord) -> bool:
    """Whether a query asks for a call.

    Args:
        query: Which calls to list.
        call: One of them.

    Example:
        >>> failed = CallRecord("7c1f", "ingest", "failed", fault="Lost")
        >>> matches(CallQuery(states=frozenset({"lost"})), failed)
        True
    """
    if query.states and call.state not in query.states:
        is_lost = call.state == "failed" and call.fault == "Lost"
        if not (is_lost and "lost" in query.states):
            return False
    submitted = call.submitted
    if submitted is not None:
        if query.since is not None and submitted < query.since:
            return False
        if query.until is not None and submitted >= query.until:
            return False
    return (not query.flow or call.flow == query.flow) and query.tags.issubset(call.tags)
