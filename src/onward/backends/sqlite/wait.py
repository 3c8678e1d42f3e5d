"""Outcomes and statuses of calls, as clients read them."""

from __future__ import annotations

import json
from collections.abc import Collection
from sqlite3 import Connection
from typing import NamedTuple, cast

from onward import outcome as outcomes
from onward.backend import State, Status
from onward.backend.support import unknown
from onward.backends.sqlite.clock import Clock
from onward.backends.sqlite.message import read_progress
from onward.context import moment
from onward.outcome import Outcome, faulted


class Seen(NamedTuple):
    """What there is of some calls.

    Args:
        found: The outcomes of those that have one; `Unknown` for an id that nobody knows.
        open: The numbers of the others.
        due: When the first of these expires, in the file's time; None if none does.
    """

    found: dict[str, Outcome]
    open: list[int]
    due: float | None


def look(db: Connection, ids: Collection[str], where: str) -> Seen:
    """Reads the outcomes of calls.

    Args:
        db: A connection.
        ids: The calls' ids.
        where: The file, as people know it.
    """
    query = (
        "select calls.id, calls.seq, calls.state, calls.outcome, jobs.deadline "
        "from json_each(?) as wanted "
        "join onward_calls as calls on calls.id = wanted.value "
        "left join onward_jobs as jobs on jobs.seq = calls.seq"
    )
    found: dict[str, Outcome] = {}
    known: set[str] = set()
    still_open: list[int] = []
    due: float | None = None
    for id, seq, state, raw, deadline in db.execute(query, (json.dumps(list(ids)),)):
        known.add(id)
        if state is not None:
            found[id] = outcomes.decode(raw)
            continue
        still_open.append(seq)
        if deadline is not None:
            due = deadline if due is None else min(due, deadline)
    for id in ids:
        if id not in known:
            found[id] = faulted(unknown(id, where))
    return Seen(found, still_open, due)


def is_id(text: str) -> bool:
    """Whether a text may be a call's id; SQLite takes no lone surrogates."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


STATE = (
    "case when calls.state is not null then calls.state "
    "when calls.outcome is not null then 'cancelling' "
    "when (jobs.owner is null or jobs.waiting) and exists "
    "(select 1 from onward_waits where call = calls.seq) then 'waiting' "
    "when jobs.owner is null and exists "
    "(select 1 from onward_places where call = calls.seq and begun is null) then 'waiting' "
    "when jobs.owner is not null or jobs.task is not null then 'running' else 'queued' end"
)
"""A call's state, where `calls` is its row and `jobs` that of its job, if it has one."""


def status_of(db: Connection, id: str, clock: Clock) -> Status | None:
    """Where a call is; None for an id that nobody knows."""
    query = (
        f"select {STATE}, calls.state is not null, calls.task, calls.step, calls.attempt, "
        "jobs.task, jobs.step, jobs.attempt, jobs.progress, calls.seq "
        "from onward_calls as calls left join onward_jobs as jobs on jobs.seq = calls.seq "
        "where calls.id = ?"
    )
    row = db.execute(query, (id,)).fetchone()
    if row is None:
        return None
    state, has_ended, task, step, attempt, now_task, now_step, now_attempt, progress, seq = row
    if has_ended:
        return Status(cast(State, state), task or "", step or "", attempt or 0)
    signal: str | None = None
    until = None
    if state == "waiting":
        query = "select signal, due from onward_waits where call = ? order by rowid limit 1"
        found = db.execute(query, (seq,)).fetchone()
        signal, due = found or (None, None)  # it may end meanwhile
        until = None if due is None else moment(clock.to_epoch(due))
        query = "select task, path, name from onward_places where call = ? and begun is null"
        place = None if found is not None else db.execute(query, (seq,)).fetchone()
        if place is not None:
            return Status("waiting", place[0], place[1], now_attempt or 0, limit=place[2])
    return Status(
        state,
        now_task or "",
        now_step or "",
        now_attempt or 0,
        read_progress(progress),
        signal or "",
        until,
    )
