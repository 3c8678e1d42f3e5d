"""A call that is submitted in a transaction of the caller's exists if that commits."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractContextManager,
    asynccontextmanager,
    closing,
    contextmanager,
    suppress,
)
from pathlib import Path
from typing import Any, Protocol

import pytest
from returns.result import Success

from onward import (
    Catalog,
    Fault,
    Misconfigured,
    Unavailable,
    Unsupported,
    aio,
    cancel,
    result,
    results,
    run,
    status,
    submit,
    submit_all,
    task,
)
from onward.backend import Transacts
from onward.backends.sqlite import SqliteBackend, sqlite
from onward.observe import observed
from onward.observer import Attempt, Sending

PATIENCE = 120.0


@task
def inc(n: int) -> int:
    return n + 1


CATALOG = Catalog(inc)


class Undone(Exception):
    """Rolls a transaction back."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture
def backend(path: Path) -> Iterator[SqliteBackend]:
    with closing(sqlite3.connect(path)) as db:
        db.execute("create table orders (id integer primary key, ref text)")
        db.commit()
    backend = sqlite(path, busy_timeout=5.0)
    yield backend
    backend.close()


class Transaction(Protocol):
    """What a transaction is written in: its connection, and what runs a statement."""

    def __call__(self, path: Path, /) -> AbstractContextManager[tuple[object, Callable[..., Any]]]:
        """Begins one, and commits it, or rolls it back for an exception."""
        ...


@contextmanager
def in_sqlite3(path: Path) -> Iterator[tuple[object, Callable[..., Any]]]:
    with closing(sqlite3.connect(path)) as db, db:
        yield db, db.execute


@contextmanager
def in_sqlite3_with_rows_of_its_own(path: Path) -> Iterator[tuple[object, Callable[..., Any]]]:
    with closing(sqlite3.connect(path)) as db, db:
        db.row_factory = lambda cursor, row: {
            column[0]: value for column, value in zip(cursor.description, row, strict=True)
        }
        db.text_factory = bytes
        yield db, db.execute


@contextmanager
def in_sqlite3_begun_by_hand(path: Path) -> Iterator[tuple[object, Callable[..., Any]]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("begin immediate")
        try:
            yield db, db.execute
        except BaseException:
            db.execute("rollback")
            raise
        db.execute("commit")


@contextmanager
def engine_of(url: str, **options: str) -> Iterator[Any]:
    import sqlalchemy

    engine = sqlalchemy.create_engine(url, **options)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def in_sqlalchemy_core(path: Path) -> Iterator[tuple[object, Callable[..., Any]]]:
    with engine_of(f"sqlite:///{path}") as engine, engine.begin() as connection:
        yield connection, connection.exec_driver_sql


@contextmanager
def in_sqlalchemy_that_has_not_begun(path: Path) -> Iterator[tuple[object, Callable[..., Any]]]:
    with engine_of(f"sqlite:///{path}") as engine, engine.connect() as connection:
        yield connection, connection.exec_driver_sql
        connection.commit()


@contextmanager
def in_sqlalchemy_orm(path: Path) -> Iterator[tuple[object, Callable[..., Any]]]:
    from sqlalchemy.orm import Session

    with engine_of(f"sqlite:///{path}") as engine, Session(engine) as session, session.begin():
        yield session, lambda sql: session.connection().exec_driver_sql(sql)


@contextmanager
def in_sqlalchemy_scoped(path: Path) -> Iterator[tuple[object, Callable[..., Any]]]:
    from sqlalchemy.orm import scoped_session, sessionmaker

    with engine_of(f"sqlite:///{path}") as engine:
        session = scoped_session(sessionmaker(engine))
        with session.begin():
            yield session, lambda sql: session.connection().exec_driver_sql(sql)
        session.remove()


@contextmanager
def in_django(path: Path) -> Iterator[tuple[object, Callable[..., Any]]]:
    from django.db import transaction

    with _django(path) as connection, transaction.atomic(), connection.cursor() as cursor:
        yield connection, cursor.execute


@contextmanager
def in_django_nested(path: Path) -> Iterator[tuple[object, Callable[..., Any]]]:
    from django.db import transaction

    with in_django(path) as (connection, execute), transaction.atomic():
        yield connection, execute


@contextmanager
def _django(path: Path) -> Iterator[Any]:
    """Django's own `connection`, to another file each time."""
    import django
    from django.conf import settings
    from django.db import connections

    databases = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path)}}
    if not settings.configured:
        settings.configure(DATABASES=databases, USE_TZ=True)
        django.setup()
    connections.settings = connections.configure_settings(databases)
    connections["default"] = connections.create_connection("default")
    from django.db import connection

    try:
        yield connection
    finally:
        connection.close()


