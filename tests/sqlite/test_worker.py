"""Which worker runs what, and what a step holds while it waits."""

import asyncio
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

from returns.result import Success

from onward import (
    Catalog,
    Constant,
    Raised,
    Retry,
    aio,
    each,
    result,
    results,
    run,
    status,
    submit,
    submit_all,
    task,
)
from onward.backends.sqlite import SqliteBackend, sqlite
from onward.context import current
from tests.engines.process import until

PATIENCE = 120.0


@task
def note(file: Path, text: str) -> str:
    with file.open("a") as lines:
        lines.write(f"{text}\n")
    return text


@task
def inc(n: int) -> int:
    return n + 1


@task(queue="far")
def far(n: int) -> tuple[int, str]:
    return n, current().step


@task(retry=Retry(attempts=2, backoff=Constant(600.0)))
def wait_for_long(n: int) -> int:
    raise OSError("not yet")


@task
def meet(others: int) -> int:
    """Waits until so many run at the same time."""
    MEETING.wait(PATIENCE)
    return others


MEETING = threading.Barrier(6)


@task
async def sweep(n: int) -> int:
    """Cancels all that runs on its loop, once."""
    if not SWEPT.is_set():
        SWEPT.set()
        for each_ in asyncio.all_tasks():
            each_.cancel()
        await asyncio.sleep(PATIENCE)
    return n


SWEPT = threading.Event()

BACKENDS: list[SqliteBackend] = []


@task
def wait_within(n: int) -> int:
    return run(inc(n), on=BACKENDS[0], timeout=PATIENCE).unwrap()


@task
async def wait_within_async(n: int) -> int:
    return (await aio.run(inc(n), on=BACKENDS[0], timeout=PATIENCE)).unwrap()


CATALOG = Catalog(note, inc, far, wait_for_long, meet, sweep, wait_within, wait_within_async)


def test_the_most_urgent_go_first_and_then_the_oldest(
    backend: SqliteBackend, tmp_path: Path
) -> None:
    file = tmp_path / "lines"
    urgencies = {"a": None, "b": 0, "c": 9, "d": 9, "e": 6, "f": None}
    refs = [
        submit(note(file, text), on=backend, priority=priority).unwrap()
        for text, priority in urgencies.items()
    ]
    worker = backend.serve(CATALOG, concurrency=1).unwrap()
    assert len(list(results(refs, on=backend, timeout=PATIENCE))) == 6
    worker.stop()
    assert "".join(file.read_text().split()) == "cdeafb"


def test_a_step_of_another_queue_is_run_by_a_worker_of_it(backend: SqliteBackend) -> None:
    flow = inc >> far
    here = backend.serve(CATALOG, queues=["onward"]).unwrap()
    ref = submit(flow(1), on=backend).unwrap()
    assert result(ref, on=backend, timeout=0.3).failure().task == flow.name
    there = backend.serve(CATALOG, queues=["far"]).unwrap()
    assert result(ref, on=backend, timeout=PATIENCE) == Success((2, "1"))
    assert status(ref, on=backend).unwrap().task == "far"
    here.stop()
    there.stop()


def test_a_step_that_waits_for_its_next_attempt_holds_no_slot(backend: SqliteBackend) -> None:
    worker = backend.serve(CATALOG, concurrency=1).unwrap()
    refs = submit_all([wait_for_long(n) for n in range(3)], on=backend).unwrap()
    assert run(inc(1), on=backend, timeout=PATIENCE) == Success(2)
    for ref in refs:
        assert status(ref, on=backend).unwrap().state == "running"
    began = time.monotonic()
    worker.stop(grace=PATIENCE)
    assert time.monotonic() - began < PATIENCE


def test_a_step_that_waits_for_a_call_lends_its_slot(backend: SqliteBackend) -> None:
    BACKENDS[:] = [backend]
    worker = backend.serve(CATALOG, concurrency=1).unwrap()
    flow = wait_within >> wait_within_async
    assert run(flow(1), on=backend, timeout=PATIENCE) == Success(3)
    worker.stop()


def test_a_fan_out_goes_to_all_workers(backend: SqliteBackend) -> None:
    workers = [backend.serve(CATALOG, concurrency=2).unwrap() for _ in range(3)]
    found = run(each(meet)([0] * 6), on=backend, timeout=PATIENCE)
    assert found == Success([0] * 6)
    for worker in workers:
        worker.stop()


