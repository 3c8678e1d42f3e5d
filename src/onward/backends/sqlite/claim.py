"""The jobs that a worker claims, and what it may record about them.

Each claim has a number of its own. All that a worker writes about a job names its claim, and is
dropped if the job is another's by then. So a process that was stopped and continued overwrites
nothing.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from sqlite3 import Connection
from typing import NamedTuple

from onward.backends.sqlite import places
from onward.backends.sqlite.attempts import Attempt, put_attempts
from onward.backends.sqlite.clock import Clock
from onward.backends.sqlite.settle import Last, Ran, decided, settle
from onward.outcome import Outcome


class Known(NamedTuple):
    """What the file records of a step.

    Args:
        attempt: Which attempt at it was the last.
        due: When the next one is due, in the file's time.
        outcome: Its outcome's bytes, if it has one.
    """

    attempt: int
    due: float | None
    outcome: bytes | None


class Claimed(NamedTuple):
    """A job that a worker has claimed.

    Args:
        seq: Its number.
        call: Its call's number.
        path: The step that it is; None for a whole call.
        owner: The worker.
        claim: What tells this time from all others that the worker took it up.
        deaths: How many workers have died at it since it got further.
        raw: The call's plan, or the step's message.
        deadline: When the call expires, in the file's time.
        known: What is written down of its steps, by path.
        delegated: The paths of its steps that were handed over and have no outcome yet.
        is_again: Whether another worker, or this one, may have had it before.
    """

    seq: int
    call: int
    path: str | None
    owner: int
    claim: int
    deaths: int
    raw: bytes
    deadline: float | None
    known: Mapping[str, Known]
    delegated: Collection[str] = ()
    is_again: bool = False


class Outlook(NamedTuple):
    """Whether there is a free job, and when the next one is due, in the file's time."""

    is_free: bool
    due: float | None


def look(db: Connection, queues: Iterable[str], now: float) -> Outlook:
    """Looks for work without locking anything."""
    [due] = db.execute("select min(due) from onward_jobs where due is not null").fetchone()
    if due is not None and due <= now:
        return Outlook(is_free=True, due=due)
    query = "select 1 from onward_jobs where queue = ? and owner is null and due is null limit 1"
    is_free = any(db.execute(query, (queue,)).fetchone() for queue in queues)
    return Outlook(is_free, due)


def take(
    db: Connection, owner: int, claim: int, queues: Iterable[str], most: int, now: float
) -> list[Claimed]:
    """Claims free jobs: of each queue the most urgent, and of these the oldest.

    A worker that is not registered takes none: nobody would find what it has, if it died.

    Args:
        db: A connection, in a transaction that writes.
        owner: The worker.
        claim: A number that the worker has not used before.
        queues: Which queues, the first one first.
        most: How many jobs at most.
        now: The time in the file.
    """
    claimed: list[Claimed] = []
    if not db.execute("select 1 from onward_workers where id = ?", (owner,)).fetchone():
        return claimed
    db.execute("update onward_jobs set due = null where due <= ?", (now,))
    for queue in queues:
        left = most - len(claimed)
        if left <= 0:
            break
        rows = db.execute(
            "update onward_jobs set owner = ?, claim = ?, claims = claims + 1 where seq in ("
            "select seq from onward_jobs where queue = ? and owner is null and due is null "
            "order by priority desc, call limit ?"
            ") returning seq, call, path, claims, deaths, deadline, body, priority",
            (owner, claim, queue, left),
        ).fetchall()
        rows.sort(key=lambda row: (-row[-1], row[1]))  # RETURNING has no order
        for seq, call, path, claims, deaths, deadline, body, _ in rows:
            raw = body
            if path is None:
                [raw] = db.execute(
                    "select plan from onward_calls where seq = ?", (call,)
                ).fetchone()
            known, delegated = _before(db, call, path) if claims > 1 else ({}, ())
            claimed.append(
                Claimed(
                    seq,
                    call,
                    path,
                    owner,
                    claim,
                    deaths,
                    bytes(raw),
                    deadline,
                    known,
                    delegated,
                    claims > 1,
                )
            )
    return claimed


