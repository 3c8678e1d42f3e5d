"""Submitting in a transaction of the caller's, where the engine itself has none: an outbox.

A call is written to a table of the caller's database, in the caller's transaction. A relay submits
what was committed, and deletes it. It may submit a call again, if it is killed in between; a call's
id is fixed when it is written, so the engine starts it once.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import groupby
from typing import Any, NamedTuple, Protocol

from returns.result import Failure, Result, Success

from onward import plan as plans
from onward.backend import Backend, Submission
from onward.backend.additions import additions_of, with_additions
from onward.backend.features import LACKED_BY_DEFAULT, Feature
from onward.fault import Fault, Unavailable, Unsupported

__all__ = ["Outbox"]

_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?")
_AT_ONCE = 200
"""How many calls are submitted together."""

_LOGGER = logging.getLogger("onward.outbox")


class _Executes(Protocol):
    """Runs a statement with named parameters, and gives the rows of a query."""

    def __call__(self, statement: str, **values: object) -> Sequence[Sequence[Any]]: ...


class _Row(NamedTuple):
    id: str
    due: float
    plan: str


class Outbox:
    """Calls that wait in a table until they are submitted.

    Args:
        backend: The backend that they are submitted on.
        table: The name of the table, which `create` makes.

    Raises:
        ValueError: If the name is not that of a table.

    Example:
        >>> import sqlite3
        >>> from onward import Catalog, local, result, submit, task
        >>> from onward.outbox import Outbox
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> db = sqlite3.connect(":memory:")
        >>> outbox = Outbox(backend := local())
        >>> outbox.create(db)
        >>> worker = backend.serve(Catalog(double)).unwrap()
        >>> with db:  # the transaction
        ...     ref = submit(double(21), on=outbox.within(db)).unwrap()
        >>> outbox.relay(db).unwrap()
        1
        >>> result(ref, on=backend)
        <Success: 42>
        >>> worker.stop()
        >>> db.close()
    """

    def __init__(self, backend: Backend, table: str = "onward_outbox") -> None:
        if not _TABLE.fullmatch(table):
            raise ValueError(f"a table's name has letters, digits and _, not {table!r}")
        self._backend = backend
        self._table = table

    def __repr__(self) -> str:
        return f"Outbox({self._backend!r})"

    def create(self, connection: object) -> None:
        """Creates the table, if it is not there; a migration of yours may do the same.

        Args:
            connection: As for `within`. It is not committed.
        """
        _executing(connection)(
            f"create table if not exists {self._table} (id varchar(255) not null, "
            "due double precision not null, written double precision not null, plan text not null)"
        )

    def within(self, connection: object) -> OutboxTransaction:
        """Returns what `submit` and `submit_all` take as `on`, in the transaction of a connection.

        A call that is submitted on it is in the outbox once the transaction commits; after a
        rollback it is not. Its ref is known to the engine once it was relayed.

        Args:
            connection: A `Connection` or a `Session` of SQLAlchemy; one of Django's, such as
                `django.db.connection`; or one of `sqlite3`, `psycopg` or another such library.

        Raises:
            TypeError: If it is no connection of a kind that the outbox knows.
        """
        lacks = getattr(self._backend, "lacks", LACKED_BY_DEFAULT)
        transaction = OutboxTransaction(_executing(connection), self._table, lacks, repr(self))
        return with_additions(transaction, additions_of(self._backend))

    def relay(self, connection: object) -> Result[int, Fault]:
        """Submits the calls that are in the outbox, and deletes them from it.

        Several relays may run at the same time.

        Args:
            connection: As for `within`. It is not committed: what you roll back is submitted again,
                and starts nothing.

        Returns:
            How many were submitted; or a fault of one that was not, which stays in the outbox. If
            the engine refuses a call, all others are submitted first.
        """
        execute, count = _executing(connection), 0
        refused: dict[str, Fault] = {}
        while rows := self._waiting(execute, refused):
            for due, some in groupby(rows, key=lambda row: row.due):
                group = list(some)
                if isinstance(self._submit(group, due), Failure):  # one of them may be the reason
                    for row in group:
                        submitted = self._submit([row], due)
                        if isinstance(submitted, Failure):
                            fault = submitted.failure()
                            if isinstance(fault, Unavailable):
                                return Failure(fault)
                            refused[row.id] = fault
                done = [row.id for row in group if row.id not in refused]
                for id in done:
                    execute(f"delete from {self._table} where id = :id", id=id)
                count += len(done)
        for id in refused:  # they must not be in the way of others
            execute(f"update {self._table} set written = :at where id = :id", at=time.time(), id=id)
        for fault in refused.values():
            return Failure(fault)
        return Success(count)

    def _waiting(self, execute: _Executes, refused: Collection[str]) -> list[_Row]:
        rows = execute(
            f"select id, due, plan from {self._table} order by written limit :most",
            most=_AT_ONCE + len(refused),
        )
        known = (_Row(str(id), float(due), str(plan)) for id, due, plan in rows)
        return [row for row in known if row.id not in refused]

    def _submit(self, rows: Sequence[_Row], due: float) -> Result[list[str], Fault]:
        delay = max(0.0, due - time.time())
        submissions: list[Submission] = []
        for row in rows:
            plan = plans.decode(row.plan.encode())
            if isinstance(plan, Failure):
                return Failure(plan.failure())
            submissions.append(Submission(plan.unwrap(), delay))
        return self._backend.submit_all(submissions)

    @contextmanager
    def relaying(
        self, connect: Callable[[], AbstractContextManager[object]], every: float = 1.0
    ) -> Generator[None]:
        """Relays on a thread while this is entered, as beside a worker or a web server.

        An error of the database or the engine is logged, and tried again.

        Args:
            connect: Begins a transaction that is committed at the end, and gives its connection:
                `engine.begin` of SQLAlchemy, or `django.db.transaction.atomic` in a function that
                gives the connection.
            every: How often it looks, in seconds.
        """
        stopped = threading.Event()
        thread = threading.Thread(
            target=self._run, args=(connect, every, stopped), name="onward-outbox", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()

    def _run(
        self,
        connect: Callable[[], AbstractContextManager[object]],
        every: float,
        stopped: threading.Event,
    ) -> None:
        while not stopped.wait(every):
            try:
                with connect() as connection:
                    relayed = self.relay(connection)
            except Exception:
                _LOGGER.exception("the outbox cannot be read")
                continue
            if isinstance(relayed, Failure):
                _LOGGER.warning("the outbox waits: %s", relayed.failure())


class OutboxTransaction:
    """What `Outbox.within` gives: submits in the transaction of a connection."""

    def __init__(
        self, execute: _Executes, table: str, lacks: Mapping[Feature, str], shown: str
    ) -> None:
        self.lacks = lacks
        self._execute = execute
        self._table = table
        self._shown = shown

    def __repr__(self) -> str:
        return self._shown

    def submit(self, submission: Submission, /) -> Result[str, Fault]:
        """See `Submits.submit`."""
        return self.submit_all([submission]).map(lambda ids: ids[0])

    def submit_all(self, submissions: Iterable[Submission], /) -> Result[list[str], Fault]:
        """See `Submits.submit_all`."""
        ids: list[str] = []
        for submission in submissions:
            plan, now = submission.plan, time.time()
            if submission.unique is not None:
                why = "an outbox cannot know which calls are open: leave unique and debounce out"
                return Failure(Unsupported(plan.flow, why))
            try:
                self._execute(
                    f"insert into {self._table} (id, due, written, plan) "
                    "values (:id, :due, :written, :plan)",
                    id=plan.id,
                    due=now + submission.delay if submission.delay else 0.0,
                    written=now,
                    plan=plans.encode(plan).decode(),
                )
            except Exception as problem:
                why = f"the outbox cannot be written ({type(problem).__name__})"
                cure = f"Create the table with Outbox.create, and look at the database: {problem}"
                return Failure(Unavailable(plan.flow, why, cure))
            ids.append(plan.id)
        return Success(ids)


_NAMED = re.compile(r":(\w+)")


def _executing(connection: Any) -> _Executes:
    """What runs statements on a connection, by the kind of library that it is of."""
    library = type(connection).__module__.partition(".")[0]
    if library == "sqlalchemy" and callable(getattr(connection, "execute", None)):
        if "async" in type(connection).__name__.lower():
            raise TypeError("this connection is awaited: use it in await connection.run_sync(...)")
        return _on_sqlalchemy(connection)
    if callable(getattr(connection, "cursor", None)):
        return _on_cursors(connection, "?" if library == "sqlite3" else "%s")
    raise TypeError(
        f"{connection!r} is no connection that an outbox knows: one of SQLAlchemy, of Django, or "
        "with a method cursor()"
    )


def _on_sqlalchemy(connection: Any) -> _Executes:
    from sqlalchemy import text

    def execute(statement: str, **values: object) -> Sequence[Sequence[Any]]:
        done = connection.execute(text(statement), values)
        return list(done) if done.returns_rows else []

    return execute


def _on_cursors(connection: Any, mark: str) -> _Executes:
    def execute(statement: str, **values: object) -> Sequence[Sequence[Any]]:
        names = _NAMED.findall(statement)
        with closing(connection.cursor()) as cursor:
            cursor.execute(_NAMED.sub(mark, statement), _arguments(names, values))
            return cursor.fetchall() if cursor.description else []

    return execute


def _arguments(names: Sequence[str], values: Mapping[str, object]) -> tuple[object, ...]:
    return tuple(values[name] for name in names)
