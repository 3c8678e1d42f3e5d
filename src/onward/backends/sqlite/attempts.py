"""Attempts that no step's row holds: those that run, were retried, or were given up."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from sqlite3 import Connection
from typing import NamedTuple

import msgspec


class Attempt(NamedTuple):
    """An attempt that is over.

    Args:
        path: Where its step stands.
        number: Its number, from 1.
        began: When it began, in seconds since 1970.
        ended: When it ended.
        worker: Who made it.
        outcome: Its outcome's bytes; None if its worker died.
    """

    path: str
    number: int
    began: float
    ended: float
    worker: str
    outcome: bytes | None


class Running(msgspec.Struct, frozen=True, array_like=True):
    """An attempt that runs.

    Args:
        path: Where its step stands.
        task: Its task.
        number: Its number, from 1.
        began: When it began, in seconds since 1970.
    """

    path: str
    task: str
    number: int
    began: float


class _Written(msgspec.Struct, array_like=True):
    """What a job's worker runs, and by which claim: another worker may have the job by now."""

    claim: int
    attempts: tuple[Running, ...]


def write_running(claim: int, running: Collection[Running]) -> str | None:
    """Writes what runs as text."""
    if not running:
        return None
    return _ENCODER.encode(_Written(claim, tuple(running))).decode()


def read_running(text: str | None, claim: int | None = None) -> tuple[Running, ...]:
    """Reads what `write_running` writes.

    Args:
        text: The text.
        claim: By which claim it must have been written; None for any.
    """
    if text is None:
        return ()
    try:
        written = msgspec.json.decode(text, type=_Written)
    except msgspec.MsgspecError:
        return ()
    return written.attempts if claim in (None, written.claim) else ()


def put_attempts(db: Connection, call: int, attempts: Iterable[Attempt]) -> None:
    """Writes attempts down.

    Args:
        db: A connection, in a transaction that writes.
        call: The call's number.
        attempts: The attempts.
    """
    db.executemany(
        "insert into onward_attempts(call, path, number, began, ended, worker, outcome) "
        "values (?, ?, ?, ?, ?, ?, ?)",
        [(call, *attempt) for attempt in attempts],
    )


def give_up(db: Connection, worker: int) -> None:
    """Writes down which attempts a worker leaves behind that dies or stops.

    Args:
        db: A connection, in a transaction that writes, before the worker's jobs are freed.
        worker: The worker's number.
    """
    now = time.time()
    jobs = db.execute(
        "select jobs.call, jobs.running, jobs.claim, workers.name from onward_jobs as jobs "
        "join onward_workers as workers on workers.id = jobs.owner "
        "where jobs.owner = ? and jobs.running is not null",
        (worker,),
    ).fetchall()
    for call, text, claim, name in jobs:
        left = [
            Attempt(each.path, each.number, each.began, now, name, None)
            for each in not_over(db, call, read_running(text, claim))
        ]
        put_attempts(db, call, left)


def not_over(db: Connection, call: int, running: Iterable[Running]) -> list[Running]:
    """The attempts that are not over. The record of what runs is a little late."""
    ended = last_attempts(db, call, [each.path for each in running])
    return [each for each in running if each.number > ended.get(each.path, 0)]


def last_attempts(db: Connection, call: int, paths: Collection[str]) -> Mapping[str, int]:
    """The number of the last attempt that is over, by path, of the steps that have a row."""
    query = (
        "select steps.path, steps.attempt from json_each(?) as wanted "
        "cross join onward_steps as steps on steps.call = ? and steps.path = wanted.value"
    )
    return dict(db.execute(query, (_ENCODER.encode(list(paths)).decode(), call)).fetchall())


_ENCODER = msgspec.json.Encoder()
