"""What happened in a call: its steps and waits, with the attempts at them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Generator, Iterator, Sequence
from datetime import datetime
from sqlite3 import Connection
from typing import NamedTuple

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from onward import outcome as outcomes
from onward import plan as plans
from onward.backend.history import AttemptRecord, HistoryPage, Kind, StepRecord
from onward.backend.support import step_name
from onward.backends.sqlite.attempts import Running, not_over, read_running
from onward.backends.sqlite.clock import Clock
from onward.backends.sqlite.listing import COLUMNS, FROM, record_of
from onward.context import moment
from onward.outcome import Outcome
from onward.plan import Plan, Runnable

_MOST_BYTES = 32 * 1024 * 1024
"""How many bytes the outcomes on a page have in all, before it ends early."""

_WAITS: dict[str, Kind] = {"onward.sleep": "sleep", "onward.awaits": "awaits"}


class Place(NamedTuple):
    """Where a step stands in a history: by when it began, in seconds since 1970."""

    began: float
    path: str


START = Place(-math.inf, "")


def place_of(text: str) -> Place:
    """Reads a place from text; raises `ValueError` if the text is none."""
    began, separator, path = text.partition(" ")
    if not separator:
        raise ValueError(text)
    return Place(float(began), path)


class _Call(NamedTuple):
    """What is known of a call besides its steps."""

    seq: int
    flow: str
    plan: Plan | None
    outcome: Outcome | None
    state: str
    fault: str
    began: float | None
    ended: float | None
    worker: str | None
    last: tuple[str | None, str | None, int | None]
    running: tuple[tuple[Running, str], ...]
    is_all: bool
    """Whether all that runs is in `running`, as far as that is known."""


def read(db: Connection, id: str, after: Place, limit: int, clock: Clock) -> HistoryPage | None:
    """Reads what is kept of a call; None for an id that nobody knows.

    Args:
        db: A connection, in no transaction.
        id: The call's id.
        after: Where the page before has ended.
        limit: How many steps at most.
        clock: The time in the file.
    """
    with _snapshot(db):
        row = db.execute(
            f"select {COLUMNS}, calls.plan, calls.outcome, calls.state is not null, calls.began, "
            "calls.worker, calls.running, coalesce(calls.task, jobs.task), "
            "coalesce(calls.step, jobs.step), coalesce(calls.attempt, jobs.attempt), "
            "coalesce(calls.running, jobs.running) is not null, jobs.due "
            f"from {FROM} where calls.id = ?",
            (id,),
        ).fetchone()
        if row is None:
            return None
        record = record_of(row[:8])
        *row, due = row
        if record.state == "queued" and due is not None:
            record = replace(record, starts=moment(clock.to_epoch(due)))
        seq, raw_plan, raw_outcome, has_ended, began, worker, running, *last = row[:1] + row[8:]
        call = _Call(
            seq,
            record.flow,
            plans.decode(bytes(raw_plan)).value_or(None),
            outcomes.decode(bytes(raw_outcome)) if has_ended else None,
            record.state,
            record.fault,
            began,
            row[5],
            worker,
            (last[0], last[1], last[2]),
            tuple(_running(db, seq, running)),
            bool(last[3]),
        )
        steps, following = _page(db, call, after, limit)
        query = "select name, value from onward_signals where call = ? order by sent"
        signals = {name: Raw(value) for name, value in db.execute(query, (seq,))}
    return HistoryPage(record, call.plan, steps, call.outcome, signals, following)


@contextlib.contextmanager
def _snapshot(db: Connection) -> Generator[None]:
    """Shows all reads the same state of the file."""
    db.execute("begin")
    try:
        yield
    finally:
        db.execute("rollback")


def _running(db: Connection, seq: int, left: str | None) -> Iterator[tuple[Running, str]]:
    """The attempts that run, and who makes them; or that were running when the call ended."""
    for each in read_running(left):
        yield each, ""
    rows = db.execute(
        "select jobs.running, jobs.claim, workers.name from onward_jobs as jobs "
        "join onward_workers as workers on workers.id = jobs.owner "
        "where jobs.running is not null "
        "and (jobs.seq = ? or (jobs.call = ? and jobs.path is not null))",
        (seq, seq),
    ).fetchall()
    for text, claim, worker in rows:
        for each in not_over(db, seq, read_running(text, claim)):
            yield each, worker


def _page(
    db: Connection, call: _Call, after: Place, limit: int
) -> tuple[tuple[StepRecord, ...], str]:
    query = (
        "select coalesce(began, 0), path from onward_steps "
        "where call = ? and (coalesce(began, 0), path) > (?, ?) order by 1, 2 limit ?"
    )
    rows = db.execute(query, (call.seq, *after, limit + 1)).fetchall()
    places = {Place(*row) for row in rows}
    places |= {place for place in _without_row(db, call) if place > after}
    page = sorted(places)[: limit + 1]
    steps: list[StepRecord] = []
    size = 0
    for step, bytes_of_step in _records(db, call, page[:limit]):
        size += bytes_of_step
        if steps and size > _MOST_BYTES:
            break
        steps.append(step)
    if not steps or len(steps) == len(page):
        return tuple(steps), ""
    last = page[len(steps) - 1]
    return tuple(steps), f"{last.began!r} {last.path}"


def _without_row(db: Connection, call: _Call) -> set[Place]:
    """The steps that have begun, and that no row is of."""
    query = "select path, min(coalesce(began, 0)) from onward_attempts where call = ? group by path"
    began: dict[str, float] = dict(db.execute(query, (call.seq,)).fetchall())
    for running, _ in call.running:
        began[running.path] = min(running.began, began.get(running.path, math.inf))
    if _is_one_step(call):
        began.setdefault("0", call.began or 0.0)
    task, path, _ = call.last
    if task is not None and path is not None and not call.is_all:
        began.setdefault(path, 0.0)  # its worker may be of a release that says no more
    query = (
        "select steps.path from json_each(?) as wanted "
        "cross join onward_steps as steps on steps.call = ? and steps.path = wanted.value"
    )
    known = {path for (path,) in db.execute(query, (_json(list(began)), call.seq))}
    return {Place(at, path) for path, at in began.items() if path not in known}


def _is_one_step(call: _Call) -> bool:
    """Whether the call's outcome is that of its only step, of which there may be no row."""
    plan = call.plan
    if plan is None or call.outcome is None or not isinstance(plan.root, Runnable):
        return False
    if call.began is not None:
        return True
    # A release before this one has not said when it began.
    is_own = call.state == "done" or (call.state == "failed" and call.fault != "Lost")
    return is_own and plan.past is None


