"""Connections of the caller's, whose transaction a call is submitted in.

Each library is imported only when a connection of its own is given.
"""

from __future__ import annotations

import inspect
import os
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar, cast

from onward.backends.sqlite.errors import PROBLEMS, Refused, fault_of
from onward.backends.sqlite.executes import Executes
from onward.fault import Fault, Misconfigured, Unavailable

T = TypeVar("T")

KINDS = (
    "a sqlite3 connection, an SQLAlchemy connection or session (sync or async), or a Django "
    "connection"
)


class Theirs(Executes, Protocol):
    """A caller's connection."""

    @property
    def in_transaction(self) -> bool:
        """Whether SQLite has a transaction open on it."""
        ...


class Connection(Protocol):
    """How to get a caller's connection when it is needed."""

    @property
    def is_awaited(self) -> bool:
        """Whether only a caller that awaits can use it."""
        ...

    async def use(self, work: Callable[[Theirs], T]) -> T:
        """Calls a function with the connection, and raises what that raises."""
        ...


def known(connection: object) -> Connection:
    """The access to such a connection; raises TypeError for a kind that none supports."""
    if isinstance(connection, sqlite3.Connection):
        return _Blocking(lambda: _Plain(connection))
    modules = {base.__module__ for base in type(connection).__mro__}
    libraries = {module.partition(".")[0] for module in modules}
    if "sqlalchemy" in libraries:
        return _alchemy(connection, modules)
    if "django" in libraries:
        return _django(connection)
    raise _refusal(connection)


def fault_of_theirs(problem: Exception, file: str, *, was_rolled_back: bool) -> Fault | None:
    """The fault that an exception of a caller's connection is; None for a mistake of ours.

    Args:
        problem: What was raised.
        file: The file, as people know it.
        was_rolled_back: Whether SQLite has ended the caller's transaction by it.
    """
    original = getattr(problem, "orig", None)
    if isinstance(original, Exception):  # SQLAlchemy's own text may show what was to be written
        problem = original
    if getattr(problem, "sqlite_errorname", None) == "SQLITE_BUSY_SNAPSHOT":
        fault: Fault = Unavailable(
            "",
            f"{file}: others have written to it since this transaction began by reading",
            'Roll it back and try again; if it is going to write, begin it with "begin immediate".',
        )
    elif isinstance(problem, (*PROBLEMS, Refused)):
        fault = fault_of(problem, file)
    elif type(problem).__module__.partition(".")[0] in ("django", "sqlalchemy"):
        name = type(problem).__name__
        fault = Misconfigured(
            "sqlite", f"{file}: the connection cannot be used ({name}): {problem}"
        )
    else:
        return None
    if was_rolled_back and isinstance(fault, Unavailable):
        said = f"{fault.message}; SQLite has rolled the transaction back"
        return Unavailable(fault.task, said, fault.advice)
    return fault


def refuse_other_file(theirs: Theirs, ours: os.PathLike[str]) -> None:
    """Raises `Refused` unless a connection is to that file."""
    rows = theirs.execute("pragma database_list").fetchall()
    [name] = [file for _, schema, file in rows if schema in ("main", b"main")]
    file = os.fsdecode(name or "")
    if file and _is_same(file, ours):
        return
    there = file or "a database in memory"
    raise Refused(
        Misconfigured(
            "sqlite",
            f"the connection is to {there}, and the backend to {os.path.abspath(ours)}: one "  # noqa: PTH100 - a path of the caller's, shown as it is
            "transaction cannot write to both: connect both to the same file",
        )
    )


def _is_same(one: str, other: os.PathLike[str]) -> bool:
    try:
        return os.path.samefile(one, other)  # noqa: PTH121 - neither is a Path
    except OSError:
        return False


# -- sqlite3 ---------------------------------------------------------------------------------------


class _Plain:
    """A connection of sqlite3's, whichever way its rows are made."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    @property
    def in_transaction(self) -> bool:
        return self._db.in_transaction

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> sqlite3.Cursor:
        return self._cursor().execute(sql, parameters)

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]], /) -> sqlite3.Cursor:
        return self._cursor().executemany(sql, rows)

    def _cursor(self) -> sqlite3.Cursor:
        cursor = sqlite3.Cursor(self._db)
        cursor.row_factory = None
        return cursor


class _Blocking:
    """A connection that is used in the caller's own thread, whether that blocks or awaits.

    Args:
        connect: Gives the connection.
    """

    is_awaited = False

    def __init__(self, connect: Callable[[], Theirs]) -> None:
        self._connect = connect

    async def use(self, work: Callable[[Theirs], T]) -> T:
        return work(self._connect())


# -- SQLAlchemy ------------------------------------------------------------------------------------


class _Statements:
    """A connection of SQLAlchemy's, which sees each statement."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @property
    def in_transaction(self) -> bool:
        return bool(self._connection.connection.driver_connection.in_transaction)

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Any:
        return self._connection.exec_driver_sql(sql, tuple(parameters))

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]], /) -> Any:
        return self._connection.exec_driver_sql(sql, rows)


def _statements(connection: Any) -> Theirs:
    name = connection.dialect.name
    if name != "sqlite":
        raise Refused(_other_database(f"{name} ({connection.engine.url!r})"))
    return _Statements(connection)


class _Awaited:
    """`AsyncConnection` and `AsyncSession`."""

    is_awaited = True

    def __init__(self, connection: Any, connect: Callable[[Any], Any]) -> None:
        self._connection = connection
        self._connect = connect

    async def use(self, work: Callable[[Theirs], T]) -> T:
        run_sync = cast(
            "Callable[[Callable[[Any], T]], Coroutine[Any, Any, T]]", self._connection.run_sync
        )
        return await run_sync(lambda sync: work(_statements(self._connect(sync))))


def _alchemy(connection: object, modules: set[str]) -> Connection:
    if any(module.startswith("sqlalchemy.ext.asyncio") for module in modules):
        from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session

        if isinstance(connection, async_scoped_session):
            connection = connection()
        if isinstance(connection, AsyncConnection):
            return _Awaited(connection, lambda sync: sync)
        if isinstance(connection, AsyncSession):
            return _Awaited(connection, lambda sync: sync.connection())
        raise _refusal(connection)
    from sqlalchemy import Connection as CoreConnection
    from sqlalchemy.orm import Session, scoped_session

    if isinstance(connection, scoped_session):
        connection = connection()
    if isinstance(connection, CoreConnection):
        return _Blocking(lambda: _statements(connection))
    if isinstance(connection, Session):
        return _Blocking(lambda: _statements(connection.connection()))
    raise _refusal(connection)


# -- Django ----------------------------------------------------------------------------------------


def _django(connection: Any) -> Connection:
    if inspect.isclass(connection) or not hasattr(connection, "ensure_connection"):
        raise _refusal(connection)
    return _Blocking(lambda: _of_django(connection))


def _of_django(connection: Any) -> Theirs:
    if connection.vendor != "sqlite":
        raise Refused(_other_database(f"{connection.vendor} ({connection.alias!r})"))
    connection.ensure_connection()
    connection.validate_thread_sharing()
    connection.validate_no_broken_transaction()
    return _Plain(connection.connection)


# -- what cannot be ----------------------------------------------------------------------------


def _other_database(name: str) -> Misconfigured:
    return Misconfigured(
        "sqlite",
        f"the connection is to {name}, which cannot have a transaction together with a file: give "
        "a connection to the backend's own file",
    )


def _refusal(connection: object) -> TypeError:
    return TypeError(f"within() takes {KINDS}, not {connection!r}")
