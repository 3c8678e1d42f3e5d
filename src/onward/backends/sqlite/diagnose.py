"""How a file is, its workers, and what waits in its queues."""

from __future__ import annotations

import sqlite3
import stat
import time
from collections.abc import Collection, Iterator

from onward.backend import Diagnosis, Finding, SeenWorker
from onward.backends.sqlite import schema
from onward.backends.sqlite.client import File
from onward.backends.sqlite.lease import names_of

_LARGE = 256 * 1024 * 1024
"""A -wal file of more bytes than this is one that something keeps from shrinking."""


def look(
    db: sqlite3.Connection, file: File, queue: str, queues: Collection[str], keeps: float
) -> Diagnosis:
    """Looks at a file.

    Args:
        db: A connection to it.
        file: The file.
        queue: The queue of steps that name none.
        queues: Queues that are of interest, whether or not something waits there.
        keeps: How long calls that have ended are kept, in seconds.
    """
    workers = tuple(_workers(db, file))
    counted = db.execute(
        "select queue, count(*) from onward_jobs "
        "where owner is null and (due is null or due <= ?) group by queue",
        (file.clock.now(),),
    )
    waiting = dict.fromkeys((queue, *queues), 0)
    waiting |= {name: 0 for worker in workers for name in worker.queues}
    waiting |= dict(counted.fetchall())
    running = dict.fromkeys(waiting, 0)
    taken = "select queue, count(*) from onward_jobs where owner is not null group by queue"
    running |= dict(db.execute(taken).fetchall())
    return Diagnosis(
        queue,
        tuple(_findings(db, file)),
        workers,
        waiting,
        0.0,
        running=running,
        oldest=dict(_oldest(db, file)),
        keeps=keeps,
    )


def _oldest(db: sqlite3.Connection, file: File) -> Iterator[tuple[str, float]]:
    """How long calls have waited for their first step, or something for its time, by queue."""
    now = file.clock.now()
    rows = db.execute(
        "select jobs.queue, max(case when jobs.due is null then ? - calls.submitted "
        "else ? - jobs.due end) from onward_jobs as jobs join onward_calls as calls "
        "on calls.seq = jobs.call "
        "where jobs.owner is null and (jobs.due <= ? or (jobs.due is null and jobs.claims = 0)) "
        "group by jobs.queue",
        (time.time(), now, now),
    )
    for name, age in rows.fetchall():
        yield name, max(0.0, age)


def _findings(db: sqlite3.Connection, file: File) -> Iterator[Finding]:
    yield Finding("SQLite", f"{sqlite3.sqlite_version}, schema {schema.version_of(db)}")
    size = file.path.stat().st_size
    [kept] = db.execute("select count(*) from onward_calls").fetchone()
    yield Finding("file", f"{file.path}: {size / 1e6:.1f} MB, {kept} calls")
    log = file.path.with_name(f"{file.path.name}-wal")
    if log.exists() and log.stat().st_size > _LARGE:
        yield Finding(
            "file",
            f"its -wal file has {log.stat().st_size / 1e6:.0f} MB, and cannot shrink",
            "end the program that has had a transaction open for so long",
            is_wrong=True,
        )
    mode = file.path.stat().st_mode
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield Finding(
            "credentials",
            "others than its owner can write to the file, and so have any task run",
            f"chmod 600 {file.path}, if that is more than those meant to",
        )
    else:
        yield Finding("credentials", "whoever can write to the file can have any task run")


def _workers(db: sqlite3.Connection, file: File) -> Iterator[SeenWorker]:
    query = "select name, queues, tasks from onward_workers where until >= ? order by name"
    for name, queues, tasks in db.execute(query, (file.clock.now(),)):
        yield SeenWorker(name, names_of(queues), names_of(tasks))
