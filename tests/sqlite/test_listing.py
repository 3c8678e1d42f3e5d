"""Lists of calls, and calls that are deleted."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from returns.result import Failure, Result, Success

from onward import (
    Conflict,
    Lost,
    Misconfigured,
    Raised,
    Retry,
    Secret,
    Signal,
    Unknown,
    awaits,
    calls,
    cancel,
    given,
    history,
    keep,
    result,
    resume,
    send,
    status,
    submit,
    submit_all,
    task,
)
from onward.backend import CallQuery, CallRecord, Listed, Worker
from onward.backends.sqlite import SqliteBackend
from onward.backends.sqlite.client import File
from onward.backends.sqlite.lease import MOST_DEATHS, take_over
from onward.catalog import Catalog
from onward.plan import NEWEST
from onward.sealing import opening, sealing
from tests.engines.process import until

PATIENCE = 120.0

BEGUN, GO = threading.Event(), threading.Event()
SECRET = "what-nobody-else-may-know"


@task
def good(n: int) -> int:
    return n


@task
def bad(n: int) -> int:
    raise ValueError(n)


@task
def login(n: int, password: Secret[str]) -> int:
    return n + len(password.get_secret_value())


@task
def wrong(n: int) -> Result[int, str]:
    return Failure("no")


@task
def linger(n: int) -> int:
    BEGUN.set()
    assert GO.wait(PATIENCE)
    return n


@task(queue="nobody")
def unserved(n: int) -> int:
    return n


@task
def echo(text: str) -> str:
    return text


@task(retry=Retry(attempts=2))
def refuse(pair: tuple[str, str]) -> int:
    raise ValueError(pair)


CATALOG = Catalog(good, bad, wrong, linger, echo, refuse)
NOTE = Signal("note", str)
WAITS = good >> keep(awaits(NOTE))


@pytest.fixture
def worker(backend: SqliteBackend) -> Iterator[Worker]:
    BEGUN.clear()
    GO.clear()
    worker = backend.serve(CATALOG, queues=["onward"]).unwrap()
    yield worker
    GO.set()
    worker.stop()


def listed(backend: SqliteBackend, query: CallQuery) -> list[CallRecord]:
    found: list[CallRecord] = []
    after = ""
    while True:
        page = backend.calls(query, after).unwrap()
        assert len(page.calls) <= query.limit
        found += page.calls
        if not page.next:
            return found
        after = page.next


def ids(backend: SqliteBackend, *states: Listed, limit: int = 2, **others: object) -> list[str]:
    query = CallQuery(frozenset(states), limit=limit, **others)  # type: ignore[arg-type]  # a test's
    return [call.id for call in listed(backend, query)]


def newer_plan(plan: bytes) -> bytes:
    """As a later release writes it."""
    return plan.replace(b'"v":1', b'"v":%d' % (NEWEST + 1), 1)


def lose(path: Path, id: str) -> None:
    """As if so many workers had died at a call."""
    file = File(path, "full", 1.0)
    with closing(file.open().db) as db:
        call = "(select seq from onward_calls where id = ?)"
        db.execute(f"update onward_jobs set deaths = ? where seq = {call}", (MOST_DEATHS, id))
        take_over(db, [0], file.clock)


def test_calls_are_listed_by_their_state(
    path: Path, backend: SqliteBackend, worker: Worker
) -> None:
    tried = [
        submit(call, on=backend).unwrap() for call in (good(1), bad(1), wrong(1), good(2), WAITS(1))
    ]
    for ref in tried[:4]:
        result(ref, on=backend, timeout=PATIENCE)
    until(
        lambda: status(tried[4], on=backend).unwrap().state == "waiting",
        within=PATIENCE,
        otherwise=lambda: "it does not wait",
    )
    running = submit(linger(1), on=backend).unwrap()
    assert BEGUN.wait(PATIENCE)
    queued, lost, cancelled = (submit(unserved(n), on=backend).unwrap() for n in range(3))
    assert cancel(cancelled, on=backend) == Success(None)
    lose(path, lost.id)
    done, raised, failed, again, waiting = tried
    newest = [cancelled, lost, queued, running, waiting, again, failed, raised, done]
    assert ids(backend) == [ref.id for ref in newest]
    expected: dict[tuple[Listed, ...], Collection[object]] = {
        ("queued",): [queued],
        ("running",): [running],
        ("waiting",): [waiting],
        ("done",): [again, done],
        ("failed",): [lost, failed, raised],
        ("lost",): [lost],
        ("cancelled",): [cancelled],
        ("expired",): [],
        ("failed", "lost", "cancelled"): [cancelled, lost, failed, raised],
        ("done", "lost", "queued", "running"): [lost, queued, running, again, done],
        ("queued", "running", "waiting", "cancelling"): [queued, running, waiting],
    }
    for states, refs in expected.items():
        assert ids(backend, *states) == [ref.id for ref in newest if ref in refs], states
    by_id = {call.id: call for call in listed(backend, CallQuery())}
    assert [by_id[ref.id].fault for ref in (done, raised, failed, lost, cancelled)] == [
        "",
        "Raised",
        "",
        "Lost",
        "Cancelled",
    ]
    assert by_id[running.id].ended is None
    assert by_id[done.id].ended is not None
    fault = result(lost, on=backend).failure()
    assert isinstance(fault, Lost)
    assert str(MOST_DEATHS) in fault.message


@pytest.mark.parametrize("spoil", [newer_plan, lambda plan: plan[:-7], lambda plan: b"\xff\xfe"])
def test_a_call_whose_plan_cannot_be_read_is_a_dead_letter_that_goes_on_once_it_can(
    spoil: Callable[[bytes], bytes], path: Path, backend: SqliteBackend
) -> None:
    ref = submit((good >> good)(1), on=backend).unwrap()
    with closing(sqlite3.connect(path)) as db:
        [plan] = db.execute("select plan from onward_calls where id = ?", (ref.id,)).fetchone()
        db.execute("update onward_calls set plan = ? where id = ?", (spoil(bytes(plan)), ref.id))
        db.commit()
        worker = backend.serve(CATALOG).unwrap()
        fault = result(ref, on=backend, timeout=PATIENCE).failure()
        assert isinstance(fault, Lost)
        assert "its plan cannot be read (" in str(fault)
        assert ids(backend, "lost") == [ref.id]
        assert resume(ref, on=backend) == Failure(fault)
        db.execute("update onward_calls set plan = ? where id = ?", (plan, ref.id))
        db.commit()
    again = resume(ref, on=backend).unwrap()
    assert result(again, on=backend, timeout=PATIENCE) == Success(1)
    worker.stop()


def test_a_call_whose_secret_no_key_of_a_worker_decrypts_is_a_dead_letter_that_goes_on_with_it(
    backend: SqliteBackend,
) -> None:
    pytest.importorskip("cryptography")
    old, new = b"o" * 32, b"n" * 32
    client, both = sealing(backend, [old]), sealing(backend, [new, old])
    ref = submit((good >> given(login, Secret("open sesame")))(1), on=client).unwrap()
    catalog = Catalog(good, login)
    worker = backend.serve(opening(sealing(backend, [new]), catalog)).unwrap()
    fault = result(ref, on=client, timeout=PATIENCE).failure()
    worker.stop()
    assert isinstance(fault, Lost)
    assert "no key here decrypts it" in str(fault)
    assert [found.unwrap().ref.id for found in calls(on=client, state="lost")] == [ref.id]
    worker = backend.serve(opening(both, catalog)).unwrap()
    again = resume(ref, on=client).unwrap()
    assert result(again, on=client, timeout=PATIENCE) == Success(12)
    assert {each.path for each in history(again, on=both).unwrap().steps if each.taken_over} == {
        "0"
    }
    worker.stop()


def test_calls_are_found_by_flow_tags_and_time(
    path: Path, backend: SqliteBackend, worker: Worker
) -> None:
    one = submit(good(1), on=backend, tags=["a", "b"]).unwrap()
    two = submit((good >> bad).named("both")(1), on=backend, tags=["b", "c"]).unwrap()
    many = submit_all([good(2), good(3)], on=backend, tags=["many"]).unwrap()
    for ref in (one, two, *many):
        result(ref, on=backend, timeout=PATIENCE)
    assert ids(backend, flow="both") == [two.id]
    assert ids(backend, flow="good") == [many[1].id, many[0].id, one.id]
    assert ids(backend, tags=frozenset({"b"})) == [two.id, one.id]
    assert ids(backend, tags=frozenset({"a", "b"})) == [one.id]
    assert ids(backend, tags=frozenset({"a", "c"})) == []
    assert ids(backend, "failed", tags=frozenset({"b"})) == [two.id]
    assert ids(backend, "done", tags=frozenset({"b"})) == [one.id]
    assert ids(backend, tags=frozenset({"many"})) == [many[1].id, many[0].id]
    assert ids(backend, "lost", "done", tags=frozenset({"many"}), limit=1) == [
        many[1].id,
        many[0].id,
    ]
    [record] = [call for call in listed(backend, CallQuery()) if call.id == one.id]
    assert record.tags == ("a", "b")
    with closing(sqlite3.connect(path)) as db:
        for number, ref in enumerate((one, two, *many)):
            query = "update onward_calls set submitted = ? where id = ?"
            db.execute(query, (1000.0 + number, ref.id))
        db.commit()
    start = datetime.fromtimestamp(1000, UTC)
    first, second, third = (start + timedelta(seconds=number) for number in (1, 2, 3))
    assert ids(backend, since=first, until=third) == [many[0].id, two.id]
    assert ids(backend, "done", since=second) == [many[1].id, many[0].id]
    assert ids(backend, "failed", until=second, flow="both") == [two.id]
    assert ids(backend, until=start) == []


def test_pages_stay_right_while_calls_are_added_and_deleted(backend: SqliteBackend) -> None:
    refs = submit_all([unserved(n) for n in range(6)], on=backend).unwrap()
    query = CallQuery(limit=2)
    page = backend.calls(query).unwrap()
    seen = [call.id for call in page.calls]
    while page.next:
        submit(unserved(7), on=backend).unwrap()
        newest = listed(backend, CallQuery())[0]
        assert cancel(unserved.ref(newest.id), on=backend) == Success(None)
        assert backend.forget(newest.id) == Success(None)
        page = backend.calls(query, page.next).unwrap()
        seen += [call.id for call in page.calls]
    assert seen == [ref.id for ref in reversed(refs)]
    fault = backend.calls(query, "nowhere").failure()
    assert isinstance(fault, Misconfigured)


def test_a_call_that_was_deleted_leaves_nothing_in_the_file(
    path: Path, backend: SqliteBackend, worker: Worker
) -> None:
    flow = echo >> keep(awaits(NOTE)) >> refuse
    ref = submit(flow(SECRET), on=backend, tags=[SECRET], key=SECRET).unwrap()
    fault = backend.forget(ref.id).failure()
    assert isinstance(fault, Conflict)
    assert send(ref, NOTE, SECRET, on=backend) == Success(None)
    assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Raised)
    other = submit(good(1), on=backend, tags=["other"]).unwrap()
    assert backend.forget(ref.id) == Success(None)
    assert isinstance(backend.forget(ref.id).failure(), Unknown)
    assert isinstance(backend.forget("\ud800").failure(), Unknown)
    assert isinstance(backend.history(ref.id).failure(), Unknown)
    assert isinstance(result(ref, on=backend).failure(), Unknown)
    assert ids(backend) == [other.id]
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("pragma wal_checkpoint(truncate)").fetchone()[0] == 0
        for table in ("calls", "steps", "attempts", "signals", "waits", "tags"):
            [left] = db.execute(f"select count(*) from onward_{table}").fetchone()
            assert left == (1 if table in ("calls", "tags") else 0), table
    assert SECRET.encode() not in path.read_bytes()