def test_a_step_that_cancels_all_of_its_loop_does_not_end_the_worker(
    backend: SqliteBackend,
) -> None:
    worker = backend.serve(CATALOG).unwrap()
    assert run(sweep(1), on=backend, timeout=PATIENCE) == Success(1)
    assert run(inc(1), on=backend, timeout=PATIENCE) == Success(2)
    worker.stop()


def test_what_does_not_end_in_time_is_given_back(backend: SqliteBackend, path: Path) -> None:
    go_on = threading.Event()

    @task
    def block(n: int) -> int:
        go_on.wait(PATIENCE)
        return n

    worker = backend.serve(Catalog(block)).unwrap()
    ref = submit(block(1), on=backend).unwrap()
    while status(ref, on=backend).unwrap().state == "queued":
        time.sleep(0.01)
    worker.stop(grace=0.0)
    assert worker.wait(0)
    go_on.set()
    other = sqlite(path)
    again = other.serve(Catalog(block)).unwrap()
    assert result(ref, on=other, timeout=PATIENCE) == Success(1)
    again.stop()
    other.close()


def test_a_chain_stops_between_two_steps(backend: SqliteBackend, path: Path) -> None:
    started, go_on = threading.Event(), threading.Event()

    @task
    def first(n: int) -> int:
        started.set()
        go_on.wait(PATIENCE)
        return n + 1

    catalog = Catalog(first, inc)
    worker = backend.serve(catalog).unwrap()
    ref = submit((first >> inc)(1), on=backend).unwrap()
    assert started.wait(PATIENCE)
    leaving = threading.Thread(target=worker.stop, args=(PATIENCE,))
    leaving.start()
    time.sleep(0.1)
    go_on.set()
    leaving.join(PATIENCE)
    started.clear()
    assert status(ref, on=backend).unwrap().state == "running"
    again = backend.serve(catalog).unwrap()
    assert result(ref, on=backend, timeout=PATIENCE) == Success(3)
    assert not started.is_set()  # the first step's outcome was written down
    again.stop()


def test_what_waits_for_long_is_nobodys_meanwhile(backend: SqliteBackend, path: Path) -> None:
    worker = backend.serve(CATALOG).unwrap()
    ref = submit((inc >> wait_for_long)(1), on=backend).unwrap()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        query = "select count(*) from onward_jobs where owner is null and due is not null"
        until(
            lambda: db.execute(query).fetchone()[0] == 1,
            within=PATIENCE,
            otherwise=lambda: str(db.execute("select * from onward_jobs").fetchall()),
        )
        assert status(ref, on=backend).unwrap().state == "running"
        # Ten minutes have passed, for both at once: the worker looks in between.
        db.execute("begin immediate")
        db.execute("update onward_jobs set due = 0")
        db.execute("update onward_steps set due = 0")
        db.execute("commit")
    fault = result(ref, on=backend, timeout=PATIENCE).failure()
    assert isinstance(fault, Raised)
    assert fault.attempts == 2
    worker.stop()


def test_what_was_taken_up_ahead_is_given_back_where_steps_become_long(
    backend: SqliteBackend,
) -> None:
    pair = threading.Barrier(2)

    @task(name="meet_another")
    def meet_another(n: int) -> int:
        pair.wait(PATIENCE)
        return n

    workers = [backend.serve(Catalog(inc, meet_another), concurrency=1).unwrap()]
    list(results(submit_all([inc(n) for n in range(20)], on=backend).unwrap(), on=backend))
    refs = submit_all([meet_another(n) for n in range(2)], on=backend).unwrap()
    workers.append(backend.serve(Catalog(inc, meet_another), concurrency=1).unwrap())
    found = list(results(refs, on=backend, timeout=PATIENCE))
    assert {value for _, value in found} == {Success(0), Success(1)}
    for worker in workers:
        worker.stop()


def test_a_backend_of_another_queue_goes_its_own_way(path: Path) -> None:
    mail, other = sqlite(path, queue="mail"), sqlite(path)
    ref = submit((inc >> inc)(1), on=mail).unwrap()
    worker = other.serve(CATALOG).unwrap()
    assert run(inc(1), on=other, timeout=PATIENCE) == Success(2)
    assert status(ref, on=other).unwrap().state == "queued"
    worker.stop()
    worker = other.serve(CATALOG, queues=["mail"]).unwrap()
    assert result(ref, on=other, timeout=PATIENCE) == Success(3)
    worker.stop()
    mail.close()
    other.close()
