"""Files of every release so far, and of a later one."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from returns.result import Success

from onward import (
    Misconfigured,
    Raised,
    Status,
    each,
    result,
    run,
    schedules,
    send,
    status,
    submit,
)
from onward.backend.history import CallQuery
from onward.backends.sqlite import SqliteBackend, sqlite
from onward.backends.sqlite.schema import VERSION
from onward.flows.flow import AnyFlow
from tests.sqlite import kept
from tests.sqlite.kept import CATALOG, far, hesitate, inc

PATIENCE = 120.0
KEPT = sorted(kept.FOLDER.glob("*.sql"))


@pytest.fixture(params=KEPT, ids=lambda file: file.stem)
def old(request: pytest.FixtureRequest, path: Path) -> Iterator[SqliteBackend]:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(request.param.read_text())
        db.execute("update onward_jobs set due = 0 where due is not null")
        db.execute("update onward_steps set due = 0 where due is not null")
        if request.param.stem > "1":
            db.execute("update onward_waits set due = 0 where due is not null")
        db.commit()
    backend = sqlite(path)
    yield backend
    backend.close()


def test_a_file_of_each_schema_is_kept() -> None:
    assert [file.stem for file in KEPT] == [str(version + 1) for version in range(VERSION)]


def test_what_an_older_release_has_left_is_finished(old: SqliteBackend) -> None:
    flows: dict[str, AnyFlow] = {
        kept.DONE: inc,
        kept.QUEUED: inc,
        kept.FAR: each(inc) >> each(far),
    }
    assert [one.name for one in schedules(on=old).unwrap()] == ["hourly", "nightly"]
    page = old.history(kept.DONE).unwrap()
    assert [(step.path, step.task, step.outcome) for step in page.steps] == [
        ("0", "inc", page.outcome)
    ]
    listed = old.calls(CallQuery()).unwrap().calls
    assert {call.id for call in listed} >= {kept.DONE, kept.QUEUED, kept.RETRIED, kept.FAR}
    assert len(old.history(kept.FAR).unwrap().steps) == 3
    worker = old.serve(CATALOG).unwrap()
    found = {id: result(flow.ref(id), on=old, timeout=PATIENCE) for id, flow in flows.items()}
    assert found == {
        kept.DONE: Success(2),
        kept.QUEUED: Success(6),
        kept.FAR: Success([102, 103, 104]),
    }
    retried: AnyFlow = inc >> hesitate
    fault = result(retried.ref(kept.RETRIED), on=old, timeout=PATIENCE).failure()
    assert isinstance(fault, Raised)
    assert fault.attempts == 2
    steps = old.history(kept.RETRIED).unwrap().steps
    assert [(step.path, step.task, step.attempts[-1].number) for step in steps] == [
        ("0", "inc", 1),
        ("1", "hesitate", 2),
    ]
    assert len(old.history(kept.FAR).unwrap().steps) == 6
    if not isinstance(status(kept.WAITS.ref(kept.WAITING), on=old).value_or(None), Status):
        return  # schema 1 had no waits
    assert send(kept.WAITS.ref(kept.WAITING), kept.BY, 5, on=old) == Success(None)
    waited = result(kept.WAITS.ref(kept.WAITING), on=old, timeout=PATIENCE)
    assert waited == Success(((2, 5), "early"))
    slept = result(kept.SLEEPS.ref(kept.ASLEEP), on=old, timeout=PATIENCE)
    assert slept == Success(2)
    worker.stop()


def test_a_file_of_a_later_release_is_refused(backend: SqliteBackend, path: Path) -> None:
    worker = backend.serve(CATALOG).unwrap()
    ref = submit(inc(1), on=backend).unwrap()
    assert result(ref, on=backend, timeout=PATIENCE) == Success(2)
    with closing(sqlite3.connect(path)) as db:
        db.execute("update onward_schema set version = ?", (VERSION + 1,))
        db.commit()
    assert worker.wait(PATIENCE)
    later = sqlite(path)
    for answer in (
        submit(inc(1), on=later),
        run(inc(1), on=later),
        status(ref, on=later),
        later.serve(CATALOG),
        later.diagnose(),
    ):
        fault = answer.failure()
        assert isinstance(fault, Misconfigured)
        assert "upgrade Onward" in fault.message
    later.close()


def test_a_database_of_ones_own_gets_tables_beside_its_own(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("create table customers (name text)")
        db.execute("insert into customers values ('Ada')")
        db.commit()
    backend = sqlite(path)
    submit(inc(1), on=backend).unwrap()
    backend.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("select name from customers").fetchall() == [("Ada",)]
        names = db.execute("select name from sqlite_schema where name not like 'sqlite_%'")
        assert all(name.startswith(("onward_", "customers")) for (name,) in names)


def test_many_processes_may_open_a_new_file_at_once(path: Path) -> None:
    program = (
        "import sys; from onward import submit; from onward.backends.sqlite import sqlite\n"
        "from tests.sqlite.kept import inc\n"
        "backend = sqlite(sys.argv[1]); submit(inc(1), on=backend).unwrap(); backend.close()"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, path], stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    said = [process.communicate(timeout=PATIENCE)[1] for process in processes]
    assert said == [b""] * 4
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("select count(*) from onward_calls").fetchone() == (4,)
