"""Nobody works on what is another's, and nothing is forgotten when a call changes hands."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from msgspec import Raw
from returns.result import Success

from onward import Catalog, each, result, submit, task
from onward.backends.sqlite import SqliteBackend, claim, lease, sqlite
from onward.backends.sqlite.client import File
from onward.backends.sqlite.message import StepMessage, head_of, write
from onward.backends.sqlite.wakeup import Changes, Wakeup
from onward.plan import Args, EachNode, StepNode, decode
from tests.engines.process import until

PATIENCE = 120.0
RAN: list[int] = []


@task
def count(n: int) -> int:
    RAN.append(n)
    return n


@task(queue="elsewhere")
def double(n: int) -> int:
    return 2 * n


@task
def increment(n: int) -> int:
    return n + 1


def wait(condition: Callable[[], bool]) -> None:
    until(condition, within=PATIENCE, otherwise=lambda: "it never came to be true")


def test_a_worker_of_which_others_think_that_it_is_gone_takes_nothing(
    path: Path, backend: SqliteBackend
) -> None:
    """Were it to die then, nobody would know whose its calls are."""
    submit(increment(1), on=backend).unwrap()
    file = File(path, "full", 1.0)
    with closing(file.open().db) as db:
        now = file.clock.now()
        worker = lease.register(db, "worker", ["onward"], ["increment"], 1, now)
        lease.take_over(db, [worker], file.clock)
        assert claim.take(db, worker, 1, ["onward"], 1, now) == []
        lease.register(db, "worker", ["onward"], ["increment"], 1, now, worker)
        assert len(claim.take(db, worker, 2, ["onward"], 1, now)) == 1


def test_a_step_that_was_handed_over_is_not_run_by_the_next_holder_too(
    path: Path, backend: SqliteBackend
) -> None:
    RAN.clear()
    ref = submit(each(count)([1, 2]), on=backend).unwrap()
    file = File(path, "full", 1.0)
    with closing(file.open().db) as db:
        now = file.clock.now()
        first = lease.register(db, "first", ["onward"], ["count"], 1, now)
        [held] = claim.take(db, first, 1, ["onward"], 1, now)
        plan = decode(held.raw).unwrap()
        assert isinstance(plan.root, EachNode)
        assert isinstance(plan.root.body, StepNode)
        message = write(StepMessage(head_of(plan), plan.root.body, Args((Raw(b"1"),))))
        assert claim.delegate(db, held, "[0]", "onward", 5, message)
        lease.take_over(db, [first], file.clock)
    worker = backend.serve(Catalog(count)).unwrap()
    assert result(ref, on=backend, timeout=PATIENCE) == Success([1, 2])
    worker.stop()
    assert sorted(RAN) == [1, 2]


def test_a_worker_that_gets_its_call_again_hears_of_the_steps_of_others(
    path: Path, backend: SqliteBackend
) -> None:
    with closing(sqlite(path, lease=1.0)) as holder, closing(sqlite(path)) as other:
        worker = holder.serve(Catalog(double, increment), queues=["onward"]).unwrap()
        ref = submit((increment >> double)(1), on=backend).unwrap()
        with closing(sqlite3.connect(path, isolation_level=None)) as db:

            def is_handed_over() -> bool:
                query = "select count(*) from onward_jobs where path is not null"
                return bool(db.execute(query).fetchone()[0])

            wait(is_handed_over)
            # As others do if they have heard nothing of it for long.
            db.execute("begin immediate")
            db.execute("update onward_jobs set owner = null, claim = null")
            db.execute("delete from onward_workers")
            db.execute("commit")
            query = "select claims from onward_jobs where path is null"
            wait(lambda: db.execute(query).fetchone()[0] == 2)
        last = other.serve(Catalog(double), queues=["elsewhere"]).unwrap()
        assert result(ref, on=backend, timeout=PATIENCE) == Success(4)
        worker.stop()
        last.stop()


def test_who_sleeps_until_news_are_forgotten_is_told_to_look(path: Path) -> None:
    file = File(path, "full", 1.0)
    heard: list[Changes] = []
    changed = threading.Event()

    def listen(changes: Changes) -> None:
        heard.append(changes)
        changed.set()

    with closing(file.open().db) as db:
        wakeup = Wakeup(file)
        wakeup.listen(listen)
        assert changed.wait(PATIENCE)  # the first look
        changed.clear()
        db.execute("begin immediate")
        db.execute("insert into onward_log(call, at) values (1, 0)")
        db.execute("delete from onward_log")
        db.execute("commit")
        assert changed.wait(PATIENCE)
        wakeup.close()
    assert heard[1].is_gap
