"""Reads the history of a call, and lists calls, from what the ledger has recorded."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from math import inf
from typing import cast

from msgspec import Raw
from msgspec.structs import replace
from returns.result import Failure, Result, Success

from onward import plan as plans
from onward.backend import (
    AttemptRecord,
    CallPage,
    CallQuery,
    CallRecord,
    HistoryPage,
    State,
    StepRecord,
    matches,
)
from onward.backend.support import step_name
from onward.backends.celery.clock import to_local
from onward.backends.celery.leases import worker_of
from onward.backends.celery.ledger import distrusted, kind_of_fault
from onward.backends.celery.records import (
    INDEXED,
    AttemptLog,
    ListedCall,
    Query,
    RecordedPage,
    RecordedStep,
    Records,
)
from onward.fault import Fault
from onward.outcome import Outcome, Value, faulted
from onward.past import node_at, places_of
from onward.plan import (
    AwaitsNode,
    ChainNode,
    FixedNode,
    NamedNode,
    Node,
    Plan,
    RescueNode,
    Runnable,
    SleepNode,
    SpreadNode,
)
from onward.unanswered import unanswered

_NOTHING = Value(Raw(b"null"))

_AT_ONCE = 1_000
"""How many calls the ledger is asked for at once."""

_MOST_READ = 3_000
"""After how many calls a page ends, even if few of them are asked for."""


def history_page(
    page: RecordedPage, queue: str, now: Callable[[], float]
) -> Result[HistoryPage, Fault]:
    """Makes a page of a call's history.

    Args:
        page: What the ledger has recorded.
        queue: The backend's default queue. A plan does not name it, because another backend on
            which the call goes on may have another one.
        now: Returns the time by the ledger's clock.

    Returns:
        The page; a fault if the plan cannot be read or trusted.
    """
    if page.plan is None:
        return Failure(distrusted("its plan"))
    read = plans.decode(page.plan)
    if isinstance(read, Failure):
        return Failure(read.failure())
    plan = read.unwrap()
    if plan.queue == queue:
        plan = replace(plan, queue=None)
    starts = None if page.starts is None else to_local(page.starts, now())
    call = CallRecord(
        page.call.id,
        plan.flow,
        cast(State, page.call.state),
        _moment(page.call.submitted),
        _moment(page.call.ended),
        plan.tags,
        "" if page.outcome is None else kind_of_fault(page.outcome),
        _moment(starts) if page.call.state == "queued" else None,
    )
    return Success(
        HistoryPage(
            call,
            plan,
            tuple(_step_record(step, plan, page, now) for step in page.steps),
            page.outcome,
            {name: Raw(value) for name, value in page.signals.items() if value is not None},
            page.next,
        )
    )


def _step_record(
    step: RecordedStep, plan: Plan, page: RecordedPage, now: Callable[[], float]
) -> StepRecord:
    path, lines = step.log
    began = _moment(lines[0].began) if lines else None
    ended = _moment(lines[-1].ended) if lines else None
    node = node_at(plan.root, path)
    if isinstance(node, SleepNode | AwaitsNode):
        outcome = step.outcome or _outcome_of_wait(step, node, page)
        return StepRecord(
            path,
            "" if isinstance(node, SleepNode) else node.signal,
            "sleep" if isinstance(node, SleepNode) else "awaits",
            outcome,
            (),
            began,
            None if outcome is None else ended,
            _until(step, now),
        )
    is_end = any(line.is_end for line in lines)
    outcome = page.outcome if is_end else step.outcome
    if is_end and isinstance(outcome, Value) and not _is_last(plan.root, places_of(path)):
        outcome = faulted(distrusted(f"the outcome of {path!r}"))  # a log is not signed
    attempts = tuple(
        _attempt_record(line, outcome if index == len(lines) else None, step)
        for index, line in enumerate(lines, 1)
    )
    task = "" if node is None else step_name(node, plan.flow)
    return StepRecord(
        path, task, "step", outcome, attempts, began, None if outcome is None else ended
    )


def _is_last(node: Node, places: list[str]) -> bool:
    """Whether a call that has a value ends with the step at a place."""
    match node:
        case NamedNode() | SpreadNode() | FixedNode():
            return _is_last(node.body, places)
        case ChainNode(steps):
            return places[:1] == [str(len(steps) - 1)] and _is_last(steps[-1], places[1:])
        case RescueNode(body, handler):
            parts = {"try": body, "rescue": handler}
            return bool(places) and places[0] in parts and _is_last(parts[places[0]], places[1:])
        case _:
            return isinstance(node, Runnable) and places in ([], ["0"])


def _attempt_record(line: AttemptLog, last: Outcome | None, step: RecordedStep) -> AttemptRecord:
    number = int(line.number) if line.number.isdigit() else 0
    outcome = last
    if outcome is None and line.ended is not None:
        outcome = step.failures.get(number)
    return AttemptRecord(
        number, _moment(line.began), _moment(line.ended), worker_of(line.holder), outcome
    )


def _outcome_of_wait(
    step: RecordedStep, node: SleepNode | AwaitsNode, page: RecordedPage
) -> Outcome | None:
    if step.wait == "over":
        return _NOTHING if isinstance(node, SleepNode) else unanswered(node)
    if step.wait != "got" or isinstance(node, SleepNode) or node.signal not in page.signals:
        return None
    value = page.signals[node.signal]
    if value is None:
        return faulted(distrusted(f"the signal {node.signal!r}"))
    return Value(Raw(value))


def _until(step: RecordedStep, now: Callable[[], float]) -> datetime | None:
    """When a wait ends at the latest, by this machine's clock."""
    due = step.log.lines[0].number if step.log.lines else step.wait.partition(" ")[0]
    try:
        seconds = float(due)
    except ValueError:  # an earlier release does not note it of a wait that is over
        return None
    return None if seconds == inf else _moment(to_local(seconds, now()))


def call_page(records: Records, query: CallQuery, after: str) -> CallPage:
    """Lists calls, the newest first.

    Args:
        records: The ledger's records.
        query: Which calls.
        after: The `next` of the page before; empty for the first page.

    Raises:
        ValueError: If no page has this `next`.
    """
    limit = max(1, min(query.limit, _AT_ONCE))
    state = next(iter(query.states)) if len(query.states) == 1 else ""
    asked = Query(
        state if state in INDEXED else "",
        -inf if query.since is None else query.since.timestamp(),
        inf if query.until is None else query.until.timestamp(),
    )
    is_exact = not (query.flow or query.tags or (query.states and not asked.state))
    found: list[CallRecord] = []
    places: list[str] = []
    read = 0
    while read < _MOST_READ:
        part = records.calls(asked, after, limit - len(found) if is_exact else _AT_ONCE)
        for call, place in part.calls:
            record = _listed(call)
            if not matches(query, record):
                continue
            if len(found) == limit:
                return CallPage(tuple(found), places[-1])
            found.append(record)
            places.append(place)
        after = part.next
        read += _AT_ONCE
        if not after or (is_exact and len(found) == limit):
            break
    return CallPage(tuple(found), after)


def _listed(call: ListedCall) -> CallRecord:
    return CallRecord(
        call.id,
        call.about.flow,
        cast(State, call.state),
        _moment(call.submitted),
        _moment(call.ended),
        call.about.tags,
        call.fault,
    )


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
