"""How a call ends, whoever ends it: its worker, a cancel, or a deadline.

A call whose outcome is decided, and which has no state yet, is cancelling: it ends with that
outcome as soon as its cleanups have.
"""

from __future__ import annotations

import time
from sqlite3 import Connection
from typing import NamedTuple

from onward import outcome as outcomes
from onward import plan as plans
from onward.backend import State, state_of
from onward.backend.support import expired
from onward.backends.sqlite.clock import Clock
from onward.fault import Cancelled
from onward.outcome import Faulted, Outcome, faulted
from onward.scope import in_cleanup

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
    db.execute("delete from onward_waits where call = ?", (seq,))
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
        end_early(db, seq, faulted(Cancelled(flow, "it was cancelled")), clock)
    return True


def end_early(db: Connection, seq: int, outcome: Faulted, clock: Clock) -> None:
    """Ends a call that has no state yet, after its cleanups if it may have any to run.

    Args:
        db: A connection, in a transaction that writes.
        seq: The call's number.
        outcome: What it ends with, unless that is decided already.
        clock: The time in the file.
    """
    if decided(db, seq) is not None:
        return
    if not _may_clean_up(db, seq):
        settle_as(db, seq, outcome, clock)
        return
    raw = outcomes.encode(outcome)
    db.execute("update onward_calls set outcome = ? where seq = ?", (raw, seq))
    # Who has it hears of it; where nobody has it, somebody takes it up at once.
    db.execute("update onward_jobs set deadline = null, due = null where seq = ?", (seq,))
    query = "select seq, path from onward_jobs where call = ? and path is not null"
    for part, path in db.execute(query, (seq,)).fetchall():
        if not in_cleanup(path):
            db.execute("delete from onward_jobs where seq = ?", (part,))
    db.execute("insert into onward_log(call, at) values (?, ?)", (seq, clock.now()))


def _may_clean_up(db: Connection, seq: int) -> bool:
    query = (
        "select calls.plan from onward_calls as calls join onward_jobs as jobs "
        "on jobs.seq = calls.seq where calls.seq = ? and jobs.claims > 0"
    )
    row = db.execute(query, (seq,)).fetchone()
    plan = None if row is None else plans.decode(bytes(row[0])).value_or(None)
    return plan is not None and plans.has_cleanup(plan)


def decided(db: Connection, seq: int) -> Outcome | None:
    """The outcome of a call that is cancelling, or that has ended."""
    [raw] = db.execute("select outcome from onward_calls where seq = ?", (seq,)).fetchone()
    return None if raw is None else outcomes.decode(raw)


def expire(db: Connection, clock: Clock) -> int:
    """Ends the calls whose deadline has passed; gives how many these were."""
    query = (
        "select jobs.seq, calls.flow from onward_jobs as jobs "
        "join onward_calls as calls on calls.seq = jobs.seq "
        "where jobs.deadline <= ? limit ?"
    )
    rows = db.execute(query, (clock.now(), _AT_ONCE)).fetchall()
    for seq, flow in rows:
        end_early(db, seq, faulted(expired(flow)), clock)
    return len(rows)
