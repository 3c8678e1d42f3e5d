"""Schedules: rows of the file, which workers make calls of when they are due."""

from __future__ import annotations

import time
from sqlite3 import Connection
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from onward import plan as plans
from onward.backend import Schedule, Scheduled, Submission
from onward.backend.schedules import Timing, advance, begin, change, shown
from onward.backends.sqlite.clock import Clock
from onward.backends.sqlite.submit import calls_of, put
from onward.plan import Plan

_NEVER = 1e12


class _Kept(NamedTuple):
    schedule: Schedule
    plan: bytes
    timing: Timing


_COLUMNS = "declared, plan, paused, next, waiting, last"
_OPEN = "select 1 from onward_calls where id = ? and state is null"


def declare(db: Connection, schedule: Schedule, plan: Plan) -> Schedule:
    """Makes a schedule, or replaces the one of that name.

    Raises:
        ValueError: If its cron is invalid.
    """
    body, kept = plans.encode(plan), _find(db, schedule.name)
    if kept is None:
        kept = _Kept(schedule, body, begin(schedule, time.time()))
    else:
        changed = replace(schedule, paused=kept.schedule.paused)
        timing = change(changed, kept.schedule, kept.timing, time.time())
        kept = _Kept(changed, body, timing)
    _write(db, kept)
    return shown(kept.schedule, kept.timing)


def listed(db: Connection) -> list[Schedule]:
    """The schedules there are, by name."""
    rows = db.execute(f"select {_COLUMNS} from onward_schedules order by name")
    return [shown(kept.schedule, kept.timing) for kept in map(_kept, rows)]


def scheduled(db: Connection, name: str) -> Scheduled | None:
    """A schedule and its plan; None if there is none of that name."""
    kept = _find(db, name)
    if kept is None:
        return None
    return Scheduled(shown(kept.schedule, kept.timing), plans.decode(kept.plan).unwrap())


def pause(db: Connection, name: str, *, is_paused: bool) -> bool:
    """Pauses or resumes a schedule; returns whether there is one of that name."""
    kept = _find(db, name)
    if kept is not None and kept.schedule.paused != is_paused:
        schedule = replace(kept.schedule, paused=is_paused)
        timing = begin(schedule, time.time(), kept.timing.last)
        _write(db, kept._replace(schedule=schedule, timing=timing))
    return kept is not None


def remove(db: Connection, name: str) -> bool:
    """Deletes a schedule; returns whether there was one of that name."""
    return db.execute("delete from onward_schedules where name = ?", (name,)).rowcount > 0


def are_due(db: Connection) -> bool:
    """Whether a schedule has to make a call."""
    return any(_due(db, time.time()))


def make_due(db: Connection, queue: str, clock: Clock) -> None:
    """Makes the calls that are due.

    Args:
        db: A connection, in a transaction that writes.
        queue: The queue of steps that name none.
        clock: The time in the file.
    """
    now = time.time()
    for kept in _due(db, now):
        calls, timing = advance(kept.schedule, kept.timing, now, lambda id: _is_open(db, id))
        plan = plans.decode(kept.plan).unwrap()
        submissions = [Submission(replace(plan, id=id)) for id in calls]
        put(db, calls_of(submissions, queue), clock)
        _write(db, kept._replace(timing=timing))


def _due(db: Connection, now: float) -> list[_Kept]:
    """The schedules whose time has come, or whose next run waited for one that has ended."""
    rows = db.execute(
        f"select {_COLUMNS} from onward_schedules where not paused and (next <= ? or "
        "(waiting is not null and not exists "
        "(select 1 from onward_calls where id = last and state is null)))",
        (now,),
    )
    return [*map(_kept, rows)]


def _is_open(db: Connection, id: str) -> bool:
    return db.execute(_OPEN, (id,)).fetchone() is not None


def _find(db: Connection, name: str) -> _Kept | None:
    query = f"select {_COLUMNS} from onward_schedules where name = ?"
    row = db.execute(query, (name,)).fetchone()
    return None if row is None else _kept(row)


def _kept(row: tuple[bytes, bytes, int, float, str | None, str | None]) -> _Kept:
    declared, plan, paused, next_at, waiting, last = row
    schedule = replace(_SCHEDULE.decode(declared), paused=bool(paused))
    timing = Timing(
        None if next_at >= _NEVER else next_at,
        () if waiting is None else _TIMES.decode(waiting),
        last or "",
    )
    return _Kept(schedule, bytes(plan), timing)


def _write(db: Connection, kept: _Kept) -> None:
    schedule, timing = kept.schedule, kept.timing
    db.execute(
        f"insert or replace into onward_schedules(name, {_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?)",
        (
            schedule.name,
            msgspec.json.encode(replace(schedule, paused=False, next_at=None)),
            kept.plan,
            int(schedule.paused),
            _NEVER if timing.next_at is None else timing.next_at,
            msgspec.json.encode(timing.waiting).decode() if timing.waiting else None,
            timing.last or None,
        ),
    )


_SCHEDULE = msgspec.json.Decoder(Schedule)
_TIMES = msgspec.json.Decoder(tuple[float, ...])
