"""Forgets calls that were kept for long enough, and keeps the file from growing."""

from __future__ import annotations

from sqlite3 import Connection

_AT_ONCE = 500
"""How many entries of the log are looked at in one transaction."""

_FREE = 1024
"""How many pages may be unused before some go back to the file system."""

_GIVEN_BACK = 1024
"""How many pages go back at once."""


def prune(db: Connection, before: float) -> bool:
    """Forgets calls that ended before a moment; gives whether there may be more of them.

    Args:
        db: A connection, in a transaction that writes.
        before: The moment, in the file's time.
    """
    query = "select seq, call, path, at from onward_log order by seq limit ?"
    looked = db.execute(query, (_AT_ONCE,)).fetchall()
    rows = [(seq, call, path) for seq, call, path, at in looked if at < before]
    calls = [(call,) for _, call, path in rows if path is None]
    db.executemany("delete from onward_steps where call = ?", calls)
    db.executemany("delete from onward_signals where call = ?", calls)
    db.executemany("delete from onward_calls where seq = ? and state is not null", calls)
    db.executemany("delete from onward_log where seq = ?", [(seq,) for seq, _, _ in rows])
    return len(rows) == _AT_ONCE


def shrink(db: Connection) -> None:
    """Gives unused pages back to the file system, if there are many."""
    [free] = db.execute("pragma freelist_count").fetchone()
    if free > _FREE:
        db.execute(f"pragma incremental_vacuum({_GIVEN_BACK})").fetchall()
