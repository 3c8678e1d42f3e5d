"""Handing calls over: a row of what is known of a call, and a row of what is to be done."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from onward import plan as plans
from onward.backend import Submission
from onward.backends.sqlite.clock import Clock
from onward.backends.sqlite.errors import LARGEST, Refused, too_large
from onward.backends.sqlite.executes import Executes
from onward.backends.sqlite.lower import QUEUE, place_of


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
    """

    id: str
    flow: str
    plan: bytes
    queue: str
    priority: int
    delay: float = 0.0
    deadline: float | None = None


def call_of(submission: Submission, queue: str) -> Call:
    """A submission as a call; raises `Refused` where it is too large.

    Args:
        submission: The submission.
        queue: The queue of steps that name none.
    """
    plan = submission.plan
    if queue != QUEUE and plan.queue is None:  # its worker may have another queue of its own
        plan = replace(plan, queue=queue)
    place, priority = place_of(plan, queue)
    raw = plans.encode(plan)
    if len(raw) > LARGEST:
        raise Refused(too_large(plan.flow, "its plan", len(raw)))
    return Call(plan.id, plan.flow, raw, place, priority, submission.delay, plan.deadline)


def calls_of(submissions: Iterable[Submission], queue: str) -> list[Call]:
    """Submissions as calls; see `call_of`."""
    return [call_of(submission, queue) for submission in submissions]


def put(db: Executes, calls: Sequence[Call], clock: Clock) -> None:
    """Writes calls down, in their order; one whose id is there already stays as it is.

    Args:
        db: A connection, in a transaction that writes.
        calls: The calls.
        clock: The time in the file.
    """
    now, wall = clock.now(), time.time()
    [last] = db.execute("select coalesce(max(seq), 0) from onward_calls").fetchone()
    numbered = list(enumerate(calls, start=last + 1))
    db.executemany(
        "insert into onward_calls(seq, id, flow, plan, submitted) values (?, ?, ?, ?, ?) "
        "on conflict(id) do nothing",
        [(seq, call.id, call.flow, call.plan, wall) for seq, call in numbered],
    )
    # One whose id was there has no row of this number.
    query = "select seq from onward_calls where seq > ?"
    new = {seq for (seq,) in db.execute(query, (last,)).fetchall()}
    jobs = [
        (
            seq,
            call.queue,
            call.priority,
            now + call.delay if call.delay > 0 else None,
            None if call.deadline is None else clock.of(call.deadline),
        )
        for seq, call in numbered
        if seq in new
    ]
    if jobs:  # with no rows, SQLAlchemy would execute it once
        db.executemany(
            "insert into onward_jobs(seq, call, queue, priority, due, deadline) "
            "values (?1, ?1, ?2, ?3, ?4, ?5)",
            jobs,
        )
