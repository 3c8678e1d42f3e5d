"""How a call ends, whoever ends it: its worker, a cancel, or a deadline."""

from __future__ import annotations

import time
from sqlite3 import Connection
from typing import NamedTuple

from onward import outcome as outcomes
from onward.backend import State, state_of
from onward.backend.support import expired
from onward.backends.sqlite.clock import Clock
from onward.fault import Cancelled
from onward.outcome import Outcome, faulted

_AT_ONCE = 500


class Last(NamedTuple):
    """Where a call was when it ended."""

    task: str | None = None
    step: str | None = None
    attempt: int | None = None


def settle(
    db: Connection, seq: int, outcome: bytes, state: State, clock: Clock, last: Last | None = None
) -> bool:
    """Ends a call, if it has not ended yet, and all that is still to be done for it.

    Args:
        db: A connection, in a transaction that writes.
        seq: The call's number.
        outcome: Its outcome's bytes.
        state: What state that is.
        clock: The time in the file.
        last: Where it was; None for where its worker said last.

    Returns:
        Whether it has ended by this.
    """
    if last is None:
        query = "select task, step, attempt from onward_jobs where seq = ?"
        last = Last(*(db.execute(query, (seq,)).fetchone() or ()))
    ended = db.execute(
        "update onward_calls set state = ?, outcome = ?, ended = ?, task = ?, step = ?, "
        "attempt = ? where seq = ? and state is null",
        (state, outcome, time.time(), *last, seq),
    ).rowcount
    if not ended:
        return False
    db.execute("delete from onward_jobs where seq = ?", (seq,))
    db.execute("delete from onward_jobs where call = ? and path is not null", (seq,))
    db.execute("insert into onward_log(call, at) values (?, ?)", (seq, clock.now()))
    return True


def settle_as(
    db: Connection, seq: int, outcome: Outcome, clock: Clock, last: Last | None = None
) -> bool:
    """Like `settle`, for an outcome that is not encoded yet."""
    return settle(db, seq, outcomes.encode(outcome), state_of(outcome), clock, last)


def cancel(db: Connection, id: str, clock: Clock) -> bool:
    """Cancels a call, if it has no outcome yet; gives whether there is such a call."""
    query = "select seq, flow, state from onward_calls where id = ?"
    row = db.execute(query, (id,)).fetchone()
    if row is None:
        return False
    seq, flow, state = row
    if state is None:
        settle_as(db, seq, faulted(Cancelled(flow, "it was cancelled")), clock)
    return True


def expire(db: Connection, clock: Clock) -> int:
    """Ends the calls whose deadline has passed; gives how many these were."""
    query = (
        "select jobs.seq, calls.flow from onward_jobs as jobs "
        "join onward_calls as calls on calls.seq = jobs.seq "
        "where jobs.deadline <= ? limit ?"
    )
    rows = db.execute(query, (clock.now(), _AT_ONCE)).fetchall()
    for seq, flow in rows:
        settle_as(db, seq, faulted(expired(flow)), clock)
    return len(rows)
