"""Which workers there are, and what becomes of the jobs of one that is gone."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection
from pathlib import Path
from sqlite3 import Connection
from typing import NamedTuple

import msgspec

from onward import outcome as outcomes
from onward.backends.sqlite import clock as clocks
from onward.backends.sqlite import places
from onward.backends.sqlite.attempts import give_up
from onward.backends.sqlite.claim import Record, put_delegated
from onward.backends.sqlite.clock import Clock
from onward.backends.sqlite.settle import settle
from onward.fault import Lost
from onward.outcome import Faulted, faulted

MOST_DEATHS = 10
"""How many workers may die at a job, one after the other and without a step done, until it is lost.
"""

_AT_ONCE = 500


class LostCall(NamedTuple):
    """A call that is lost: its id, its flow, and its outcome."""

    id: str
    flow: str
    outcome: Faulted


def process() -> str:
    """What tells this process from all others of this machine, as far as that can be known."""
    space = ""
    with contextlib.suppress(OSError):
        space = str(Path("/proc/self/ns/pid").readlink())
    return f"{clocks.boot()} {space} {os.getpid()}"


def is_dead(other: str) -> bool:
    """Whether a process is certainly gone; False where that cannot be known."""
    here, _, _ = process().rpartition(" ")
    there, _, pid = other.rpartition(" ")
    if here != there or not here.strip() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def register(
    db: Connection,
    name: str,
    queues: Collection[str],
    tasks: Collection[str],
    slots: int,
    until: float,
    id: int | None = None,
) -> int:
    """Notes a worker; gives its number, which no other worker ever had.

    Args:
        db: A connection, in a transaction that writes.
        name: What it goes by.
        queues: The queues that it takes jobs from.
        tasks: The tasks that it serves.
        slots: How many steps it runs at a time.
        until: When its lease runs out, in the file's time.
        id: Its number, if it has one already.
    """
    cursor = db.execute(
        "insert into onward_workers(id, name, process, queues, tasks, slots, until) "
        "values (?, ?, ?, ?, ?, ?, ?) on conflict(id) do update set until = excluded.until",
        (id, name, process(), _encode(sorted(queues)), _encode(sorted(tasks)), slots, until),
    )
    assert cursor.lastrowid is not None  # an insert that succeeds has one
    return cursor.lastrowid


def renew(db: Connection, worker: int, until: float) -> bool:
    """Renews a worker's lease; gives whether it still had one."""
    changed = db.execute("update onward_workers set until = ? where id = ?", (until, worker))
    return changed.rowcount > 0


def leave(db: Connection, worker: int, clock: Clock) -> None:
    """Gives back all that a worker has, and forgets it."""
    give_up(db, worker)
    places.free_of_worker(db, worker, clock.now())
    db.execute("update onward_jobs set owner = null, claim = null where owner = ?", (worker,))
    db.execute("delete from onward_workers where id = ?", (worker,))


def gone(db: Connection, now: float, but: int) -> list[int]:
    """The workers whose lease has run out or whose process is dead, but for one."""
    query = "select id, process, until from onward_workers where id <> ?"
    return [
        id
        for id, other, until in db.execute(query, (but,)).fetchall()
        if until < now or is_dead(other)
    ]


def take_over(db: Connection, workers: Collection[int], clock: Clock) -> list[LostCall]:
    """Frees what workers had that are gone; gives the calls that are lost by it."""
    lost: list[LostCall] = []
    for worker in workers:
        give_up(db, worker)
        places.free_of_worker(db, worker, clock.now())
        db.execute(
            "update onward_jobs set owner = null, claim = null, deaths = deaths + 1 "
            "where owner = ?",
            (worker,),
        )
        db.execute("delete from onward_workers where id = ?", (worker,))
    if not workers:
        return lost
    rows = db.execute(
        "select jobs.seq, jobs.call, jobs.path, jobs.task, calls.id, calls.flow "
        "from onward_jobs as jobs join onward_calls as calls on calls.seq = jobs.call "
        "where jobs.owner is null and jobs.deaths >= ? limit ?",
        (MOST_DEATHS, _AT_ONCE),
    ).fetchall()
    for seq, call, path, task, id, flow in rows:
        message = f"the workers that had it died {MOST_DEATHS} times, without getting further"
        outcome = faulted(Lost(task or flow, message, MOST_DEATHS))
        if path is None:
            settle(db, seq, outcome, clock)
        else:
            raw = outcomes.encode(outcome)
            record = Record(path, task or flow, 1, time.time(), "", raw)
            put_delegated(db, seq, call, record, clock)
        lost.append(LostCall(id, flow, outcome))
    return lost


def queues_of_others(db: Connection, worker: int) -> frozenset[str]:
    """The queues that workers serve, but for one."""
    rows = db.execute("select queues from onward_workers where id <> ?", (worker,))
    return frozenset(name for (raw,) in rows for name in names_of(raw))


def names_of(raw: str) -> frozenset[str]:
    """The names in a row of a worker."""
    return frozenset(msgspec.json.decode(raw, type=list[str]))


def _encode(names: list[str]) -> str:
    return msgspec.json.encode(names).decode()
