"""The places of limits: which steps have one, and which wait for one, as rows of the file.

A step asks for a place before each attempt, and gives it back after it. What waits is handed a
place in the order of its turns. Its job is free again then, if it was given back meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable
from sqlite3 import Connection

_UNCLAIMED = 30.0
"""How long a place is kept for a job that no worker takes up, in seconds."""


def hand_out(db: Connection, pool: str, now: float) -> float | None:
    """Hands out what is free of a pool.

    Args:
        db: A connection, in a transaction that writes.
        pool: The pool.
        now: The time in the file.

    Returns:
        When the next place is free, if what waits only needs time.
    """
    while True:
        head = db.execute(
            "select seq, call, path, job, concurrency, rate, window from onward_places "
            "where pool = ? and handed is null order by turn, seq limit 1",
            (pool,),
        ).fetchone()
        if head is None:
            return None
        seq, call, path, job, concurrency, rate, window = head
        held, ready = db.execute(
            "select count(*), count(*) filter (where begun is null) from onward_places "
            "where pool = ? and handed is not null",
            (pool,),
        ).fetchone()
        if concurrency is not None and held >= concurrency:
            return None
        if rate is not None:
            if ready >= rate:
                return None
            opens = _opens(db, pool, rate - ready, window)
            if opens > now:
                query = "update onward_jobs set due = ? where seq = ? and owner is null"
                db.execute(query, (opens, job))
                return opens
        db.execute("update onward_places set handed = ? where seq = ?", (now, seq))
        db.execute("update onward_jobs set due = null where seq = ? and owner is null", (job,))
        db.execute(  # a worker that holds the job reads the log
            "insert into onward_log(call, path, at) select ?, ?, ? from onward_jobs "
            "where seq = ? and owner is not null",
            (call, path, now, job),
        )


def _opens(db: Connection, pool: str, free: int, window: float) -> float:
    """When fewer than so many attempts have begun within the window."""
    query = "select at from onward_begun where pool = ? order by at desc limit 1 offset ?"
    row = db.execute(query, (pool, free - 1)).fetchone()
    return 0.0 if row is None else float(row[0]) + window


def remove(db: Connection, which: str, values: tuple[object, ...], now: float) -> None:
    """Removes places and requests, and hands out what that frees.

    Args:
        db: A connection, in a transaction that writes.
        which: A condition for their rows.
        values: The values in the condition.
        now: The time in the file.
    """
    rows = db.execute(f"delete from onward_places where {which} returning pool", values)
    hand_out_all(db, rows.fetchall(), now)


def free_of_worker(db: Connection, worker: int, now: float) -> None:
    """Frees the places of a worker's jobs, before the worker is forgotten. The jobs wait again."""
    rows = db.execute(
        "update onward_places set handed = null, begun = null where handed is not null "
        "and job in (select seq from onward_jobs where owner = ?) returning pool",
        (worker,),
    )
    hand_out_all(db, rows.fetchall(), now)


def look_over(db: Connection, now: float) -> None:
    """Hands out again what was handed to jobs that no worker takes, and what time has freed."""
    db.execute("delete from onward_begun where until <= ?", (now,))
    if db.execute("select 1 from onward_places limit 1").fetchone() is None:
        return
    rows = db.execute(
        "update onward_places set handed = null, seq = (select max(seq) + 1 from onward_places) "
        "where seq in (select seq from onward_places where handed < ? and begun is null "
        "and job in (select seq from onward_jobs where owner is null) limit 1) returning pool",
        (now - _UNCLAIMED,),
    ).fetchall()
    rows += db.execute(
        "select distinct pool from onward_places where handed is null and rate is not null"
    ).fetchall()
    hand_out_all(db, rows, now)


def hand_out_all(db: Connection, rows: Iterable[tuple[str]], now: float) -> None:
    """Hands out what is free of several pools, each in a row."""
    for pool in {pool for (pool,) in rows}:
        hand_out(db, pool, now)
