"""Connections to a file."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from pathlib import Path

from onward.backends.sqlite import filesystem, schema
from onward.backends.sqlite.clock import Clock, read_clock, start_clock
from onward.backends.sqlite.errors import Refused, is_locked
from onward.fault import Misconfigured

_OLDEST = (3, 35, 0)
"""The first SQLite that has RETURNING."""

_WAL_LIMIT = 64 * 1024 * 1024
"""The size to which a larger -wal file is cut, in bytes."""

_WAL_PAGES = 4000
"""How many pages the -wal file gathers before they are copied into the file: 16 MB."""

_CACHE = 16_000
"""The most that a connection caches of the file in memory, in KiB."""

_READ_TIMEOUT = 5.0
"""How long a read waits for a locked file, in seconds. In WAL mode that hardly ever happens."""

_PAUSE = 0.0005
_LONGEST_PAUSE = 0.01
"""How long a write waits until it tries to lock the file again, in seconds."""


class File:
    """A SQLite file, and how it is opened.

    Args:
        path: Where it is.
        synchronous: What SQLite's pragma of that name is set to.
        busy_timeout: How long a write waits for a file that is locked, in seconds.
    """

    def __init__(self, path: Path, synchronous: str, busy_timeout: float) -> None:
        self.name: str = str(path)
        """The path as it was given."""
        self.path: Path = path.absolute()  # whichever folder the program goes to
        self.synchronous = synchronous
        self.busy_timeout = busy_timeout
        self._clock: Clock | None = None
        self._gone: set[tuple[int, int]] = set()
        self.identity: tuple[int, int] | None = None
        """The file that was opened last; another one may replace it."""

    @property
    def clock(self) -> Clock:
        """The time in the file; known once it was opened."""
        assert self._clock is not None  # nothing asks for the time before it has a connection
        return self._clock

    def prepare(self) -> Clock:
        """Creates missing tables, and returns the file's time. Raises as `open` does."""
        if self._clock is None:
            self.open().db.close()
        return self.clock

    def is_first_to_miss(self, opened: Opened) -> bool:
        """Whether no other connection of this process has found this file gone."""
        is_first = opened.identity not in self._gone
        self._gone.add(opened.identity)
        return is_first

    def open(self) -> Opened:
        """A connection to the file, whose tables are there; raises one of `PROBLEMS`."""
        if sqlite3.sqlite_version_info < _OLDEST:
            raise Refused(
                Misconfigured(
                    "sqlite",
                    f"Python here has SQLite {sqlite3.sqlite_version}: use one with 3.35 or later",
                )
            )
        filesystem.refuse_network(self.path)
        filesystem.create(self.path)
        db = sqlite3.connect(
            self.path,
            timeout=_READ_TIMEOUT,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            self._prepare(db)
            opened = Opened(db, self.path)
            self._gone.discard(opened.identity)  # it was put back
            self.identity = opened.identity
            return opened
        except BaseException:
            db.close()
            raise

    def _prepare(self, db: sqlite3.Connection) -> None:
        is_new = not db.execute("pragma page_count").fetchone()[0]
        if is_new:
            db.execute("pragma auto_vacuum = incremental")
        [mode] = db.execute("pragma journal_mode = wal").fetchone()
        if mode != "wal":
            raise Refused(
                Misconfigured(
                    "sqlite",
                    f"{self.path}: its file system has no shared memory, which write-ahead logging "
                    "needs: use a disk of this machine",
                )
            )
        db.execute(f"pragma synchronous = {self.synchronous}")
        db.execute(f"pragma journal_size_limit = {_WAL_LIMIT}")
        db.execute(f"pragma wal_autocheckpoint = {_WAL_PAGES}")
        db.execute(f"pragma cache_size = {-_CACHE}")
        version = schema.version_of(db)
        schema.refuse_newer(version)
        clock = read_clock(db) if version == schema.VERSION else None
        if clock is None:
            begin(db, _READ_TIMEOUT)
            try:
                schema.migrate(db)
                start_clock(db)
                db.execute("commit")
            except BaseException:
                rollback(db)
                raise
            clock = read_clock(db)
        self._clock = clock


class Opened:
    """A connection, and which file it is to.

    Args:
        db: The connection.
        path: The path that it was opened by.
    """

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self.db = db
        self._path = path
        self.identity: tuple[int, int] = filesystem.identity(path)

    def check(self) -> None:
        """Raises `Refused` if the file is no longer the one that was opened."""
        if filesystem.identity(self._path) != self.identity:
            raise Refused(filesystem.gone(self._path))


def begin(db: sqlite3.Connection, patience: float) -> None:
    """Begins a writing transaction, once nobody else is in one.

    SQLite's own way of waiting has pauses of up to 100 ms, in which others go first.

    Args:
        db: The connection.
        patience: How long to wait at most, in seconds.

    Raises:
        sqlite3.OperationalError: If others had the file locked all the time.
    """
    end, pause, rest = time.monotonic() + patience, _PAUSE, threading.Event()
    db.execute("pragma busy_timeout = 0")
    while True:
        try:
            db.execute("begin immediate")
        except sqlite3.OperationalError as problem:
            if not is_locked(problem) or time.monotonic() >= end:
                raise
        else:
            return
        rest.wait(pause * (0.5 + random.random()))
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def rollback(db: sqlite3.Connection) -> None:
    """Rolls back the connection's transaction, if it is in one."""
    if db.in_transaction:
        db.execute("rollback")