KINDS = [
    in_sqlite3,
    in_sqlite3_with_rows_of_its_own,
    in_sqlite3_begun_by_hand,
    in_sqlalchemy_core,
    in_sqlalchemy_that_has_not_begun,
    in_sqlalchemy_orm,
    in_sqlalchemy_scoped,
    in_django,
    in_django_nested,
]
each_kind = pytest.mark.parametrize("begin", KINDS, ids=lambda kind: kind.__name__)


def count(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as db:
        if not db.execute("select 1 from sqlite_schema where name = ?", (table,)).fetchone():
            return 0
        [found] = db.execute(f"select count(*) from {table}").fetchone()
        return int(found)


@pytest.mark.parametrize("is_first", [True, False], ids=["first use", "used before"])
@each_kind
def test_a_commit_leaves_one(
    begin: Transaction, is_first: bool, path: Path, backend: SqliteBackend
) -> None:
    if not is_first:
        backend.diagnose().unwrap()
    with begin(path) as (connection, execute):
        execute("insert into orders(id) values (1)")
        ref = submit(inc(1), on=backend.within(connection)).unwrap()
        assert count(path, "onward_calls") == 0
    assert count(path, "orders") == count(path, "onward_calls") == 1
    worker = backend.serve(CATALOG).unwrap()
    assert result(ref, on=backend, timeout=PATIENCE) == Success(2)
    worker.stop()


@pytest.mark.parametrize("is_first", [True, False], ids=["first use", "used before"])
@each_kind
def test_a_rollback_leaves_none(
    begin: Transaction, is_first: bool, path: Path, backend: SqliteBackend
) -> None:
    if not is_first:
        backend.diagnose().unwrap()
    refs = []
    with suppress(Undone), begin(path) as (connection, execute):
        refs.append(submit(inc(1), on=backend.within(connection)).unwrap())
        execute("insert into orders(id) values (1)")
        raise Undone
    assert count(path, "orders") == count(path, "onward_calls") == count(path, "onward_jobs") == 0
    assert "no such" in str(status(refs[0], on=backend).failure())
    assert run_one(backend) == Success(2)


def run_one(backend: SqliteBackend) -> object:
    worker = backend.serve(CATALOG).unwrap()
    found = run(inc(1), on=backend, timeout=PATIENCE)
    worker.stop()
    return found


@each_kind
def test_what_comes_first_is_seen_by_what_follows(
    begin: Transaction, path: Path, backend: SqliteBackend
) -> None:
    with begin(path) as (connection, _):
        within = backend.within(connection)
        first = submit(inc(1), on=within, key="order-1").unwrap()
        assert submit(inc(1), on=within, key="order-1").unwrap() == first
        others = submit_all([inc(n) for n in range(3)], on=within, priority=9).unwrap()
        later = submit(inc(7), on=within, delay=3600).unwrap()
        unique = submit(inc(8), on=within, unique="order-1", debounce=3600).unwrap()
        assert submit(inc(9), on=within, unique="order-1", debounce=0).unwrap() == unique
    assert submit(inc(1), on=backend, key="order-1").unwrap() == first
    worker = backend.serve(CATALOG).unwrap()
    refs = [first, *others, unique]
    found = dict(results(refs, on=backend, timeout=PATIENCE))
    assert [found[ref] for ref in refs] == [Success(n) for n in (2, 1, 2, 3, 10)]
    assert status(later, on=backend).unwrap().state == "queued"
    worker.stop()


def test_a_waiting_worker_is_woken_by_the_commit(path: Path, backend: SqliteBackend) -> None:
    worker = backend.serve(CATALOG).unwrap()
    assert run(inc(1), on=backend, timeout=PATIENCE) == Success(2)
    with in_sqlite3(path) as (connection, _):
        ref = submit(inc(2), on=backend.within(connection)).unwrap()
        assert "no such" in str(status(ref, on=backend).failure())
    assert result(ref, on=backend, timeout=PATIENCE) == Success(3)
    worker.stop()


# -- connections that commit each statement by itself ----------------------------------------------


@contextmanager
def sqlite3_by_itself(path: Path) -> Iterator[object]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        yield db


@contextmanager
def sqlalchemy_by_itself(path: Path) -> Iterator[object]:
    with (
        engine_of(f"sqlite:///{path}", isolation_level="AUTOCOMMIT") as engine,
        engine.connect() as connection,
    ):
        yield connection


@pytest.mark.parametrize("connect", [sqlite3_by_itself, sqlalchemy_by_itself, _django])
def test_outside_a_transaction_it_is_submitted_at_once(
    connect: Callable[[Path], AbstractContextManager[object]], path: Path, backend: SqliteBackend
) -> None:
    with connect(path) as connection:
        ref = submit(inc(1), on=backend.within(connection)).unwrap()
        assert status(ref, on=backend).unwrap().state == "queued"
        submit_all([inc(1), inc(2)], on=backend.within(connection)).unwrap()
        assert count(path, "onward_calls") == 3


@pytest.mark.skipif(not hasattr(sqlite3, "LEGACY_TRANSACTION_CONTROL"), reason="since Python 3.12")
def test_autocommit_is_minded(path: Path, backend: SqliteBackend) -> None:
    connect: Any = sqlite3.connect
    with closing(connect(path, autocommit=True)) as db:
        submit(inc(1), on=backend.within(db)).unwrap()
        assert count(path, "onward_calls") == 1
    with closing(connect(path, autocommit=False)) as db:
        submit(inc(1), on=backend.within(db)).unwrap()
        assert count(path, "onward_calls") == 1
        db.commit()
        assert count(path, "onward_calls") == 2


# -- callers that await ----------------------------------------------------------------------------


@asynccontextmanager
async def in_async_core(path: Path) -> AsyncIterator[object]:
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
    try:
        async with engine.begin() as connection:
            yield connection
    finally:
        await engine.dispose()


@asynccontextmanager
async def in_async_orm(path: Path) -> AsyncIterator[object]:
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
    try:
        async with AsyncSession(engine) as session, session.begin():
            yield session
    finally:
        await engine.dispose()


@asynccontextmanager
async def in_sqlite3_on_a_loop(path: Path) -> AsyncIterator[object]:
    with in_sqlite3(path) as (connection, _):
        yield connection


@asynccontextmanager
async def in_orm_on_a_loop(path: Path) -> AsyncIterator[object]:
    with in_sqlalchemy_orm(path) as (connection, _):
        yield connection


each_awaited = pytest.mark.parametrize(
    "begin", [in_async_core, in_async_orm, in_sqlite3_on_a_loop, in_orm_on_a_loop]
)


@each_awaited
def test_callers_that_await_do_the_same(
    begin: Callable[[Path], Any], path: Path, backend: SqliteBackend
) -> None:
    async def main() -> None:
        async with begin(path) as connection:
            within = backend.within(connection)
            ref = (await aio.submit(inc(1), on=within)).unwrap()
            (await aio.submit_all([inc(2), inc(3)], on=within)).unwrap()
            assert count(path, "onward_calls") == 0
        assert count(path, "onward_calls") == 3
        assert (await aio.status(ref, on=backend)).unwrap().state == "queued"
        with suppress(Undone):
            async with begin(path) as connection:
                (await aio.submit(inc(1), on=backend.within(connection))).unwrap()
                raise Undone
        assert count(path, "onward_calls") == 3

    asyncio.run(main())


def test_an_awaited_connection_is_not_for_callers_that_block(
    path: Path, backend: SqliteBackend
) -> None:
    async def main() -> None:
        async with in_async_core(path) as connection:
            fault = submit(inc(1), on=backend.within(connection)).failure()
            assert isinstance(fault, Misconfigured)
            assert "onward.aio" in fault.message

    asyncio.run(main())


def test_django_on_a_loop_says_what_to_do(path: Path, backend: SqliteBackend) -> None:
    async def main(connection: object) -> Fault:
        return (await aio.submit(inc(1), on=backend.within(connection))).failure()

    with _django(path) as connection:
        fault = asyncio.run(main(connection))
    assert isinstance(fault, Misconfigured)
    assert "sync_to_async" in fault.message


# -- what cannot be --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "begin",
    [in_sqlite3, in_sqlalchemy_core, in_sqlalchemy_orm, in_django],
    ids=lambda kind: kind.__name__,
)
def test_another_file_is_refused(
    begin: Transaction, path: Path, tmp_path: Path, backend: SqliteBackend
) -> None:
    with begin(tmp_path / "other.db") as (connection, execute):
        execute("create table things (id integer)")
        fault = submit(inc(1), on=backend.within(connection)).failure()
    assert isinstance(fault, Misconfigured)
    assert str(path) in fault.message
    assert str(tmp_path / "other.db") in fault.message
    assert count(tmp_path / "other.db", "onward_calls") == count(path, "onward_calls") == 0


