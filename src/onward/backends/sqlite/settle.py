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
from onward.backend import state_of
from onward.backend.support import expired, is_cancelling
from onward.backends.sqlite import places
from onward.backends.sqlite.attempts import not_over, read_running, write_running
from onward.backends.sqlite.clock import Clock
from onward.backends.sqlite.errors import Reply
from onward.fault import Cancelled, Moved
from onward.outcome import Faulted, Outcome, faulted
from onward.scope import in_cleanup

_AT_ONCE = 500


class Last(NamedTuple):
    """Where a call was when it ended."""

    task: str | None = None
    step: str | None = None
    attempt: int | None = None


class Ran(NamedTuple):
    """What is kept of a call's steps with the call itself.

    Args:
        began: When its only step began, in seconds since 1970, if the call has only one.
        worker: Who ran that.
        running: What was still running when the call ended; see `attempts.write_running`.
    """

    began: float | None = None
    worker: str | None = None
    running: str | None = None


def settle(
    db: Connection,
    seq: int,
    outcome: Outcome,
    clock: Clock,
    last: Last | None = None,
    ran: Ran | None = None,
) -> bool:
    """Ends a call, if it has not ended yet, and all that is still to be done for it.

    Args:
        db: A connection, in a transaction that writes.
        seq: The call's number.
        outcome: Its outcome.
        clock: The time in the file.
        last: Where it was; None for where its worker said last.
        ran: What is kept of its steps; None for what its workers said last.

    Returns:
        Whether it has ended by this.
    """
    if last is None:
        query = "select task, step, attempt from onward_jobs where seq = ?"
        last = Last(*(db.execute(query, (seq,)).fetchone() or ()))
    if ran is None:
        ran = Ran(running=_running(db, seq))
    fault = type(outcome.fault).__name__ if isinstance(outcome, Faulted) else None
    ended = db.execute(
        "update onward_calls set state = ?, outcome = ?, ended = ?, fault = ?, task = ?, step = ?, "
        "attempt = ?, began = ?, worker = ?, running = ? where seq = ? and state is null",
        (
            state_of(outcome),
            outcomes.encode(outcome),
            time.time(),
            fault,
            *last,
            *ran,
            seq,
        ),
    ).rowcount
    if not ended:
        return False
    db.execute("delete from onward_jobs where seq = ?", (seq,))
    db.execute("delete from onward_jobs where call = ? and path is not null", (seq,))
    db.execute("delete from onward_waits where call = ?", (seq,))
    places.remove(db, "call = ?", (seq,), clock.now())
    db.execute("insert into onward_log(call, at) values (?, ?)", (seq, clock.now()))
    return True


def _running(db: Connection, seq: int) -> str | None:
    """What runs of a call, in all of its jobs."""
    query = (
        "select running, claim from onward_jobs where running is not null and claim is not null "
        "and (seq = ? or (call = ? and path is not null))"
    )
    rows = db.execute(query, (seq, seq)).fetchall()
    running = [each for text, claim in rows for each in read_running(text, claim)]
    return write_running(0, not_over(db, seq, running)) if running else None


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


def give_up(db: Connection, id: str, moved: Moved, clock: Clock) -> Reply:
    """Ends a call that goes on on another backend, if it has no outcome yet. No cleanup runs.

    Args:
        db: A connection, in a transaction that writes.
        id: The call's id.
        moved: Where it goes on.
        clock: The time in the file.
    """
    query = "select seq, flow, state from onward_calls where id = ?"
    row = db.execute(query, (id,)).fetchone()
    if row is None:
        return Reply(is_known=False)
    seq, flow, state = row
    if state is None and decided(db, seq) is not None:
        return Reply(is_known=True, fault=is_cancelling(flow))
    if state is None:
        settle(db, seq, faulted(moved), clock)
    return Reply(is_known=True)


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
        settle(db, seq, outcome, clock)
        return
    raw = outcomes.encode(outcome)
    db.execute("update onward_calls set outcome = ? where seq = ?", (raw, seq))
    # Who has it hears of it; where nobody has it, somebody takes it up at once.
    db.execute("update onward_jobs set deadline = null, due = null where seq = ?", (seq,))
    query = "select seq, path from onward_jobs where call = ? and path is not null"
    for part, path in db.execute(query, (seq,)).fetchall():
        if not in_cleanup(path):
            db.execute("delete from onward_jobs where seq = ?", (part,))
    query = "select path from onward_places where call = ? and begun is null"
    for (path,) in db.execute(query, (seq,)).fetchall():
        if not in_cleanup(path):
            places.remove(db, "call = ? and path = ?", (seq, path), clock.now())
    db.execute("insert into onward_log(call, at) values (?, ?)", (seq, clock.now()))


def _may_clean_up(db: Connection, seq: int) -> bool:
    query = (
        "select calls.plan, jobs.claims from onward_calls as calls join onward_jobs as jobs "
        "on jobs.seq = calls.seq where calls.seq = ?"
    )
    raw, claims = db.execute(query, (seq,)).fetchone()
    plan = plans.decode(bytes(raw)).value_or(None)
    if plan is None or not plans.has_cleanup(plan):
        return False
    return claims > 0 or plan.past is not None  # what it continues may have begun


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
