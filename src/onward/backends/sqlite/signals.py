"""Sleeps, waits for signals, and the signals that were sent, as rows of the file."""

from __future__ import annotations

import time
from sqlite3 import Connection
from typing import NamedTuple

from msgspec import Raw

from onward import outcome as outcomes
from onward.backend.support import ended_already, sent_already
from onward.backends.sqlite.claim import Claimed, is_held
from onward.backends.sqlite.clock import Clock
from onward.backends.sqlite.errors import Reply
from onward.outcome import Outcome, Value
from onward.plan import AwaitsNode, SleepNode, Waiting
from onward.unanswered import unanswered

NEVER = 1e15
"""When a wait without a timeout is due, in the file's time."""

_NOTHING = Value(Raw(b"null"))


class Wait(NamedTuple):
    """What there is of a wait.

    Args:
        due: When it ends at the latest, in the file's time.
        outcome: Its outcome, if it has ended.
    """

    due: float
    outcome: Outcome | None = None


def send(db: Connection, id: str, name: str, raw: Raw, clock: Clock) -> Reply:
    """Stores the value of a signal for a call, and wakes the waits for it.

    Args:
        db: A connection, in a transaction that writes.
        id: The call's id.
        name: The signal's name.
        raw: Its value.
        clock: The time in the file.
    """
    query = "select seq, flow, state from onward_calls where id = ?"
    row = db.execute(query, (id,)).fetchone()
    if row is None:
        return Reply(is_known=False)
    call, flow, state = row
    if state is not None:
        return Reply(is_known=True, fault=ended_already(flow, name))
    is_first = db.execute(
        "insert into onward_signals(call, name, value, sent) values (?, ?, ?, ?) "
        "on conflict do nothing",
        (call, name, bytes(raw), time.time()),
    ).rowcount
    if not is_first:
        return Reply(is_known=True, fault=sent_already(flow, name))
    # A worker that holds the call reads the log. One that gave it back meanwhile left a due time.
    logged = db.execute(
        "insert into onward_log(call, path, at) select call, path, ? from onward_waits "
        "where call = ? and signal = ?",
        (clock.now(), call, name),
    ).rowcount
    if logged:
        query = "update onward_jobs set due = null where seq = ? and owner is null"
        db.execute(query, (call,))
    return Reply(is_known=True)


def look(
    db: Connection, job: Claimed, node: Waiting, path: str, clock: Clock, worker: str
) -> Wait | None:
    """Begins a wait if it has not begun, and ends it if it can end; None if the job was taken.

    Args:
        db: A connection, in a transaction that writes.
        job: The call that waits.
        node: What it waits for.
        path: Where that stands.
        clock: The time in the file.
        worker: Who has the call.
    """
    if not is_held(db, job):
        return None
    now = clock.now()
    seconds = node.seconds if isinstance(node, SleepNode) else node.timeout
    signal = node.signal if isinstance(node, AwaitsNode) else None
    is_new = db.execute(
        "insert into onward_waits(call, path, signal, due) values (?, ?, ?, ?) "
        "on conflict do nothing",
        (job.call, path, signal, None if seconds is None else now + seconds),
    ).rowcount
    query = "select due from onward_waits where call = ? and path = ?"
    [due] = db.execute(query, (job.call, path)).fetchone()
    outcome = _outcome(db, job.call, node, is_due=due is not None and due <= now)
    if is_new or outcome is not None:
        until = None if due is None else clock.to_epoch(due)
        _put_step(db, job.call, path, node, until, worker, outcome)
    if outcome is not None:
        db.execute("delete from onward_waits where call = ? and path = ?", (job.call, path))
    return Wait(NEVER if due is None else due, outcome)


def _put_step(
    db: Connection,
    call: int,
    path: str,
    node: Waiting,
    until: float | None,
    worker: str,
    outcome: Outcome | None,
) -> None:
    now = time.time()
    db.execute(
        "insert into onward_steps(call, path, task, attempt, outcome, began, ended, worker, waits, "
        "until) values (?, ?, ?, 1, ?, ?, ?, ?, ?, ?) on conflict(call, path) do update set "
        "outcome = excluded.outcome, ended = excluded.ended, worker = excluded.worker "
        "where outcome is null",
        (
            call,
            path,
            f"onward.{node.__struct_config__.tag}",
            None if outcome is None else outcomes.encode(outcome),
            now,
            None if outcome is None else now,
            worker,
            node.signal if isinstance(node, AwaitsNode) else "",
            until,
        ),
    )


def _outcome(db: Connection, call: int, node: Waiting, *, is_due: bool) -> Outcome | None:
    if isinstance(node, SleepNode):
        return _NOTHING if is_due else None
    query = "select value from onward_signals where call = ? and name = ?"
    row = db.execute(query, (call, node.signal)).fetchone()
    if row is not None:
        return Value(Raw(row[0]))
    return unanswered(node) if is_due else None
