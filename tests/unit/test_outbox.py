"""An outbox: calls in the caller's own transaction, on an engine that has none."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from returns.result import Failure, Success

from onward import Catalog, Unavailable, Unsupported, result, status, submit, submit_all, task
from onward.backends.celery import celery
from onward.backends.sqlite import SqliteBackend, sqlite
from onward.outbox import Outbox
from tests.engines.process import until

PATIENCE = 120.0


@task
def double(n: int) -> int:
    return 2 * n


CATALOG = Catalog(double)


class Undone(Exception):
    """Rolls a transaction back."""


@contextmanager
def in_sqlite3(path: Path) -> Iterator[Any]:
    with closing(sqlite3.connect(path)) as db, db:
        yield db


@contextmanager
def in_sqlalchemy(path: Path) -> Iterator[Any]:
    import sqlalchemy

    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


@contextmanager
def in_a_session(path: Path) -> Iterator[Any]:
    import sqlalchemy
    from sqlalchemy.orm import Session

    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    try:
        with Session(engine) as session, session.begin():
            yield session
    finally:
        engine.dispose()


@contextmanager
def in_django(path: Path) -> Iterator[Any]:
    import django
    from django.conf import settings
    from django.db import connections, transaction

    databases = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path)}}
    if not settings.configured:
        settings.configure(DATABASES=databases, USE_TZ=True)
        django.setup()
    connections.settings = connections.configure_settings(databases)
    connections["default"] = connections.create_connection("default")
    try:
        with transaction.atomic():
            yield connections["default"]
    finally:
        connections["default"].close()


Begin = Callable[[Path], AbstractContextManager[Any]]
EACH = pytest.mark.parametrize("begin", [in_sqlite3, in_sqlalchemy, in_a_session, in_django])


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The caller's database."""
    return tmp_path / "shop.db"


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[SqliteBackend]:
    """An engine that is in another file."""
    with closing(sqlite(tmp_path / "calls.db")) as made:
        yield made


@EACH
def test_a_call_runs_after_the_commit_and_once(
    begin: Begin, shop: Path, backend: SqliteBackend
) -> None:
    outbox = Outbox(backend)
    with begin(shop) as connection:
        outbox.create(connection)
        outbox.create(connection)
        ref = submit(double(1), on=outbox.within(connection)).unwrap()
        more = submit_all([double(2), double(3)], on=outbox.within(connection)).unwrap()
    assert isinstance(status(ref, on=backend), Failure)  # the engine does not know it yet
    with begin(shop) as connection:
        assert outbox.relay(connection) == Success(3)
    with begin(shop) as connection:
        assert outbox.relay(connection) == Success(0)
    worker = backend.serve(CATALOG).unwrap()
    found = [result(each, on=backend, timeout=PATIENCE) for each in (ref, *more)]
    assert found == [Success(2), Success(4), Success(6)]
    worker.stop()


@EACH
def test_what_is_rolled_back_was_never_submitted(
    begin: Begin, shop: Path, backend: SqliteBackend
) -> None:
    outbox = Outbox(backend)
    with begin(shop) as connection:
        outbox.create(connection)
    with suppress(Undone), begin(shop) as connection:
        submit(double(1), on=outbox.within(connection)).unwrap()
        raise Undone
    with begin(shop) as connection:
        assert outbox.relay(connection) == Success(0)


def test_a_relay_that_dies_after_it_has_submitted_starts_nothing_twice(
    shop: Path, backend: SqliteBackend
) -> None:
    outbox = Outbox(backend)
    with in_sqlite3(shop) as connection:
        outbox.create(connection)
        submit(double(1), on=outbox.within(connection)).unwrap()
    with suppress(Undone), in_sqlite3(shop) as connection:
        assert outbox.relay(connection) == Success(1)
        raise Undone
    with in_sqlite3(shop) as connection:
        assert outbox.relay(connection) == Success(1)
    assert backend.diagnose().unwrap().waiting == {"onward": 1}


