"""What is read of a call: its steps, the attempts at them, its waits and signals."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from msgspec import Raw
from returns.result import Failure, Success

from onward import (
    Constant,
    Misconfigured,
    Raised,
    Retry,
    Signal,
    Unknown,
    awaits,
    cancel,
    current,
    each,
    fused,
    keep,
    result,
    send,
    sleep,
    status,
    submit,
    task,
)
from onward.backend import Worker
from onward.backend.history import HistoryPage, StepRecord
from onward.backends.sqlite import SqliteBackend
from onward.catalog import Catalog
from onward.outcome import Faulted, Value
from tests.engines.process import until

PATIENCE = 120.0

BEGUN, GO = threading.Event(), threading.Event()
NOTE = Signal("note", str)


@task
def inc(n: int) -> int:
    return n + 1


@task(queue="far")
def far(n: int) -> int:
    return n + 100


@task(retry=Retry(attempts=3, backoff=Constant(0.0)))
def hasty(n: int) -> int:
    if current().attempt < 3:
        raise OSError(f"attempt {current().attempt}")
    return n


@task(retry=Retry(attempts=2, backoff=Constant(0.01)))
def patient(n: int) -> int:
    raise ValueError(f"attempt {current().attempt}")


@task
def linger(n: int) -> int:
    BEGUN.set()
    assert GO.wait(PATIENCE)
    return n


CATALOG = Catalog(inc, far, hasty, patient, linger)


@pytest.fixture
def worker(backend: SqliteBackend) -> Iterator[Worker]:
    BEGUN.clear()
    GO.clear()
    worker = backend.serve(CATALOG).unwrap()
    yield worker
    GO.set()
    worker.stop()


def page_of(backend: SqliteBackend, id: str) -> HistoryPage:
    return backend.history(id).unwrap()


def values(steps: tuple[StepRecord, ...]) -> list[tuple[str, str, object]]:
    return [
        (step.path, step.task, bytes(step.outcome.raw) if step.outcome else None) for step in steps
    ]


def wait(condition: Callable[[], bool]) -> None:
    until(condition, within=PATIENCE, otherwise=lambda: "it never came to be true")


def test_each_step_of_a_call_that_has_ended_is_there_with_times_and_worker(
    backend: SqliteBackend, worker: Worker
) -> None:
    ref = submit((inc >> fused(inc >> inc) >> far)(1), on=backend, tags=["nightly"]).unwrap()
    assert result(ref, on=backend, timeout=PATIENCE) == Success(104)
    page = page_of(backend, ref.id)
    assert page.call.state == "done"
    assert page.call.tags == ("nightly",)
    assert page.plan is not None
    assert page.plan.id == ref.id
    assert page.outcome == Value(Raw(b"104"))
    assert page.next == ""
    flow = page.call.flow
    assert values(page.steps) == [("0", "inc", b"2"), ("1", flow, b"4"), ("2", "far", b"104")]
    times = [moment for step in page.steps for moment in (step.began, step.ended)]
    known = [moment for moment in (page.call.submitted, *times, page.call.ended) if moment]
    assert known == sorted(known)
    assert len(known) == 8
    for step in page.steps:
        [attempt] = step.attempts
        assert (attempt.number, attempt.outcome) == (1, step.outcome)
        assert (attempt.began, attempt.ended) == (step.began, step.ended)
        assert attempt.worker


def test_a_call_of_one_task_has_its_step(backend: SqliteBackend, worker: Worker) -> None:
    ref = submit(inc(1), on=backend).unwrap()
    assert result(ref, on=backend, timeout=PATIENCE) == Success(2)
    page = page_of(backend, ref.id)
    assert values(page.steps) == [("0", "inc", b"2")]
    [attempt] = page.steps[0].attempts
    assert attempt.worker
    assert attempt.began is not None
    assert attempt.began == page.steps[0].began
    assert attempt.ended == page.call.ended == page.steps[0].ended


@pytest.mark.parametrize("before", [0, 1])
def test_every_attempt_is_there_with_its_fault(
    backend: SqliteBackend, worker: Worker, before: int
) -> None:
    quick = (inc >> hasty)(1) if before else hasty(1)
    slow = (inc >> patient)(1) if before else patient(1)
    refs = [submit(call, on=backend).unwrap() for call in (quick, slow)]
    assert result(refs[0], on=backend, timeout=PATIENCE) == Success(1 + before)
    assert isinstance(result(refs[1], on=backend, timeout=PATIENCE).failure(), Raised)
    for ref, attempts, is_value in ((refs[0], 3, True), (refs[1], 2, False)):
        step = page_of(backend, ref.id).steps[before]
        assert [each.number for each in step.attempts] == [*range(1, attempts + 1)]
        assert step.attempts[-1].outcome == step.outcome
        failed = step.attempts[:-1] if is_value else step.attempts
        for attempt in failed:
            assert isinstance(attempt.outcome, Faulted)
            fault = attempt.outcome.fault
            assert isinstance(fault, Raised)
            assert fault.message == f"attempt {attempt.number}"
            assert "current().attempt" in fault.traceback
        times = [at for attempt in step.attempts for at in (attempt.began, attempt.ended) if at]
        assert times == sorted(times)
        assert len(times) == 2 * attempts
        assert (step.began, step.ended) == (times[0], times[-1])


def test_waits_and_signals_are_there_from_their_begin_on(
    backend: SqliteBackend, worker: Worker
) -> None:
    flow = sleep(0.01) >> inc >> keep(awaits(NOTE, timeout=3600)) >> sleep(3600)
    ref = submit(flow(1), on=backend).unwrap()
    wait(lambda: status(ref, on=backend).unwrap().signal == "note")
    slept, _, waits = page_of(backend, ref.id).steps
    assert (slept.kind, slept.task, slept.attempts) == ("sleep", "", ())
    assert slept.began is not None
    assert slept.until is not None
    assert slept.ended is not None
    assert slept.began < slept.until <= slept.ended
    assert (waits.kind, waits.task, waits.outcome, waits.ended) == ("awaits", "note", None, None)
    assert waits.until is not None
    assert send(ref, NOTE, "hello", on=backend) == Success(None)
    wait(lambda: len(page_of(backend, ref.id).steps) == 4)
    assert cancel(ref, on=backend) == Success(None)
    page = page_of(backend, ref.id)
    assert page.signals == {"note": Raw(b'"hello"')}
    assert page.steps[2].outcome == Value(Raw(b'"hello"'))
    assert page.steps[2].until == waits.until
    last = page.steps[3]
    assert (last.kind, last.outcome, last.ended) == ("sleep", None, None)
    assert last.until is not None
    assert page.call.state == "cancelled"


def test_what_runs_is_there_and_stays_there_when_the_call_is_cancelled(
    backend: SqliteBackend, worker: Worker
) -> None:
    ref = submit((inc >> linger)(1), on=backend).unwrap()
    assert BEGUN.wait(PATIENCE)
    wait(lambda: len(page_of(backend, ref.id).steps) == 2)
    page = page_of(backend, ref.id)
    assert (page.call.state, page.outcome) == ("running", None)
    done, running = page.steps
    assert running.task == "linger"
    assert (running.outcome, running.ended) == (None, None)
    [attempt] = running.attempts
    assert (attempt.number, attempt.outcome, attempt.ended) == (1, None, None)
    assert attempt.worker == done.attempts[0].worker
    assert cancel(ref, on=backend) == Success(None)
    cancelled = page_of(backend, ref.id)
    assert cancelled.call.fault == "Cancelled"
    assert [step.path for step in cancelled.steps] == ["0", "1"]
    assert cancelled.steps[1].began == running.began
    assert cancelled.steps[1].outcome is None


def test_a_long_history_comes_in_pages(backend: SqliteBackend, worker: Worker) -> None:
    ref = submit((each(inc) >> each(inc))([*range(150)]), on=backend).unwrap()
    assert result(ref, on=backend, timeout=PATIENCE) == Success([*range(2, 152)])
    pages = [backend.history(ref.id, limit=70).unwrap()]
    while pages[-1].next:
        pages.append(backend.history(ref.id, pages[-1].next, limit=70).unwrap())
    assert [len(page.steps) for page in pages] == [70, 70, 70, 70, 20]
    steps = [step for page in pages for step in page.steps]
    assert {step.path for step in steps} == {f"{n}[{i}]" for n in (0, 1) for i in range(150)}
    began = [step.began for step in steps if step.began]
    assert began == sorted(began)


def test_what_nobody_knows_has_no_history(backend: SqliteBackend) -> None:
    ref = submit(inc(1), on=backend).unwrap()
    assert backend.history(ref.id).unwrap().steps == ()
    for id in ("nobody", "\ud800"):
        assert isinstance(backend.history(id).failure(), Unknown)
    for after in ("nowhere", "x 0", "1.0"):
        fault = backend.history(ref.id, after)
        assert isinstance(fault, Failure)
        assert isinstance(fault.failure(), Misconfigured)