def test_a_database_in_memory_is_refused(backend: SqliteBackend) -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        fault = submit(inc(1), on=backend.within(db)).failure()
    assert isinstance(fault, Misconfigured)
    assert "in memory" in fault.message


def test_the_same_file_by_another_name_is_the_same(
    path: Path, tmp_path: Path, backend: SqliteBackend
) -> None:
    (tmp_path / "link.db").symlink_to(path)
    with in_sqlite3(tmp_path / "link.db") as (connection, _):
        submit(inc(1), on=backend.within(connection)).unwrap()
    assert count(path, "onward_calls") == 1


@pytest.mark.parametrize(
    "wrong", [None, "shop.db", sqlite3, 7, Path("shop.db"), sqlite3.Connection]
)
def test_what_is_no_connection_is_a_mistake(wrong: object, backend: SqliteBackend) -> None:
    with pytest.raises(TypeError, match="a sqlite3 connection"):
        backend.within(wrong)


def test_an_engine_is_no_connection(backend: SqliteBackend) -> None:
    import sqlalchemy

    with pytest.raises(TypeError, match="a sqlite3 connection"):
        backend.within(sqlalchemy.create_engine("sqlite://"))


def test_it_is_for_submitting_alone(path: Path, backend: SqliteBackend) -> None:
    within: Any
    with in_sqlite3(path) as (connection, _):
        within = backend.within(connection)
        ref = submit(inc(1), on=within).unwrap()
        with pytest.raises(TypeError, match="after the commit"):
            run(inc(1), on=within)
        with pytest.raises(TypeError, match="after the commit"):
            result(ref, on=within)
        assert isinstance(cancel(ref, on=within).failure(), Unsupported)
    assert count(path, "onward_calls") == 1