def test_calls_wait_in_the_outbox_while_the_engine_is_away(shop: Path) -> None:
    with closing(celery("redis://127.0.0.1:1/0", connect_timeout=0.1)) as backend:
        outbox = Outbox(backend)
        with in_sqlite3(shop) as connection:
            outbox.create(connection)
            submit(double(1), on=outbox.within(connection)).unwrap()
        with in_sqlite3(shop) as connection:
            assert isinstance(outbox.relay(connection).failure(), Unavailable)
    with in_sqlite3(shop) as connection:
        assert connection.execute("select count(*) from onward_outbox").fetchone() == (1,)


def test_a_call_that_is_refused_is_not_in_the_way_of_others(
    shop: Path, backend: SqliteBackend
) -> None:
    outbox = Outbox(backend)
    with in_sqlite3(shop) as connection:
        outbox.create(connection)
        submit_all([double(1), double(2)], on=outbox.within(connection)).unwrap()
        connection.execute("update onward_outbox set plan = 'none' where rowid = 1")
        assert isinstance(outbox.relay(connection), Failure)
        assert isinstance(outbox.relay(connection), Failure)
        assert connection.execute("select plan from onward_outbox").fetchall() == [("none",)]
    assert backend.diagnose().unwrap().waiting == {"onward": 1}


def test_one_key_is_one_call_however_often_it_is_in_the_outbox(
    shop: Path, backend: SqliteBackend
) -> None:
    outbox = Outbox(backend)
    with in_sqlite3(shop) as connection:
        outbox.create(connection)
        refs = [submit(double(1), on=outbox.within(connection), key="7").unwrap() for _ in "ab"]
        assert outbox.relay(connection).value_or(0) > 0
        assert outbox.relay(connection) == Success(0)
    assert refs[0] == refs[1]
    assert backend.diagnose().unwrap().waiting == {"onward": 1}


def test_a_delay_counts_from_the_submission(shop: Path, backend: SqliteBackend) -> None:
    outbox = Outbox(backend)
    with in_sqlite3(shop) as connection:
        outbox.create(connection)
        submit(double(1), on=outbox.within(connection), delay=3600).unwrap()
        assert outbox.relay(connection) == Success(1)
    assert backend.diagnose().unwrap().waiting == {"onward": 0}


def test_relaying_relays_beside_whatever_else_runs(shop: Path, backend: SqliteBackend) -> None:
    outbox = Outbox(backend)
    with in_sqlite3(shop) as connection:
        outbox.create(connection)
    worker = backend.serve(CATALOG).unwrap()
    with outbox.relaying(lambda: in_sqlite3(shop), every=0.05):
        with in_sqlite3(shop) as connection:
            ref = submit(double(4), on=outbox.within(connection)).unwrap()
        until(
            lambda: isinstance(status(ref, on=backend), Success),
            within=PATIENCE,
            otherwise=lambda: "it was not relayed",
        )
        assert result(ref, on=backend, timeout=PATIENCE) == Success(8)
    worker.stop()


def test_what_an_outbox_cannot_do_is_a_fault(shop: Path, backend: SqliteBackend) -> None:
    outbox = Outbox(backend)
    with in_sqlite3(shop) as connection:
        missing = submit(double(1), on=outbox.within(connection)).failure()
        assert isinstance(missing, Unavailable)
        assert "Create the table with Outbox.create" in str(missing)
        outbox.create(connection)
        unique = submit(double(1), on=outbox.within(connection), unique="7").failure()
        assert isinstance(unique, Unsupported)


def test_mistakes_are_refused_where_they_stand(backend: SqliteBackend) -> None:
    with pytest.raises(ValueError, match="a table's name has letters"):
        Outbox(backend, table="x; drop table users")
    with pytest.raises(TypeError, match="is no connection that an outbox knows"):
        Outbox(backend).within("postgresql://localhost")