def _before(
    db: Connection, call: int, path: str | None
) -> tuple[dict[str, Known], Collection[str]]:
    """What the workers that had the job before have recorded and handed over."""
    query = (
        "select path, attempt, due, outcome from onward_steps where call = ? "
        "and (outcome is not null or due is not null)"  # not a wait that has not ended
    )
    values: tuple[object, ...] = (call,)
    if path is not None:
        query, values = f"{query} and path = ?", (call, path)
    known = {at: Known(attempt, due, raw) for at, attempt, due, raw in db.execute(query, values)}
    if path is not None:
        return known, ()
    delegated = db.execute("select path from onward_jobs where call = ? and path not null", (call,))
    return known, frozenset(at for (at,) in delegated)


def is_held(db: Connection, job: Claimed) -> bool:
    """Whether the worker still has the job, by this claim."""
    query = "select 1 from onward_jobs where seq = ? and owner = ? and claim = ?"
    return db.execute(query, (job.seq, job.owner, job.claim)).fetchone() is not None


class Record(NamedTuple):
    """What a worker records of a step.

    Args:
        path: Where it stands.
        task: Its task.
        attempt: Which attempt at it was the last.
        began: When the step began, in seconds since 1970.
        worker: Who ran it.
        outcome: Its outcome's bytes; None where another attempt follows.
        due: When that is due, in the file's time.
        tried: When the last attempt began, if it is not the first.
    """

    path: str
    task: str
    attempt: int
    began: float
    worker: str
    outcome: bytes | None = None
    due: float | None = None
    tried: float | None = None


def write_step(
    db: Connection, job: Claimed, record: Record, attempt: Attempt | None = None
) -> bool:
    """Records the outcome of a step; returns whether the worker still has the job.

    Args:
        db: A connection, in a transaction that writes.
        job: The job.
        record: What there is of the step.
        attempt: The attempt that is over, if another one follows.
    """
    if not is_held(db, job):
        return False
    put_step(db, job.call, record)
    if attempt is not None:
        put_attempts(db, job.call, [attempt])
    if job.deaths and record.outcome is not None:
        db.execute("update onward_jobs set deaths = 0 where seq = ?", (job.seq,))
    return True


def put_step(db: Connection, call: int, record: Record) -> None:
    """Records the outcome of a step, unless it already has one."""
    db.execute(
        "insert into onward_steps(call, path, task, attempt, due, outcome, began, ended, worker, "
        "tried) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict(call, path) do update set "
        "attempt = excluded.attempt, due = excluded.due, outcome = excluded.outcome, "
        "ended = excluded.ended, worker = excluded.worker, tried = excluded.tried "
        "where outcome is null",
        (
            call,
            record.path,
            record.task,
            record.attempt,
            record.due,
            record.outcome,
            record.began,
            time.time() if record.outcome is not None else None,
            record.worker,
            record.tried,
        ),
    )


def end_call(
    db: Connection,
    job: Claimed,
    outcome: Outcome,
    clock: Clock,
    last: Last,
    record: Record | None = None,
    *,
    is_all: bool = False,
    running: str | None = None,
) -> bool:
    """Ends a call with its last step; returns whether the worker still had it.

    Args:
        db: A connection, in a transaction that writes.
        job: The job.
        outcome: The call's outcome.
        clock: The time in the file.
        last: Where it was.
        record: What there is of its last step, where that is not written down yet.
        is_all: Whether that step is the whole call, and its only attempt gave the call's outcome.
        running: Which steps were interrupted; see `attempts.write_running`.
    """
    if not is_held(db, job):
        return False
    early = decided(db, job.call)
    ran = Ran(running=running)
    if record is not None and is_all and early is None:
        ran = Ran(record.began, record.worker, running)  # a row of its own would say the same
    elif record is not None:
        put_step(db, job.call, record)
    return settle(db, job.seq, early or outcome, clock, last, ran)