class _Row(NamedTuple):
    """A row of `onward_steps`."""

    task: str
    attempt: int
    outcome: bytes | None
    began: float | None
    ended: float | None
    worker: str | None
    tried: float | None
    waits: str | None
    until: float | None


def _records(
    db: Connection, call: _Call, places: Collection[Place]
) -> Iterator[tuple[StepRecord, int]]:
    """The steps at these places, each with the bytes of its outcomes."""
    paths = _json([place.path for place in places])
    rows = dict(_rows(db, call.seq, paths))
    attempts = _attempts(db, call, paths)
    for place in places:
        path = place.path
        row = rows.get(path)
        if _is_one_step(call) and path == "0" and (row is None or row.outcome is None):
            yield _only_step(call, attempts.get(path, ())), 0
        elif row is None:
            yield _begun(call, path, attempts.get(path, ())), 0
        else:
            step = _recorded(path, row, attempts.get(path, ()))
            yield step, sum(map(_size, (step.outcome, *(each.outcome for each in step.attempts))))


def _rows(db: Connection, seq: int, paths: str) -> Iterator[tuple[str, _Row]]:
    query = (
        "select steps.path, task, attempt, outcome, began, ended, worker, tried, waits, until "
        "from json_each(?) as wanted "
        "cross join onward_steps as steps on steps.call = ? and steps.path = wanted.value"
    )
    for path, *row in db.execute(query, (paths, seq)):
        yield path, _Row(*row)


def _attempts(db: Connection, call: _Call, paths: str) -> dict[str, list[AttemptRecord]]:
    """The attempts that are no step's last, and those that run."""
    found: dict[str, list[AttemptRecord]] = {}
    query = (
        "select attempts.path, number, began, ended, worker, outcome from json_each(?) as wanted "
        "cross join onward_attempts as attempts "
        "on attempts.call = ? and attempts.path = wanted.value order by attempts.seq"
    )
    for path, number, began, ended, worker, raw in db.execute(query, (paths, call.seq)):
        found.setdefault(path, []).append(_attempt(number, began, ended, worker, raw))
    for running, worker in call.running:
        attempt = AttemptRecord(running.number, moment(running.began), worker=worker)
        found.setdefault(running.path, []).append(attempt)
    return found


def _attempt(
    number: int, began: float | None, ended: float | None, worker: str | None, raw: bytes | None
) -> AttemptRecord:
    return AttemptRecord(number, moment(began), moment(ended), worker or "", _outcome(raw))


def _recorded(path: str, row: _Row, before: Sequence[AttemptRecord]) -> StepRecord:
    kind = _WAITS.get(row.task, "step")
    attempts = tuple(before)
    if kind == "step" and row.outcome is not None:
        tried = row.began if row.tried is None else row.tried
        last = _attempt(row.attempt, tried, row.ended, row.worker, row.outcome)
        attempts = (*before, last)
    began = moment(row.began)
    return StepRecord(
        path,
        row.task if kind == "step" else row.waits or "",
        kind,
        _outcome(row.outcome),
        attempts,
        began if not attempts else _first(attempts, began),
        moment(row.ended) if row.outcome is not None else None,
        moment(row.until),
    )


def _only_step(call: _Call, before: Sequence[AttemptRecord]) -> StepRecord:
    """The step of a call that has no other, where that is written down with the call."""
    assert call.plan is not None  # see `_is_one_step`
    number = call.last[2] or 1
    last = AttemptRecord(
        number, moment(call.began), moment(call.ended), call.worker or "", call.outcome
    )
    attempts = (*before, last)
    return StepRecord(
        "0",
        step_name(call.plan.root, call.flow),
        "step",
        call.outcome,
        attempts,
        _first(attempts, None),
        moment(call.ended),
    )


def _begun(call: _Call, path: str, attempts: Sequence[AttemptRecord]) -> StepRecord:
    """A step that has begun, and has no outcome."""
    task, at, number = call.last
    if not attempts and at == path:
        attempts = (AttemptRecord(number or 1),)
    names = {running.path: running.task for running, _ in call.running}
    name = names.get(path) or (task if at == path else "") or ""
    return StepRecord(path, name, attempts=tuple(attempts), began=_first(attempts, None))


def _first(attempts: Sequence[AttemptRecord], began: datetime | None) -> datetime | None:
    times = [each.began for each in attempts if each.began is not None]
    return min(times if began is None else [*times, began], default=None)


def _outcome(raw: bytes | None) -> Outcome | None:
    return None if raw is None else outcomes.decode(bytes(raw))


def _size(outcome: Outcome | None) -> int:
    return 0 if outcome is None else memoryview(outcome.raw).nbytes


def _json(texts: list[str]) -> str:
    return msgspec.json.encode(texts).decode()
