"""Handing calls over: a row of what is known of a call, and a row of what is to be done."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from itertools import chain, groupby
from operator import attrgetter
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from onward import plan as plans
from onward.backend import Submission
from onward.backends.sqlite.clock import Clock
from onward.backends.sqlite.errors import LARGEST, Refused, too_large
from onward.backends.sqlite.executes import Executes
from onward.backends.sqlite.lower import QUEUE, place_of
from onward.plan import Plan

_ROWS = 500
"""How many calls one statement writes: while it runs, the threads of the process go on."""

_LAST = (
    "select max(coalesce((select max(seq) from onward_calls), 0), "
    "coalesce((select max(last) from onward_numbers), 0))"
)
"""The largest number that a call ever had."""

_INTO = "insert into onward_calls(seq, id, flow, plan, submitted) values "
_ROW = "(?, ?, ?, ?, ?)"
_UNLESS = " on conflict(id) do nothing"
_INSERT = _INTO + _ROW + _UNLESS
_INSERT_MANY = _INTO + ", ".join([_ROW] * _ROWS) + _UNLESS


class Call(NamedTuple):
    """A call on its way into the file.

    Args:
        id: Its id.
        flow: Its flow's name.
        plan: Its plan's bytes.
        queue: Where it waits.
        priority: From 0 to 9.
        delay: How long it waits before it starts, in seconds.
        deadline: When it expires, in seconds since 1970.
        tags: Its tags.
    """

    id: str
    flow: str
    plan: bytes
    queue: str
    priority: int
    delay: float = 0.0
    deadline: float | None = None
    tags: tuple[str, ...] = ()


_PLACE = attrgetter("queue", "priority", "delay", "deadline")


def calls_of(submissions: Iterable[Submission], queue: str) -> list[Call]:
    """Submissions as calls; raises `Refused` where one is too large.

    Args:
        submissions: The submissions.
        queue: The queue of steps that name none.
    """
    calls: list[Call] = []
    like: Plan | None = None
    place, priority = queue, 0
    for submission in submissions:
        plan = submission.plan
        if queue != QUEUE and plan.queue is None:  # its worker may have another queue of its own
            plan = replace(plan, queue=queue)
        if like is None or not _goes_with(plan, like):
            like = plan
            place, priority = place_of(plan, queue)
        raw = plans.encode(plan)
        if len(raw) > LARGEST:
            raise Refused(too_large(plan.flow, "its plan", len(raw)))
        calls.append(
            Call(
                plan.id,
                plan.flow,
                raw,
                place,
                priority,
                submission.delay,
                plan.deadline,
                plan.tags,
            )
        )
    return calls


def _goes_with(plan: Plan, other: Plan) -> bool:
    """Whether two plans surely wait in the same place."""
    is_same = plan.root is other.root and plan.queue == other.queue
    return is_same and plan.priority == other.priority


def put(db: Executes, calls: Sequence[Call], clock: Clock) -> None:
    """Writes calls down, in their order; one whose id is there already stays as it is.

    Args:
        db: A connection, in a transaction that writes.
        calls: The calls.
        clock: The time in the file.
    """
    now, wall = clock.now(), time.time()
    [last] = db.execute(_LAST).fetchone()
    _put_calls(db, calls, last + 1, wall)
    first = last + 1
    for (queue, priority, delay, deadline), some in groupby(calls, key=_PLACE):
        end = first + sum(1 for _ in some)
        db.execute(
            "insert into onward_jobs(seq, call, queue, priority, due, deadline) "
            # One whose id was there has no row of this number.
            "select seq, seq, ?, ?, ?, ? from onward_calls where seq >= ? and seq < ? order by seq",
            (
                queue,
                priority,
                now + delay if delay > 0 else None,
                None if deadline is None else clock.of(deadline),
                first,
                end,
            ),
        )
        first = end
    tagged = [(seq, call.tags) for seq, call in enumerate(calls, start=last + 1) if call.tags]
    for seq, tags in tagged:
        put_tags(db, seq, tags)


def put_tags(db: Executes, seq: int, tags: Collection[str]) -> None:
    """Gives a call its tags, in place of those that it has.

    Args:
        db: A connection, in a transaction that writes.
        seq: The call's number; there may be no such call.
        tags: The tags.
    """
    drop_tags(db, seq)
    text = msgspec.json.encode(list(tags)).decode() if tags else None
    db.execute("update onward_calls set tags = ? where seq = ?", (text, seq))
    for tag in dict.fromkeys(tags):
        query = "insert into onward_tags(tag, call) select ?, seq from onward_calls where seq = ?"
        db.execute(query, (tag, seq))


def drop_tags(db: Executes, seq: int) -> None:
    """Takes a call out of the index of tags."""
    query = (
        "delete from onward_tags where call = ? and tag in "
        "(select value from onward_calls, json_each(tags) where seq = ?)"
    )
    db.execute(query, (seq, seq))


def _put_calls(db: Executes, calls: Sequence[Call], first: int, wall: float) -> None:
    rows = [
        (seq, call.id, call.flow, call.plan, wall) for seq, call in enumerate(calls, start=first)
    ]
    whole = len(rows) - len(rows) % _ROWS
    for start in range(0, whole, _ROWS):
        db.execute(_INSERT_MANY, tuple(chain.from_iterable(rows[start : start + _ROWS])))
    if whole < len(rows):  # with no rows, SQLAlchemy would execute it once
        db.executemany(_INSERT, rows[whole:])
