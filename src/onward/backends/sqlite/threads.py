"""The threads that write to a file and read from it.

All writes of a process go through one thread, which commits many of them together: a commit waits
for the disk, and costs the same for one write as for a hundred.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeAlias, TypeVar

from onward.backend.loop import Closed
from onward.backends.sqlite.client import File, Opened, begin, rollback
from onward.backends.sqlite.errors import Refused, is_locked
from onward.fault import CLOSED

T = TypeVar("T")
Work: TypeAlias = Callable[[sqlite3.Connection], T]
"""What is done with a connection. It may be done again, if it was rolled back."""

_AT_ONCE = 500
"""How many writes are committed together at most."""

_LOGGER = logging.getLogger("onward.sqlite")


class _Item:
    """Something to do, and who waits for what comes of it."""

    __slots__ = ("future", "is_durable", "loop", "waiter", "work")

    def __init__(self, work: Work[Any], *, is_durable: bool) -> None:
        self.work = work
        self.is_durable = is_durable
        self.future: Future[Any] | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.waiter: asyncio.Future[Any] | None = None


_Queue: TypeAlias = "queue.SimpleQueue[list[_Item] | None]"
_Answers: TypeAlias = list[tuple[_Item, object, BaseException | None]]


class DatabaseThread:
    """A thread with a connection, which does one thing after the other.

    Args:
        file: The file.
        name: What the thread goes by.
        writes: Whether it is for writes, or for reads.
    """

    def __init__(self, file: File, name: str, *, writes: bool) -> None:
        self._file = file
        self._name = name
        self._writes = writes
        self._queue: _Queue = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._gathered: list[_Item] = []

    def do(self, work: Work[T], *, is_durable: bool = True) -> Future[T]:
        """Has something done; the future has what comes of it, once it is committed.

        Args:
            work: What is done.
            is_durable: Whether it must survive a power failure. Who holds what need not: then
                nobody holds it.
        """
        item = _Item(work, is_durable=is_durable)
        future: Future[T] = Future()
        item.future = future
        self._put([item])
        return future

    async def on_loop(self, work: Work[T], *, is_durable: bool = True) -> T:
        """The same, for the worker's event loop.

        What is asked in one turn of the loop is handed over together; many answers wake it once.
        """
        item = _Item(work, is_durable=is_durable)
        item.loop = asyncio.get_running_loop()
        waiter: asyncio.Future[T] = item.loop.create_future()
        item.waiter = waiter
        if not self._gathered:
            item.loop.call_soon(self._put_gathered)
        self._gathered.append(item)
        return await waiter

    def _put_gathered(self) -> None:
        items, self._gathered = self._gathered, []
        try:
            self._put(items)
        except Closed as problem:
            _settle_waiters([(item, None, problem) for item in items])

    def close(self) -> None:
        """Ends the thread, after what it was given before."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            thread = self._thread
            self._queue.put(None)
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5)

    def _put(self, items: list[_Item]) -> None:
        with self._lock:
            if self._is_closed:
                raise Closed(CLOSED)
            self._queue.put(items)
            if self._thread is None:
                run = _run_writes if self._writes else _run_reads
                # It must not hold this object, or nobody would ever end it.
                self._thread = threading.Thread(
                    target=run, args=(self._file, self._queue), name=self._name, daemon=True
                )
                self._thread.start()
                weakref.finalize(self, self._queue.put, None)


def _run_writes(file: File, items: _Queue) -> None:
    connection = _Connection(file)
    is_over = False
    while not is_over:
        batch, is_over = _next_batch(items)
        if not batch:
            break
        _settle(_committed(connection, batch, file.busy_timeout))
        del batch  # what is to be done may hold the thread
    connection.drop()


def _next_batch(items: _Queue) -> tuple[list[_Item], bool]:
    batch: list[_Item] = []
    while len(batch) < _AT_ONCE:
        try:
            some = items.get(block=not batch)
        except queue.Empty:
            break
        if some is None:
            return batch, True
        batch += filter(_is_wanted, some)
    return batch, False


