"""Tells who waits that something has happened in the file.

SQLite calls nobody. But `PRAGMA data_version` says whether others have committed since it was asked
last, for a few microseconds. One thread of a process asks, while anybody waits, and reads from the
log what has ended.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import NamedTuple, TypeAlias

from onward.backends.sqlite.client import File, Opened
from onward.backends.sqlite.errors import PROBLEMS, Refused

_CALM, _LONGEST_PAUSE = 5.0, 0.04
_PAUSES = ((0.03, 0.0005), (0.2, 0.001), (2.0, 0.005), (_CALM, 0.012))
"""How long it is from one look to the next, by how long nothing has happened, in seconds."""

_UNNEEDED = 0.005
"""How long it is where nobody waits for what would be found, in seconds."""

_CHECK = 0.5
"""How often it is seen to that the file is still the same, in seconds."""

_AGAIN = 1.0
"""How long it is until a file that could not be read is looked at again, in seconds."""

_LINGER = 1.0
"""How long it keeps its place in the log when nobody listens, in seconds."""

_PAGE = 1000
"""How many entries of the log are read at once."""

_LATEST = "select coalesce(max(seq), 0) from sqlite_sequence where name = 'onward_log'"

_LOGGER = logging.getLogger("onward.sqlite")


class Changes(NamedTuple):
    """What has happened.

    Args:
        ended: The calls that have ended, by their `seq`.
        delegated: The delegated steps that have an outcome: the call's `seq`, and the path.
        is_gap: Whether some may be missing, so that all must be looked at.
    """

    ended: frozenset[int]
    delegated: tuple[tuple[int, str], ...]
    is_gap: bool


Listener: TypeAlias = Callable[[Changes], None]


class Wakeup:
    """Looks for changes, on a thread that starts when somebody waits for some.

    Args:
        file: The file.
    """

    def __init__(self, file: File) -> None:
        self._watch = _Watch(file)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def ended(self, calls: Iterable[int]) -> Future[None]:
        """Is set once one of these calls ends; or soon for nothing, if the file is not read.

        Who asks looks at them once more afterwards, because one may have ended before.
        """
        future: Future[None] = Future()
        wanted = set(calls)

        def listen(changes: Changes) -> None:
            if (changes.is_gap or not wanted.isdisjoint(changes.ended)) and not future.done():
                future.set_result(None)

        self.listen(listen)
        watch = self._watch  # the future must not hold this object
        future.add_done_callback(lambda _: watch.remove(listen))
        return future

    def listen(self, listener: Listener) -> None:
        """Has a function called with all changes from now on, on some thread; it must not block."""
        with self._lock:
            if self._thread is None:
                # It must not hold this object, or nobody would ever end it.
                self._thread = threading.Thread(
                    target=self._watch.run, name="onward-sqlite-wakeup", daemon=True
                )
                self._thread.start()
                weakref.finalize(self, _close, self._watch, os.getpid())
        self._watch.add(listener)

    def leave(self, listener: Listener) -> None:
        """Calls it no more."""
        self._watch.remove(listener)

    @property
    def is_unneeded(self) -> bool:
        """Whether looks need not follow fast: a worker has all that it can take."""
        return self._watch.is_unneeded

    @is_unneeded.setter
    def is_unneeded(self, value: bool) -> None:
        self._watch.is_unneeded = value

    def hurry(self) -> None:
        """Has looks follow fast for a moment, as something is about to happen."""
        self._watch.hurry()

    def close(self) -> None:
        """Ends the thread; wakes all who wait."""
        self._watch.close()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5)


class _Watch:
    """What the thread does."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._changed = threading.Condition()
        self._listeners: list[Listener] = []
        self._is_closed = False
        self._closing = threading.Lock()
        self._closing.acquire()
        self._opened: Opened | None = None
        self._cursor: sqlite3.Cursor | None = None
        self._checked = 0.0
        self._version = -1
        self._last = -1
        self._latest = 0.0
        self.is_unneeded = False

    def add(self, listener: Listener) -> None:
        with self._changed:
            if self._is_closed:
                listener(Changes(frozenset(), (), is_gap=True))
                return
            self._listeners.append(listener)
            self._latest = time.monotonic()
            self._changed.notify()

    def remove(self, listener: Listener) -> None:
        with self._changed, contextlib.suppress(ValueError):
            self._listeners.remove(listener)

    def hurry(self) -> None:
        self._latest = time.monotonic()

    def close(self) -> None:
        with self._changed:
            if not self._is_closed:
                self._closing.release()
            self._is_closed = True
            listeners = list(self._listeners)
            self._changed.notify()
        for listener in listeners:
            listener(Changes(frozenset(), (), is_gap=True))

    def run(self) -> None:
        while True:
            if not self._listeners:  # many times a second, and even this lock takes time
                self._wait_for_listeners()
            if self._is_closed:
                break
            now = time.monotonic()
            try:
                changes = self._look(now)
            except (*PROBLEMS, Refused) as problem:
                _LOGGER.debug("the file could not be looked at", exc_info=problem)
                self._drop()
                self._tell(Changes(frozenset(), (), is_gap=True))
                self._rest(_AGAIN)
                continue
            if changes is not None:
                if changes.ended or changes.delegated:  # workers also renew their leases
                    self._latest = now
                self._tell(changes)
            pause = _pause(now - self._latest)
            self._rest(max(pause, _UNNEEDED) if self.is_unneeded else pause)
        self._drop()

    def _rest(self, seconds: float) -> None:
        if seconds == _LONGEST_PAUSE:
            time.sleep(seconds)  # the cheapest wait there is, but `close` must wait for its end
        elif self._closing.acquire(timeout=seconds):
            self._closing.release()

    def _wait_for_listeners(self) -> None:
        with self._changed:
            if not self._changed.wait_for(self._is_needed, _LINGER):
                self._last = -1  # nobody listens meanwhile
                self._changed.wait_for(self._is_needed)

    def _is_needed(self) -> bool:
        return bool(self._listeners) or self._is_closed

    def _tell(self, changes: Changes) -> None:
        with self._changed:
            listeners = list(self._listeners)
        for listener in listeners:
            listener(changes)

    def _look(self, now: float) -> Changes | None:
        if self._opened is None or self._cursor is None:
            self._opened = self._file.open()
            self._cursor = self._opened.db.cursor()
            self._checked, self._version, self._last = now, -1, -1
        elif now - self._checked >= _CHECK:
            self._opened.check()
            self._checked = now
        [version] = self._cursor.execute("pragma data_version").fetchone()
        if version == self._version and self._last >= 0:
            return None
        self._version = version
        return self._read(self._opened.db)

    def _read(self, db: sqlite3.Connection) -> Changes:
        if self._last < 0:
            [self._last] = db.execute(_LATEST).fetchone()
            return Changes(frozenset(), (), is_gap=True)
        [latest] = db.execute(_LATEST).fetchone()
        ended: set[int] = set()
        delegated: list[tuple[int, str]] = []
        expected, is_gap = self._last + 1, False
        while True:
            query = "select seq, call, path from onward_log where seq > ? order by seq limit ?"
            rows = db.execute(query, (self._last, _PAGE)).fetchall()
            for seq, call, path in rows:
                is_gap = is_gap or seq != expected
                expected = seq + 1
                if path is None:
                    ended.add(call)
                else:
                    delegated.append((call, path))
            if rows:
                self._last = rows[-1][0]
            if len(rows) < _PAGE:
                break
        if self._last < latest:  # the last ones are forgotten already
            self._last, is_gap = latest, True
        return Changes(frozenset(ended), tuple(delegated), is_gap)

    def _drop(self) -> None:
        opened, self._opened, self._cursor = self._opened, None, None
        if opened is not None:
            with contextlib.suppress(sqlite3.Error):
                opened.db.close()


def _close(watch: _Watch, process: int) -> None:
    if process == os.getpid():  # a fork lacks the thread, and nobody may ever release its lock
        watch.close()


def _pause(calm: float) -> float:
    """How long to wait until the next look, where nothing has happened for so long."""
    if calm >= _CALM:
        return _LONGEST_PAUSE
    return next(pause for limit, pause in _PAUSES if calm < limit)
