"""Submitting in a transaction of the caller's: what the caller rolls back was never submitted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from returns.result import Failure, Result, Success

from onward.backend import Submission
from onward.backend.adapters import BlockingSubmitsUnique
from onward.backend.features import NOTHING
from onward.backends.sqlite import connections, schema, submit
from onward.backends.sqlite.client import File
from onward.backends.sqlite.clock import Clock, read_clock, start_clock
from onward.backends.sqlite.connections import Connection, Theirs
from onward.backends.sqlite.errors import Refused, fault_of
from onward.backends.sqlite.executes import Executes
from onward.backends.sqlite.unique import put_unique
from onward.coroutines import drive
from onward.fault import Fault, Misconfigured

T = TypeVar("T")

_BEGIN = "delete from onward_log where seq < 0"
"""Deletes nothing, but has Python begin a transaction, where it does so before a write."""


class SqliteTransaction(BlockingSubmitsUnique["Inside"]):
    """What `SqliteBackend.within` gives: submits in the transaction of a connection."""

    lacks = NOTHING

    def __init__(self, core: Inside, shown: str) -> None:
        super().__init__(core)
        self._shown = shown

    def __repr__(self) -> str:
        return self._shown

    def _wait(self, start: Callable[[], Coroutine[Any, Any, Result[T, Fault]]]) -> Result[T, Fault]:
        if self._core.is_awaited:
            return Failure(
                Misconfigured("sqlite", "this connection is awaited: await the same of onward.aio")
            )
        return drive(start())

    async def _await(
        self, start: Callable[[], Coroutine[Any, Any, Result[T, Fault]]]
    ) -> Result[T, Fault]:
        return await start()


class Inside:
    """Writes calls down by a connection of the caller's.

    Args:
        file: The backend's file.
        queue: The queue of steps that name none.
        connection: The caller's.
    """

    def __init__(self, file: File, queue: str, connection: Connection) -> None:
        self._file = file
        self._queue = queue
        self._connection = connection

    @property
    def is_awaited(self) -> bool:
        """Whether only a caller that awaits can use the connection."""
        return self._connection.is_awaited

    async def submit(self, submission: Submission, /) -> Result[str, Fault]:
        """See `AsyncSubmits.submit`."""
        return (await self.submit_all([submission])).map(lambda ids: ids[0])

    async def submit_all(self, submissions: Iterable[Submission], /) -> Result[list[str], Fault]:
        """See `AsyncSubmits.submit_all`."""

        def put(db: Executes, clock: Clock) -> list[str]:
            submit.put(db, calls, clock)
            return [call.id for call in calls]

        try:
            calls = submit.calls_of(submissions, self._queue)
        except Refused as problem:
            return Failure(fault_of(problem, str(self._file.path)))
        return await self._write(put)

    async def submit_unique(self, submission: Submission, /) -> Result[str, Fault]:
        """See `AsyncSubmitsUnique.submit_unique`."""
        return await self._write(lambda db, clock: put_unique(db, submission, self._queue, clock))

    async def _write(self, write: Callable[[Executes, Clock], T]) -> Result[T, Fault]:
        was_rolled_back = False

        def within(theirs: Theirs) -> T:
            nonlocal was_rolled_back
            connections.refuse_other_file(theirs, self._file.path)
            is_open = theirs.in_transaction
            try:
                return _written(theirs, self._file, write)
            except BaseException:
                was_rolled_back = is_open and not theirs.in_transaction
                raise

        try:
            return Success(await self._connection.use(within))
        except Exception as problem:
            fault = connections.fault_of_theirs(
                problem, str(self._file.path), was_rolled_back=was_rolled_back
            )
            if fault is None:
                raise
            return Failure(fault)


def _written(theirs: Theirs, file: File, write: Callable[[Executes, Clock], T]) -> T:
    """Writes all or nothing, without ending the caller's transaction.

    Where the caller has none open, and Python begins none before a write, they are committed.
    """
    is_open = theirs.in_transaction
    if not is_open:
        file.prepare()
        theirs.execute(_BEGIN)
    is_own = not theirs.in_transaction
    theirs.execute("begin immediate" if is_own else "savepoint onward")
    try:
        written = write(theirs, _prepared(theirs))
        theirs.execute("commit" if is_own else "release onward")
    except BaseException:
        if theirs.in_transaction:  # SQLite may have ended it
            with contextlib.suppress(Exception):  # what is raised is why it failed at first
                _undo(theirs, is_whole=not is_open)
        raise
    return written


def _undo(theirs: Theirs, *, is_whole: bool) -> None:
    if is_whole:
        theirs.execute("rollback")
    else:
        theirs.execute("rollback to onward")
        theirs.execute("release onward")


def _prepared(theirs: Theirs) -> Clock:
    """Sees to the tables by the caller's connection, which may have the file locked for ours."""
    version = schema.version_of(theirs)
    schema.refuse_newer(version)
    clock = read_clock(theirs) if version == schema.VERSION else None
    if clock is None:
        schema.migrate(theirs)
        start_clock(theirs)
        clock = read_clock(theirs)
    assert clock is not None  # it was just written
    return clock