def _committed(connection: _Connection, batch: list[_Item], patience: float) -> _Answers:
    """Does all of them in one transaction; each by itself, if one of them fails."""
    try:
        return _together(connection, batch, patience)
    except BaseException as problem:
        connection.failed(problem)
        if len(batch) == 1 or is_locked(problem) or isinstance(problem, Refused):
            return [(item, None, problem) for item in batch]
    answers: _Answers = []
    for item in batch:
        try:
            answers += _together(connection, [item], patience)
        except BaseException as problem:
            connection.failed(problem)
            answers.append((item, None, problem))
    return answers


def _together(connection: _Connection, batch: list[_Item], patience: float) -> _Answers:
    db = connection.checked()
    connection.make_durable(is_durable=any(item.is_durable for item in batch))
    begin(db, patience)
    try:
        answers: _Answers = [(item, item.work(db), None) for item in batch]
        db.execute("commit")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            rollback(db)
        raise
    return answers


def _run_reads(file: File, items: _Queue) -> None:
    connection = _Connection(file)
    while (some := items.get()) is not None:
        answers: _Answers = []
        for item in filter(_is_wanted, some):
            try:
                answers.append((item, item.work(connection.checked()), None))
            except BaseException as problem:
                connection.failed(problem)
                answers.append((item, None, problem))
        _settle(answers)
        del some, answers  # what is to be done may hold the thread
    connection.drop()


def _is_wanted(item: _Item) -> bool:
    """Whether somebody still waits for it; nobody can give it up from now on."""
    if item.waiter is not None:
        return True
    return item.future is not None and item.future.set_running_or_notify_cancel()


def _settle(answers: _Answers) -> None:
    loops: dict[asyncio.AbstractEventLoop, _Answers] = {}
    for item, value, problem in answers:
        if item.loop is not None:
            loops.setdefault(item.loop, []).append((item, value, problem))
        elif item.future is not None:
            if problem is None:
                item.future.set_result(value)
            else:
                item.future.set_exception(problem)
    for loop, some in loops.items():
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(_settle_waiters, some)


def _settle_waiters(answers: _Answers) -> None:
    for item, value, problem in answers:
        waiter = item.waiter
        if waiter is None or waiter.done():
            continue
        if problem is None:
            waiter.set_result(value)
        else:
            waiter.set_exception(problem)


class _Connection:
    """A connection that is opened when it is needed, and again after it failed."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._opened: Opened | None = None
        self._is_durable = True

    def checked(self) -> sqlite3.Connection:
        """The connection; raises one of `PROBLEMS`, or `Refused`."""
        if self._opened is None:
            self._opened = self._file.open()
            self._is_durable = True
        else:
            try:
                self._opened.check()
            except Refused as gone:
                # One answer says so. Whoever submits again gets its outcome from the new file.
                if self._file.is_first_to_miss(self._opened):
                    _LOGGER.error("%s", gone.fault)  # noqa: TRY400 - a traceback tells nothing more
                    raise
                self.drop()
                self._opened = self._file.open()
        return self._opened.db

    def make_durable(self, *, is_durable: bool) -> None:
        """Has commits wait for the disk, or not; only if the file is used so at all."""
        if self._opened is not None and is_durable != self._is_durable:
            self._opened.db.execute(
                f"pragma synchronous = {self._file.synchronous if is_durable else 'normal'}"
            )
            self._is_durable = is_durable

    def failed(self, problem: BaseException) -> None:
        """Opens it again next time, unless the file is only locked."""
        if not is_locked(problem):
            self.drop()

    def drop(self) -> None:
        """Closes it."""
        opened, self._opened = self._opened, None
        if opened is not None:
            with contextlib.suppress(sqlite3.Error):
                opened.db.close()
