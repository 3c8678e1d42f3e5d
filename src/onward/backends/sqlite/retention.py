"""Deletes calls that were kept for long enough, or at once, and keeps the file from growing."""

from __future__ import annotations

import json
from collections.abc import Collection
from sqlite3 import Connection

from onward.backend.support import not_ended
from onward.backends.sqlite.errors import Reply
from onward.backends.sqlite.submit import drop_tags

_AT_ONCE = 500
"""How many entries of the log are looked at in one transaction."""

_FREE = 1024
"""How many pages may be unused before some go back to the file system."""

_OF_CALL = ("onward_steps", "onward_attempts", "onward_signals", "onward_waits")
"""The tables that have the number of a call in each row, besides the log."""

_SECURE = ("off", "on", "fast")
"""The settings of SQLite's `secure_delete`, by their number."""

_GIVEN_BACK = 1024
"""How many pages go back at once."""


def prune(db: Connection, before: float) -> bool:
    """Deletes calls that ended before a moment; gives whether there may be more of them.

    Args:
        db: A connection, in a transaction that writes.
        before: The moment, in the file's time.
    """
    query = "select seq, call, path, at from onward_log order by seq limit ?"
    looked = db.execute(query, (_AT_ONCE,)).fetchall()
    rows = [(seq, call, path) for seq, call, path, at in looked if at < before]
    _delete(db, {call for _, call, path in rows if path is None})
    db.executemany("delete from onward_log where seq = ?", [(seq,) for seq, _, _ in rows])
    return len(rows) == _AT_ONCE


def forget(db: Connection, id: str) -> Reply:
    """Deletes a call that has ended.

    Args:
        db: A connection, in a transaction that writes.
        id: The call's id.
    """
    query = "select seq, flow, state from onward_calls where id = ?"
    row = db.execute(query, (id,)).fetchone()
    if row is None:
        return Reply(is_known=False)
    seq, flow, state = row
    if state is None:
        return Reply(is_known=True, fault=not_ended(flow))
    [secure] = db.execute("pragma secure_delete").fetchone()
    db.execute("pragma secure_delete = on")  # its values are overwritten in the file
    try:
        _delete(db, [seq])
    finally:
        db.execute(f"pragma secure_delete = {_SECURE[secure]}")
    return Reply(is_known=True)


def _delete(db: Connection, calls: Collection[int]) -> None:
    """Deletes those of these calls that have ended, with all that is kept of them."""
    query = (
        "select seq, tags is not null from json_each(?) as wanted "
        "cross join onward_calls on seq = wanted.value where state is not null"
    )
    ended = db.execute(query, (json.dumps(list(calls)),)).fetchall()
    if not ended:
        return
    # No other call gets their numbers, by which others may still ask for them.
    db.execute(
        "update onward_numbers set last = max(last, (select max(seq) from onward_calls))",
    )
    for seq, has_tags in ended:
        if has_tags:
            drop_tags(db, seq)
    for table in _OF_CALL:
        db.executemany(f"delete from {table} where call = ?", [(seq,) for seq, _ in ended])
    db.executemany("delete from onward_calls where seq = ?", [(seq,) for seq, _ in ended])


def shrink(db: Connection) -> None:
    """Gives unused pages back to the file system, if there are many."""
    [free] = db.execute("pragma freelist_count").fetchone()
    if free > _FREE:
        db.execute(f"pragma incremental_vacuum({_GIVEN_BACK})").fetchall()
