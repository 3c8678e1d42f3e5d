"""Calls that continue others, from what the file has of them."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from msgspec import Raw
from msgspec.structs import replace
from returns.result import Success

from onward import (
    Cancelled,
    Catalog,
    Constant,
    Raised,
    Retry,
    Signal,
    Unknown,
    awaits,
    cancel,
    current,
    keep,
    result,
    resume,
    send,
    sleep,
    status,
    submit,
    task,
)
from onward.backend import Submission
from onward.backends.sqlite import SqliteBackend
from onward.outcome import Value
from onward.plan import NEWEST, Past
from tests.engines.process import until

PATIENCE = 120.0

RAN: list[tuple[str, int]] = []
BROKEN = threading.Event()
NOTE = Signal("note", str)


@task
def inc(n: int) -> int:
    RAN.append(("inc", n))
    return n + 1


@task(retry=Retry(attempts=2, backoff=Constant(0.0)))
def mend(n: int) -> str:
    RAN.append(("mend", n))
    if BROKEN.is_set():
        raise ValueError(n)
    return f"{n} in {current().id}"


@task(queue="far")
def far(n: int) -> int:
    RAN.append(("far", n))
    return n + 100


@task
def undo(n: int) -> None:
    RAN.append(("undo", n))


CATALOG = Catalog(inc, mend, far, undo)


@pytest.fixture(autouse=True)
def fresh() -> None:
    RAN.clear()
    BROKEN.set()


def test_only_what_has_no_outcome_runs_and_it_gets_its_attempts_anew(
    backend: SqliteBackend,
) -> None:
    flow = far >> inc >> mend
    worker = backend.serve(CATALOG).unwrap()
    ref = submit(flow(1), on=backend, key="order-7").unwrap()
    fault = result(ref, on=backend, timeout=PATIENCE).failure()
    assert isinstance(fault, Raised)
    assert fault.attempts == 2
    worker.stop()
    # Nobody serves the queue of the first step any more.
    worker = backend.serve(CATALOG, queues=["onward"]).unwrap()
    RAN.clear()
    again = resume(ref, on=backend).unwrap()
    assert isinstance(result(again, on=backend, timeout=PATIENCE).failure(), Raised)
    assert RAN == [("mend", 102), ("mend", 102)]
    RAN.clear()
    BROKEN.clear()
    third = resume(again, on=backend, args=[7]).unwrap()
    assert result(third, on=backend, timeout=PATIENCE) == Success(f"7 in {ref.id}")
    assert resume(again, on=backend) == Success(third)
    assert RAN == [("mend", 7)]
    [step] = backend.history(third.id).unwrap().steps
    assert (step.path, [each.number for each in step.attempts]) == ("2", [1])
    assert result(ref, on=backend).failure() == fault
    worker.stop()


def test_waits_go_on_until_they_were_due_and_signals_stay(backend: SqliteBackend) -> None:
    flow = inc >> keep(awaits(NOTE)) >> sleep(3600)
    worker = backend.serve(CATALOG).unwrap()
    ref = submit(flow(1), on=backend).unwrap()
    assert send(ref, NOTE, "hello", on=backend) == Success(None)
    until(
        lambda: len(backend.history(ref.id).unwrap().steps) == 3,
        within=PATIENCE,
        otherwise=lambda: "it does not sleep",
    )
    due = backend.history(ref.id).unwrap().steps[2].until
    assert cancel(ref, on=backend) == Success(None)
    again = resume(ref, on=backend).unwrap()
    page = backend.history(again.id).unwrap()
    assert due is not None
    assert page.plan is not None
    assert page.plan.past is not None
    assert page.plan.past.due == {"2": due.timestamp()}
    over = replace(page.plan.past, due={"2": time.time() - 1})
    assert backend.submit(Submission(replace(page.plan, id="third", past=over))) == Success("third")
    assert result(flow.ref("third"), on=backend, timeout=PATIENCE) == Success((2, "hello"))
    assert RAN == [("inc", 1)]
    worker.stop()


def test_one_that_is_cancelled_before_it_begins_still_cleans_up(backend: SqliteBackend) -> None:
    flow = (inc >> mend).finally_(undo)
    ref = submit(flow(1), on=backend).unwrap()
    plan = backend.history(ref.id).unwrap().plan
    assert plan is not None
    past = Past(ref.id, {"try.0": Value(Raw(b"2"))})  # its workers died before they cleaned up
    plan = replace(plan, v=NEWEST, id="second", past=past)
    assert cancel(ref, on=backend) == Success(None)
    assert backend.submit(Submission(plan)) == Success("second")
    second = flow.ref("second")
    assert cancel(second, on=backend) == Success(None)
    assert status(second, on=backend).unwrap().state == "cancelling"
    worker = backend.serve(CATALOG).unwrap()
    fault = result(second, on=backend, timeout=PATIENCE).failure()
    assert isinstance(fault, Cancelled)
    assert RAN == [("undo", 1)]
    worker.stop()


def test_one_can_be_submitted_in_a_transaction(path: Path, backend: SqliteBackend) -> None:
    flow = inc >> mend
    worker = backend.serve(CATALOG).unwrap()
    ref = submit(flow(1), on=backend, tags=["nightly"]).unwrap()
    assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Raised)
    resumed = resume(ref, on=backend).unwrap()
    plan = backend.history(resumed.id).unwrap().plan
    assert plan is not None
    plan = replace(plan, id="second")
    assert isinstance(result(resumed, on=backend, timeout=PATIENCE).failure(), Raised)
    RAN.clear()
    BROKEN.clear()
    with closing(sqlite3.connect(path)) as db:
        assert backend.within(db).submit(Submission(plan)) == Success(plan.id)
        db.rollback()
        assert isinstance(backend.history(plan.id).failure(), Unknown)
        assert backend.within(db).submit(Submission(plan)) == Success(plan.id)
        db.commit()
    assert result(flow.ref(plan.id), on=backend, timeout=PATIENCE) == Success(f"2 in {ref.id}")
    assert RAN == [("mend", 2)]
    assert backend.history(plan.id).unwrap().call.tags == ("nightly",)
    worker.stop()