def test_whether_a_backend_can_is_a_capability(path: Path, backend: SqliteBackend) -> None:
    from onward import local

    assert isinstance(backend, Transacts)
    assert not isinstance(local(), Transacts)


def test_a_closed_connection_is_a_fault(path: Path, backend: SqliteBackend) -> None:
    db = sqlite3.connect(path)
    db.close()
    fault = submit(inc(1), on=backend.within(db)).failure()
    assert isinstance(fault, Misconfigured)
    assert "closed" in fault.message


def test_a_connection_of_another_thread_is_a_fault(path: Path, backend: SqliteBackend) -> None:
    found: list[Fault] = []
    with closing(sqlite3.connect(path)) as db:
        within = backend.within(db)
        thread = threading.Thread(target=lambda: found.append(submit(inc(1), on=within).failure()))
        thread.start()
        thread.join()
    assert "thread" in found[0].message


def test_a_broken_transaction_of_djangos_is_a_fault(path: Path, backend: SqliteBackend) -> None:
    from django.db import transaction

    with _django(path) as connection, transaction.atomic():
        transaction.set_rollback(True)
        fault = submit(inc(1), on=backend.within(connection)).failure()
    assert isinstance(fault, Misconfigured)
    assert "atomic" in fault.message


def test_a_transaction_that_has_read_what_is_old_says_so(
    path: Path, backend: SqliteBackend
) -> None:
    backend.diagnose().unwrap()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("begin")
        db.execute("select count(*) from orders").fetchone()
        submit(inc(1), on=backend).unwrap()
        fault = submit(inc(2), on=backend.within(db)).failure()
        assert isinstance(fault, Unavailable)
        assert "begin immediate" in fault.cure
        db.execute("rollback")


