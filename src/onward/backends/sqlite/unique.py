"""Calls that share a key: one at a time is open, and perhaps one that comes after it.

All that have the key have it in the column `slot`. Of those without an outcome, one has no
`next_due`. Another one that has `next_due` comes after it: its job is due once the first one has
ended, which a trigger sees to, whoever ends it.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from msgspec.structs import replace

from onward.backend import Submission
from onward.backends.sqlite.clock import Clock
from onward.backends.sqlite.executes import Executes
from onward.backends.sqlite.submit import Call, calls_of, put, put_tags

_NEVER = 1e12
"""When the job of a call is due that comes after another one, in the file's time."""


class _Open(NamedTuple):
    """A call that has no outcome yet."""

    seq: int
    id: str
    comes_after: bool


def put_unique(db: Executes, submission: Submission, queue: str, clock: Clock) -> str:
    """Writes a submission down, unless another call stands for it; gives the id of that call.

    Args:
        db: A connection, in a transaction that writes.
        submission: A submission with `unique`.
        queue: The queue of steps that name none.
        clock: The time in the file.
    """
    unique = submission.unique
    assert unique is not None  # see `SubmitsUnique`
    found = _open_calls(db, unique.slot)
    if found and not unique.replaces:
        return found[0].id
    last = found[-1] if found else None
    if last is not None and _has_not_started(db, last):
        plan = replace(submission.plan, id=last.id)
        [call] = calls_of([replace(submission, plan=plan)], queue)
        _replace(db, last, call, clock)
        return last.id
    [call] = calls_of([submission], queue)
    put(db, [call], clock)
    due = None if last is None else clock.now() + call.delay
    db.execute(
        "update onward_calls set slot = ?, next_due = ? where id = ?", (unique.slot, due, call.id)
    )
    if last is not None:
        job = "(select seq from onward_calls where id = ?)"
        db.execute(f"update onward_jobs set due = ? where seq = {job}", (_NEVER, call.id))
    return call.id


def _open_calls(db: Executes, slot: str) -> list[_Open]:
    """The calls of a key that have no outcome yet, the one that comes after the other last."""
    query = (
        "select seq, id, next_due is not null from onward_calls "
        "where slot = ? and state is null order by next_due is not null"
    )
    rows: list[Any] = db.execute(query, (slot,)).fetchall()
    # A connection of the caller's may give texts as bytes.
    return [_Open(seq, os.fsdecode(id), bool(comes_after)) for seq, id, comes_after in rows]


def _has_not_started(db: Executes, call: _Open) -> bool:
    query = "select 1 from onward_jobs where seq = ? and owner is null and claims = 0"
    return call.comes_after or db.execute(query, (call.seq,)).fetchone() is not None


def _replace(db: Executes, old: _Open, new: Call, clock: Clock) -> None:
    due = clock.now() + new.delay
    db.execute(
        "update onward_calls set flow = ?, plan = ?, next_due = ? where seq = ?",
        (new.flow, new.plan, due if old.comes_after else None, old.seq),
    )
    put_tags(db, old.seq, new.tags)
    db.execute(
        "update onward_jobs set queue = ?, priority = ?, due = ?, deadline = ? where seq = ?",
        (
            new.queue,
            new.priority,
            _NEVER if old.comes_after else due,
            None if new.deadline is None else clock.of(new.deadline),
            old.seq,
        ),
    )