def end_delegated(db: Connection, job: Claimed, record: Record, clock: Clock) -> bool:
    """Ends a delegated step; returns whether the worker still had it."""
    if not is_held(db, job):
        return False
    put_delegated(db, job.seq, job.call, record, clock)
    return True


def put_delegated(db: Connection, seq: int, call: int, record: Record, clock: Clock) -> None:
    """Records the outcome of a delegated step, for the worker that has its call."""
    put_step(db, call, record)
    db.execute("delete from onward_jobs where seq = ?", (seq,))
    places.remove(db, "call = ? and path = ?", (call, record.path), clock.now())
    db.execute(
        "insert into onward_log(call, path, at) values (?, ?, ?)", (call, record.path, clock.now())
    )


def delegate(
    db: Connection, job: Claimed, path: str, queue: str, priority: int, message: bytes
) -> bool:
    """Makes a job of a step, unless it is one or has an outcome; returns whether it may."""
    if not is_held(db, job):
        return False
    db.execute(
        "insert into onward_jobs(seq, call, path, queue, priority, body) "
        "select min(coalesce((select min(seq) from onward_jobs), 0), 0) - 1, ?, ?, ?, ?, ? "
        "where not exists (select 1 from onward_steps where call = ? and path = ? "
        "and outcome is not null) on conflict do nothing",
        (job.call, path, queue, priority, message, job.call, path),
    )
    return True


def withdraw(db: Connection, job: Claimed, path: str, clock: Clock) -> None:
    """Takes a delegated step back. The worker that runs it learns of that."""
    if not is_held(db, job):
        return
    query = "delete from onward_jobs where call = ? and path = ?"
    if db.execute(query, (job.call, path)).rowcount:
        places.remove(db, "call = ? and path = ?", (job.call, path), clock.now())
        db.execute("insert into onward_log(call, at) values (?, ?)", (job.call, clock.now()))


class Delegated(NamedTuple):
    """The outcome of a delegated step, and where the step ended."""

    outcome: bytes
    last: Last


def delegated_outcome(db: Connection, call: int, path: str) -> Delegated | None:
    """The outcome of a delegated step, if it has ended."""
    query = "select outcome, task, attempt from onward_steps where call = ? and path = ?"
    row = db.execute(query, (call, path)).fetchone()
    if row is None or row[0] is None:
        return None
    return Delegated(bytes(row[0]), Last(row[1], path, row[2]))


class Note(NamedTuple):
    """Where a job is, for the status of its call."""

    job: Claimed
    last: Last
    progress: str | None
    running: str | None
    is_waiting: bool = False


def write_notes(db: Connection, notes: Collection[Note]) -> None:
    """Records where jobs are, except those that another worker has by now."""
    for note in notes:
        if is_held(db, note.job):
            job, running = note.job, note.running
            if job.path is not None:  # then the status is the call's, and this the job's own
                query = "update onward_jobs set running = ? where seq = ?"
                db.execute(query, (running, job.seq))
            db.execute(
                "update onward_jobs set task = ?, step = ?, attempt = ?, progress = ?, "
                "waiting = ?, running = iif(path is ?, ?, running) where seq = ?",
                (*note.last, note.progress, note.is_waiting, job.path, running, job.call),
            )


def put_off(db: Connection, job: Claimed, due: float) -> None:
    """Gives a job back until a moment in the file's time.

    It is free at once if its call is cancelling, or if a signal that it waits for has come.
    """
    db.execute(
        "update onward_jobs set owner = null, claim = null, due = ("
        "select case when outcome is null and not exists ("
        "select 1 from onward_waits as waits join onward_signals as signals "
        "on signals.call = waits.call and signals.name = waits.signal "
        "where waits.call = onward_calls.seq) then ? end from onward_calls where seq = ?"
        ") where seq = ? and owner = ? and claim = ?",
        (due, job.call, job.seq, job.owner, job.claim),
    )