def test_what_was_refused_leaves_the_transaction_as_it_was(
    path: Path, backend: SqliteBackend
) -> None:
    backend.diagnose().unwrap()
    with closing(sqlite3.connect(path)) as db:
        db.execute("insert into orders(id) values (1)")
        db.execute(
            "create temp trigger stop before insert on onward_jobs begin "
            "select raise(abort, 'stopped'); end"
        )
        fault = submit(inc(1), on=backend.within(db)).failure()
        assert "stopped" in fault.message
        db.commit()
    assert count(path, "orders") == 1
    assert count(path, "onward_calls") == count(path, "onward_jobs") == 0


def test_a_disk_that_is_full_is_told_with_what_became_of_the_transaction(
    path: Path, backend: SqliteBackend
) -> None:
    backend.diagnose().unwrap()
    with closing(sqlite3.connect(path)) as db:
        [pages] = db.execute("pragma page_count").fetchone()
        db.execute(f"pragma max_page_count = {pages + 1}")
        db.execute("insert into orders(id) values (1)")
        fault = submit_all([inc(n) for n in range(500)], on=backend.within(db)).failure()
        assert isinstance(fault, Unavailable)
        assert "Free some space" in fault.cure
        assert ("rolled the transaction back" in fault.message) == (not db.in_transaction)
    assert count(path, "onward_calls") == count(path, "onward_jobs") == 0


def test_observers_see_what_is_submitted_in_a_transaction(
    path: Path, backend: SqliteBackend
) -> None:
    seen: list[str] = []

    class Notes:
        @contextmanager
        def sending(self, sending: Sending) -> Iterator[None]:
            seen.append(sending.flow)
            yield

        @contextmanager
        def attempt(self, attempt: Attempt) -> Iterator[None]:
            yield

    with in_sqlite3(path) as (connection, _):
        watched = observed(backend, Notes())
        submit(inc(1), on=watched.within(connection)).unwrap()
    assert seen == ["inc"]


# -- what a long one does to others ----------------------------------------------------------------


def test_a_long_transaction_keeps_others_from_writing_until_it_ends(
    path: Path, backend: SqliteBackend
) -> None:
    worker = backend.serve(CATALOG).unwrap()
    before = run(inc(0), on=backend, timeout=PATIENCE)
    assert before == Success(1)
    impatient = sqlite(path, busy_timeout=0.2)
    with in_sqlite3(path) as (connection, _):
        ref = submit(inc(1), on=backend.within(connection)).unwrap()
        fault = submit(inc(2), on=impatient).failure()
        assert isinstance(fault, Unavailable)
        assert "keep write transactions short" in fault.cure
        waiting: list[Any] = []
        submitter = threading.Thread(target=lambda: waiting.append(submit(inc(3), on=backend)))
        submitter.start()
        assert impatient.diagnose().unwrap().waiting["onward"] == 0  # reading goes on
        assert submitter.is_alive()
    submitter.join(PATIENCE)
    assert result(ref, on=backend, timeout=PATIENCE) == Success(2)
    assert result(waiting[0].unwrap(), on=backend, timeout=PATIENCE) == Success(4)
    worker.stop()
    impatient.close()
