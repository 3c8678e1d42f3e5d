"""`SqliteBackend`, which implements the port."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from returns.result import Failure, Result

from onward.backend.adapters import (
    BlockingCancels,
    BlockingDiagnoses,
    BlockingForgets,
    BlockingLists,
    BlockingMoves,
    BlockingReadsSchedules,
    BlockingSignals,
    BlockingSubmitsUnique,
)
from onward.backend.additions import additions_of, with_additions
from onward.backend.features import NOTHING
from onward.backends.sqlite import connections, lower
from onward.backends.sqlite.core import Core
from onward.backends.sqlite.drive import drive, drive_async
from onward.backends.sqlite.errors import PROBLEMS, Refused, fault_of
from onward.backends.sqlite.transaction import Inside, SqliteTransaction
from onward.fault import Fault
from onward.plan import Plan

T = TypeVar("T")


class SqliteBackend(
    BlockingCancels[Core],
    BlockingSignals[Core],
    BlockingReadsSchedules[Core],
    BlockingDiagnoses[Core],
    BlockingLists[Core],
    BlockingMoves[Core],
    BlockingForgets[Core],
    BlockingSubmitsUnique[Core],
):
    """What `sqlite()` gives.

    A caller that blocks does so in its own thread, and one that awaits on its own event loop.
    """

    lacks = NOTHING

    def __init__(self, core: Core) -> None:
        super().__init__(core, core.thread)
        self._core = core

    def __repr__(self) -> str:
        return f"sqlite({self._core.file.name!r})"

    def close(self) -> None:
        """Closes the connections. What was submitted stays in the file."""
        self._core.close()

    def explain(self, plan: Plan, /) -> str:
        """See `Explains.explain`."""
        return lower.explained(plan, self._core.queue)

    def within(self, connection: object, /) -> SqliteTransaction:
        """Submits in a transaction of your own, on the same file.

        What is submitted on it exists once you commit; after a rollback, none of it does. Outside a
        transaction, on a connection that commits each statement by itself, it is committed at
        once.

        Args:
            connection: A connection to the backend's file: one of `sqlite3`; a `Connection` or a
                `Session` of SQLAlchemy, or their awaitable twins with `onward.aio`; or one of
                Django's, such as `django.db.connection`.

        Returns:
            What `submit` and `submit_all` take as `on`. Ask the backend itself for outcomes.

        Raises:
            TypeError: If it is another kind of object.

        Example:
            >>> import sqlite3, tempfile
            >>> from onward import status, submit, task
            >>> from onward.backends.sqlite import sqlite
            >>> @task
            ... def ship(order: int) -> None: ...
            >>> folder = tempfile.TemporaryDirectory()
            >>> db = sqlite3.connect(f"{folder.name}/shop.db")
            >>> backend = sqlite(f"{folder.name}/shop.db")
            >>> with db:
            ...     db.execute("create table orders (id integer)")
            ...     db.execute("insert into orders values (7)")
            ...     ref = submit(ship(7), on=backend.within(db)).unwrap()
            <sqlite3.Cursor object at ...>
            <sqlite3.Cursor object at ...>
            >>> status(ref, on=backend).unwrap().state
            'queued'
            >>> backend.close(), db.close(), folder.cleanup()
            (None, None, None)
        """
        known = connections.known(connection)
        inside = Inside(self._core.file, self._core.queue, known)
        transaction = SqliteTransaction(inside, f"{self!r}.within({connection!r})")
        return with_additions(transaction, additions_of(self))

    def _wait(self, start: Callable[[], Coroutine[Any, Any, Result[T, Fault]]]) -> Result[T, Fault]:
        self._thread = self._core.thread
        if self._thread.is_this_thread():
            return super()._wait(start)  # which says why that cannot be
        try:
            return drive(start)
        except (*PROBLEMS, Refused) as problem:
            return Failure(fault_of(problem, str(self._core.file.path)))

    async def _await(
        self, start: Callable[[], Coroutine[Any, Any, Result[T, Fault]]]
    ) -> Result[T, Fault]:
        try:
            return await drive_async(start)
        except (*PROBLEMS, Refused) as problem:
            return Failure(fault_of(problem, str(self._core.file.path)))
