"""Sleeps and signals in a file: nobody holds what waits, and whoever dies, it goes on."""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from returns.result import Success

from onward import (
    Cancelled,
    Secret,
    Signal,
    awaits,
    cancel,
    keep,
    result,
    run,
    send,
    sleep,
    status,
    submit,
    submit_all,
    task,
    together,
)
from onward.backends.sqlite import SqliteBackend, sqlite
from onward.backends.sqlite.retention import prune
from onward.catalog import Catalog
from onward.sealing import sealing
from tests.cli.serving import serving
from tests.engines.process import until

PATIENCE = 120.0

TASKS = """
from pathlib import Path
from onward import task

@task
def begin(folder: Path) -> Path:
    with (folder / "begun").open("a") as file:
        file.write("begun\\n")
    return folder
"""

BY, NOTE = Signal("by", int), Signal("note", str)


@task
def begin(folder: Path) -> Path:
    return folder


@task
def inc(n: int) -> int:
    return n + 1


def wait(condition: Callable[[], bool]) -> None:
    until(condition, within=PATIENCE, otherwise=lambda: "it never came to be true")


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


def is_parked(path: Path, count: int = 1) -> bool:
    """Whether so many calls wait, and no worker has any of them."""
    query = "select count(*) from onward_waits join onward_jobs using (call) where owner is null"
    return rows(path, query) == [(count,)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.py").write_text(TASKS)
    return tmp_path


def test_a_call_waits_on_when_its_worker_is_killed(
    folder: Path, path: Path, backend: SqliteBackend
) -> None:
    flow = begin >> keep(awaits(BY)) >> keep(awaits(NOTE, timeout=600)) >> keep(sleep(0.1))
    url = f"sqlite:///{path}?lease=1"
    with serving(folder, url) as first:
        ref = submit(flow(folder), on=backend).unwrap()
        wait(lambda: status(ref, on=backend).unwrap().state == "waiting")
        first.kill()  # while it has the call, or has given it back
        with serving(folder, url):
            assert send(ref, BY, 5, on=backend) == Success(None)
            wait(lambda: status(ref, on=backend).unwrap().signal == "note")
            due = rows(path, "select due from onward_waits where signal = 'note'")
            wait(lambda: is_parked(path))
    with serving(folder, url):
        assert rows(path, "select due from onward_waits where signal = 'note'") == due
        assert send(ref, NOTE, "yes", on=backend) == Success(None)
        found = ((folder, 5), "yes")
        assert result(ref, on=backend, timeout=PATIENCE) == Success((found, found))
    assert (folder / "begun").read_text() == "begun\n"


def test_a_signal_is_kept_without_a_worker(path: Path, backend: SqliteBackend) -> None:
    ref = submit((inc >> keep(awaits(BY)))(1), on=backend).unwrap()
    assert send(ref, BY, 5, on=backend) == Success(None)
    worker = backend.serve(Catalog(inc)).unwrap()
    assert result(ref, on=backend, timeout=PATIENCE) == Success((2, 5))
    worker.stop()


def test_waiting_calls_are_left_alone_until_something_comes_for_them(
    path: Path, backend: SqliteBackend
) -> None:
    worker = backend.serve(Catalog(inc), concurrency=2).unwrap()
    refs = submit_all([(inc >> keep(awaits(BY)))(n) for n in range(1000)], on=backend).unwrap()
    asleep = submit_all([(inc >> sleep(3600))(n) for n in range(10)], on=backend).unwrap()
    wait(lambda: is_parked(path, 1010))
    for n in range(20):
        assert run(inc(n), on=backend, timeout=PATIENCE) == Success(n + 1)
    # Each was taken up once, and none again for the others' sake.
    assert rows(path, "select distinct claims from onward_jobs") == [(1,)]
    assert send(refs[7], BY, 5, on=backend) == Success(None)
    assert result(refs[7], on=backend, timeout=PATIENCE) == Success((8, 5))
    assert rows(path, "select max(claims), count(*) from onward_jobs") == [(1, 1009)]
    cancel(asleep[0], on=backend)
    assert isinstance(result(asleep[0], on=backend, timeout=PATIENCE).failure(), Cancelled)
    assert rows(path, "select count(*) from onward_waits") == [(1008,)]
    worker.stop()


def test_the_secrets_of_a_signal_are_encrypted(path: Path) -> None:
    pin = Signal("pin", Secret[str])
    backend = sealing(sqlite(path), [secrets.token_bytes(32)])
    worker = backend.serve(Catalog(inc)).unwrap()
    ref = submit((inc >> awaits(pin))(1), on=backend).unwrap()
    assert send(ref, pin, Secret("4242-4242"), on=backend) == Success(None)
    found = result(ref, on=backend, timeout=PATIENCE).unwrap()
    assert found.get_secret_value() == "4242-4242"
    worker.stop()
    backend.close()
    kept = [
        *rows(path, "select value from onward_signals"),
        *rows(path, "select outcome from onward_calls"),
    ]
    assert all(b"4242" not in raw for (raw,) in kept)


def test_what_was_sent_is_forgotten_with_its_call(path: Path) -> None:
    backend = sqlite(path)
    worker = backend.serve(Catalog(inc)).unwrap()
    ref = submit((inc >> awaits(BY))(1), on=backend).unwrap()
    send(ref, BY, 5, on=backend)
    result(ref, on=backend, timeout=PATIENCE)
    worker.stop()
    backend.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("select count(*) from onward_signals").fetchone() == (1,)
        prune(db, float("inf"))
        assert db.execute("select count(*) from onward_signals").fetchone() == (0,)


def test_what_goes_on_while_it_would_be_given_back_is_kept(path: Path) -> None:
    """A wait ends, but that cannot be written down before a worker would give the call back."""
    ran = threading.Event()

    @task
    def note(n: int) -> int:
        ran.set()
        return n

    flow = together(sleep(600), sleep(0.9) >> inc >> note)
    with closing(sqlite(path)) as backend:
        worker = backend.serve(Catalog(inc, note)).unwrap()
        ref = submit(flow(1), on=backend).unwrap()
        wait(lambda: status(ref, on=backend).unwrap().state == "waiting")
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("begin immediate")
            time.sleep(1.5)  # while it is locked, the short sleep ends, and a second is over
            db.execute("rollback")
        assert ran.wait(PATIENCE)
        cancel(ref, on=backend).unwrap()
        worker.stop()
