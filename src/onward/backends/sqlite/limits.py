"""How a step gets a place of its limit, and gives it back; see `onward.backends.sqlite.places`."""

from __future__ import annotations

from sqlite3 import Connection
from typing import NamedTuple

from onward.backend.limiter import margin
from onward.backends.sqlite.claim import Claimed, is_held
from onward.backends.sqlite.clock import Clock
from onward.backends.sqlite.places import hand_out, remove
from onward.backends.sqlite.settle import decided
from onward.limit import StepLimit
from onward.scope import in_cleanup

CALL = ""
"""The path of a call as a whole."""

NEVER = 1e15
"""When a job is due that waits for a place, in the file's time."""


class Request(NamedTuple):
    """A step that asks for a place.

    Args:
        job: Its job.
        path: Where it stands.
        task: Its task.
        limit: Its limit.
        key: The limit's key.
        may_park: Whether its job is given back if it has to wait.
    """

    job: Claimed
    path: str
    task: str
    limit: StepLimit
    key: str
    may_park: bool


class Answer(NamedTuple):
    """What comes of a request.

    Args:
        began: When the attempt began, in the file's time; None if it has no place yet.
        opens: When to ask again, in the file's time, if time alone may bring a place.
        is_parked: Whether the job was given back.
    """

    began: float | None = None
    opens: float | None = None
    is_parked: bool = False


def ask(db: Connection, request: Request, clock: Clock) -> Answer | None:
    """Asks for a place, and begins if there is one; None if the job was taken.

    Args:
        db: A connection, in a transaction that writes.
        request: What asks.
        clock: The time in the file.
    """
    job, path, _, limit, _, may_park = request
    if not is_held(db, job):
        return None
    if not in_cleanup(path) and decided(db, job.call) is not None:
        return Answer()  # the step is cancelled soon
    now, pool = clock.now(), limit.pool(request.key)
    if path == CALL:  # a call that was given back meanwhile still has its place
        query = "select begun from onward_places where call = ? and path = ? and begun is not null"
        row = db.execute(query, (job.call, path)).fetchone()
        if row is not None:
            return Answer(began=row[0])
    _put(db, request, pool)
    opens = hand_out(db, pool, now)
    query = "select handed from onward_places where call = ? and path = ?"
    [handed] = db.execute(query, (job.call, path)).fetchone()
    if handed is not None:
        query = "update onward_places set begun = ? where call = ? and path = ?"
        db.execute(query, (now, job.call, path))
        if limit.rate is not None:
            query = "insert into onward_begun(pool, at, until) values (?, ?, ?)"
            db.execute(query, (pool, now, now + limit.per + margin(limit.per)))
        return Answer(began=now)
    if may_park:
        db.execute(
            "update onward_jobs set owner = null, claim = null, due = ? where seq = ?",
            (NEVER, job.seq),
        )
        if opens is not None:
            hand_out(db, pool, now)  # who is next is due then
    return Answer(opens=opens, is_parked=may_park)


def _put(db: Connection, request: Request, pool: str) -> None:
    job, path, task, limit, key, _ = request
    turn = 0
    if limit.fair:  # each key has one place in each turn
        query = (
            "select max(coalesce((select max(turn) + 1 from onward_places "
            "where pool = ? and key = ? and handed is null), 0), "
            "coalesce((select min(turn) from onward_places where pool = ? and handed is null), 0))"
        )
        [turn] = db.execute(query, (pool, key, pool)).fetchone()
    db.execute(
        "insert into onward_places(pool, key, turn, call, path, job, task, name, concurrency, "
        "rate, window) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict(call, path) "
        # Whoever made the attempt before does so no longer.
        "do update set job = excluded.job, handed = iif(begun is null, handed, null), begun = null",
        (
            pool,
            key,
            turn,
            job.call,
            path,
            job.seq,
            task,
            limit.name,
            limit.concurrency,
            limit.rate,
            limit.per + margin(limit.per),
        ),
    )


def begin_late(db: Connection, request: Request, began: float, now: float) -> bool:
    """Notes that an attempt begins later than `ask` said; returns whether the job is still held."""
    if not is_held(db, request.job):
        return False
    query = (
        "update onward_begun set at = ?, until = until + ? where rowid = "
        "(select rowid from onward_begun where pool = ? and at = ? limit 1)"
    )
    db.execute(query, (now, now - began, request.limit.pool(request.key), began))
    return True


def give_back(db: Connection, job: Claimed, path: str, clock: Clock) -> bool:
    """Gives a step's place back; returns whether the worker still has the job."""
    if not is_held(db, job):
        return False
    remove(db, "call = ? and path = ?", (job.call, path), clock.now())
    return True
