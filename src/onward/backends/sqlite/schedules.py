"""Schedules: rows of the file, which workers make calls of when they are due."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime, tzinfo
from sqlite3 import Connection

import msgspec
from msgspec.structs import replace

from onward import plan as plans
from onward.backend import Schedule, Submission
from onward.backends.sqlite.clock import Clock
from onward.backends.sqlite.cron import Cron
from onward.backends.sqlite.submit import calls_of, put
from onward.plan import Plan

_CATCH_UP = 60.0
"""Runs that were due longer ago than this, while no worker was there, are left out."""

_NEVER = 1e12


def declare(db: Connection, schedule: Schedule, plan: Plan) -> Schedule:
    """Makes a schedule, or puts it in the place of the one of that name.

    Raises:
        ValueError: If its cron is none.
    """
    declared = replace(schedule, paused=False, next_at=None)
    raw, body = _ENCODER.encode(declared), plans.encode(plan)
    query = "select declared, plan, next from onward_schedules where name = ?"
    before = db.execute(query, (schedule.name,)).fetchone()
    if before is None or (bytes(before[0]), bytes(before[1])) != (raw, body):
        db.execute(
            "insert into onward_schedules(name, declared, plan, next) values (?, ?, ?, ?) "
            "on conflict(name) do update set declared = excluded.declared, plan = excluded.plan, "
            "next = excluded.next",
            (schedule.name, raw, body, next_after(declared, time.time())),
        )
    return next(one for one in listed(db) if one.name == schedule.name)


def listed(db: Connection) -> list[Schedule]:
    """The schedules there are, by name."""
    query = "select declared, paused, next from onward_schedules order by name"
    return [
        replace(
            _DECODER.decode(raw),
            paused=bool(paused),
            next_at=datetime.fromtimestamp(at, UTC) if at < _NEVER else None,
        )
        for raw, paused, at in db.execute(query)
    ]


def pause(db: Connection, name: str, *, is_paused: bool) -> bool:
    """Pauses or resumes a schedule; gives whether there is one of that name."""
    row = db.execute(
        "select declared, paused from onward_schedules where name = ?", (name,)
    ).fetchone()
    if row is None:
        return False
    if bool(row[1]) != is_paused:
        at = next_after(_DECODER.decode(row[0]), time.time())
        db.execute(
            "update onward_schedules set paused = ?, next = ? where name = ?",
            (int(is_paused), at, name),
        )
    return True


def remove(db: Connection, name: str) -> bool:
    """Takes a schedule away; gives whether there was one of that name."""
    return db.execute("delete from onward_schedules where name = ?", (name,)).rowcount > 0


def are_due(db: Connection) -> bool:
    """Whether a schedule is to make a call, or has to be set right after the clock was."""
    now = time.time()
    query = "select 1 from onward_schedules where not paused and next <= ? limit 1"
    return db.execute(query, (now,)).fetchone() is not None


def make_due(db: Connection, queue: str, clock: Clock) -> int:
    """Makes the calls that are due; gives how many.

    Args:
        db: A connection, in a transaction that writes.
        queue: The queue of steps that name none.
        clock: The time in the file.
    """
    now = time.time()
    query = "select name, declared, plan, next from onward_schedules where not paused and next <= ?"
    made = 0
    for name, raw, body, at in db.execute(query, (now,)).fetchall():
        schedule = _DECODER.decode(raw)
        if at > now - _CATCH_UP:
            plan = plans.decode(bytes(body)).unwrap()
            id = hashlib.sha256(f"schedule {name} {at!r}".encode()).hexdigest()[:32]
            put(db, calls_of([Submission(replace(plan, id=id))], queue), clock)
            made += 1
        following = next_after(schedule, now if schedule.cron else at)
        if following <= now and schedule.every is not None:  # those left out
            following = at + schedule.every * ((now - at) // schedule.every + 1)
        db.execute("update onward_schedules set next = ? where name = ?", (following, name))
    return made


def next_after(schedule: Schedule, moment: float) -> float:
    """When a schedule runs next after a moment, both in seconds since 1970."""
    if schedule.every is not None:
        return moment + schedule.every
    assert schedule.cron is not None  # one of the two is given
    at = Cron(schedule.cron).after(datetime.fromtimestamp(moment, UTC), _zone(schedule.timezone))
    return _NEVER if at is None else at.timestamp()


def _zone(name: str) -> tzinfo:
    if name == "UTC":  # known also where there is no time zone database
        return UTC
    from zoneinfo import ZoneInfo

    return ZoneInfo(name)


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Schedule)
