"""Calls that share a key, where processes die, and in transactions of the caller's."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from returns.result import Success

from onward import Catalog, result, submit, task
from onward.backends.sqlite import SqliteBackend, sqlite
from tests.faults import unique

PATIENCE = 120.0


@task
def inc(n: int) -> int:
    return n + 1


def test_submitters_and_workers_that_are_killed_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "onward.db"
    backend = sqlite(path, lease=1.0)
    program = f"from onward.backends.sqlite import sqlite; backend = sqlite({str(path)!r}, lease=1)"
    unique.storm(tmp_path, program, backend)
    backend.close()


def test_the_last_arguments_run_whoever_submits_at_once(backend: SqliteBackend) -> None:
    worker = backend.serve(Catalog(unique.lasting)).unwrap()
    unique.contend(backend, seconds=1.5)
    worker.stop()


def test_a_rollback_gives_the_key_back(path: Path, backend: SqliteBackend) -> None:
    backend.diagnose().unwrap()
    with closing(sqlite3.connect(path)) as db:
        lost = submit(inc(1), on=backend.within(db), unique="k").unwrap()
        assert submit(inc(2), on=backend.within(db), unique="k").unwrap() == lost
        db.rollback()
        kept = submit(inc(3), on=backend.within(db), unique="k", debounce=600).unwrap()
        assert kept != lost
        db.commit()
        submit(inc(4), on=backend.within(db), unique="k", debounce=0).unwrap()
        db.rollback()
    assert submit(inc(5), on=backend, unique="k", debounce=0).unwrap() == kept
    worker = backend.serve(Catalog(inc)).unwrap()
    assert result(kept, on=backend, timeout=PATIENCE) == Success(6)
    worker.stop()
