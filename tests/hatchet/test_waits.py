"""Flows that sleep and wait for signals, and that are taken over while they do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from returns.result import Failure, Success

from onward import (
    Cancelled,
    Catalog,
    Conflict,
    Expired,
    Fault,
    Ref,
    Signal,
    Unanswered,
    Unknown,
    Unsupported,
    awaits,
    cancel,
    check,
    current,
    keep,
    result,
    run,
    send,
    sleep,
    spread,
    status,
    submit,
    task,
    together,
)
from onward.backends.hatchet import HatchetBackend
from tests.hatchet.double import Double
from tests.hatchet.served import PATIENCE, Engine, backend_on, fresh, is_evicted, serving

DECISION = Signal("decision", bool)


@task
def order(amount: int) -> int:
    return amount + 1


@task
def book(amount: int, decision: bool) -> str:
    return f"{amount} {decision}"


@task
def give_up(error: Unanswered | Fault) -> bool:
    assert isinstance(error, Unanswered)
    return False


@task
def begin(folder: str) -> str:
    """Notes that it has begun, and waits until it may end."""
    number = begun(Path(folder)) + 1
    (Path(folder) / f"begun-{number}").touch()
    while not (Path(folder) / f"gate-{number}").exists() and not current().cancelled:
        time.sleep(0.01)
    return folder


def begun(folder: Path) -> int:
    return len(list(folder.glob("begun-*")))


approval = (order >> keep(awaits(DECISION)) >> spread(book)).named("approval")
catalog = Catalog(order, book, begin, give_up, approval)


@pytest.fixture(scope="module")
def backend(engine: Engine) -> Iterator[HatchetBackend]:
    with serving(engine, catalog, namespace=fresh()) as backend:
        yield backend


def until(condition: Callable[[], bool], patience: float = PATIENCE) -> None:
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "it did not become true in time"
        time.sleep(0.02)


def is_waiting(ref: Ref[Any, Any], backend: HatchetBackend) -> bool:
    return status(ref, on=backend).unwrap().state == "waiting"


def test_a_sleep_passes_its_input_on(backend: HatchetBackend) -> None:
    begin = time.time()
    flow = order >> sleep(0.5) >> together(order, sleep(0.1) >> order)
    assert run(flow(1), on=backend, timeout=PATIENCE) == Success((3, 3))
    assert time.time() >= begin + 0.6


def test_a_signal_reaches_all_that_wait_for_it(backend: HatchetBackend) -> None:
    flow = order >> together(awaits(DECISION), approval)
    ref = submit(flow(1), on=backend).unwrap()
    until(lambda: is_waiting(ref, backend))
    assert status(ref, on=backend).unwrap().signal == "decision"
    assert send(ref, DECISION, True, on=backend) == Success(None)
    assert result(ref, on=backend, timeout=PATIENCE) == Success((True, "3 True"))


def test_the_first_value_of_a_signal_counts_and_an_early_one_is_kept(
    backend: HatchetBackend,
) -> None:
    ref = submit((sleep(0.5) >> approval)(1), on=backend).unwrap()
    assert send(ref, DECISION, True, on=backend) == Success(None)
    assert isinstance(send(ref, DECISION, False, on=backend).failure(), Conflict)
    assert result(ref, on=backend, timeout=PATIENCE) == Success("2 True")
    assert "ended" in send(ref, DECISION, False, on=backend).failure().message


def test_a_signal_to_an_unknown_call_is_a_fault(backend: HatchetBackend) -> None:
    ref = submit(order(1), on=backend).unwrap()
    assert result(ref, on=backend, timeout=PATIENCE) == Success(2)
    unknown = Ref("5e6b7d5c-0000-4000-8000-00000000ffff", approval)
    assert isinstance(send(unknown, DECISION, True, on=backend).failure(), Unknown)


def test_a_wait_without_a_signal_times_out(backend: HatchetBackend) -> None:
    assert run(awaits(DECISION, timeout=0.2)(1), on=backend, timeout=PATIENCE) == Failure(
        Unanswered("decision", 0.2)
    )
    flow = awaits(DECISION, timeout=0.2).rescue(give_up) >> sleep(0.1)
    assert run(flow(1), on=backend, timeout=PATIENCE) == Success(False)


def test_a_call_that_waits_can_be_cancelled_and_can_expire(backend: HatchetBackend) -> None:
    ref = submit(approval(1), on=backend).unwrap()
    until(lambda: is_waiting(ref, backend))
    assert cancel(ref, on=backend) == Success(None)
    assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Cancelled)
    assert isinstance(send(ref, DECISION, True, on=backend).failure(), Conflict)
    assert isinstance(run(approval(1), on=backend, deadline=1).failure(), Expired)


def test_another_worker_goes_on_with_a_wait(engine: Engine) -> None:
    """With the same due time, and with the signals that came meanwhile."""
    namespace = fresh()
    client = backend_on(engine, namespace=namespace)
    flow = order >> awaits(DECISION, timeout=3600) >> sleep(1) >> keep(awaits(DECISION))
    with serving(engine, catalog, namespace=namespace):
        ref = submit(flow(1), on=client).unwrap()
        until(lambda: is_waiting(ref, client))
        due = status(ref, on=client).unwrap().until
        assert due is not None
    assert send(ref, DECISION, True, on=client) == Success(None)
    with serving(engine, catalog, namespace=namespace):
        assert result(ref, on=client, timeout=PATIENCE) == Success((True, True))
    client.close()


def test_a_flow_that_waits_long_is_in_no_worker(engine: Engine) -> None:
    """The engine has it. A signal brings it back, and cancel ends it where it is."""
    namespace = fresh()
    with serving(engine, catalog, namespace=namespace, holds=0.1) as backend:
        refs = [submit(approval(n), on=backend).unwrap() for n in range(3)]
        until(lambda: all(is_evicted(engine, ref.id) for ref in refs))
        assert {status(ref, on=backend).unwrap().signal for ref in refs} == {"decision"}
        assert send(refs[0], DECISION, True, on=backend) == Success(None)
        assert result(refs[0], on=backend, timeout=PATIENCE) == Success("1 True")
        assert cancel(refs[1], on=backend) == Success(None)
        assert isinstance(result(refs[1], on=backend, timeout=PATIENCE).failure(), Cancelled)
    client = backend_on(engine, namespace=namespace)
    assert send(refs[2], DECISION, False, on=client) == Success(None)
    with serving(engine, catalog, namespace=namespace):
        assert result(refs[2], on=client, timeout=PATIENCE) == Success("3 False")
    client.close()


@pytest.mark.long
def test_an_evicted_flow_goes_on_when_its_wait_is_due(hatchet: Engine) -> None:
    """The engine starts a run for that. The double has no clock."""
    with serving(hatchet, catalog, namespace=fresh(), holds=0.1) as backend:
        ref = submit((order >> sleep(24) >> order)(1), on=backend).unwrap()
        until(lambda: is_evicted(hatchet, ref.id), patience=20)
        assert result(ref, on=backend, timeout=PATIENCE) == Success(3)


def test_a_flow_with_a_running_step_stays_with_its_worker(engine: Engine, tmp_path: Path) -> None:
    """Also one whose step began after it had done nothing but wait for a moment."""
    folder = str(tmp_path)
    flow = together(awaits(DECISION), begin >> begin >> begin)
    with serving(engine, catalog, namespace=fresh(), holds=0.1) as backend:
        ref = submit(flow(folder), on=backend).unwrap()
        for count in (1, 2, 3):
            until(lambda count=count: begun(tmp_path) == count)  # type: ignore[misc]  # bound now
            assert run(sleep(0.5)(1), on=backend, timeout=250) == Success(1)
            (tmp_path / f"gate-{count}").touch()
        assert send(ref, DECISION, True, on=backend) == Success(None)
        assert result(ref, on=backend, timeout=250) == Success((True, folder))


def test_a_flow_whose_sleep_is_over_stays_with_the_next_worker(
    engine: Engine, tmp_path: Path
) -> None:
    """The sleep ends at once there, and then a step runs."""
    namespace, folder = fresh(), str(tmp_path)
    with serving(engine, catalog, namespace=namespace):
        backend = backend_on(engine, namespace=namespace)
        ref = submit((sleep(0.1) >> begin)(folder), on=backend).unwrap()
        until(lambda: begun(tmp_path) == 1)
    with serving(engine, catalog, namespace=namespace, holds=0.1):
        until(lambda: begun(tmp_path) == 2)
        assert run(sleep(0.5)(1), on=backend, timeout=250) == Success(1)
        for count in (1, 2):
            (tmp_path / f"gate-{count}").touch()
        assert result(ref, on=backend, timeout=250) == Success(folder)
    backend.close()


def test_a_delayed_call_is_in_no_worker(hatchet: Engine) -> None:
    """The double does not start a run at a moment, and so the worker keeps it there."""
    with serving(hatchet, catalog, namespace=fresh(), holds=0.1) as backend:
        ref = submit(order(1), on=backend, delay=600).unwrap()
        until(lambda: is_evicted(hatchet, ref.id))
        assert status(ref, on=backend).unwrap().state == "queued"
        assert cancel(ref, on=backend) == Success(None)
        assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Cancelled)


@pytest.mark.long
def test_a_delayed_call_goes_on_when_it_is_due(hatchet: Engine) -> None:
    """The engine starts a run for that."""
    begin = time.time()
    with serving(hatchet, catalog, namespace=fresh(), holds=0.1) as backend:
        ref = submit(order(1), on=backend, delay=24).unwrap()
        until(lambda: is_evicted(hatchet, ref.id), patience=20)
        assert result(ref, on=backend, timeout=120) == Success(2)
        assert time.time() >= begin + 24


def test_a_flow_that_was_assigned_twice_waits_on() -> None:
    with Double() as engine, serving(engine, catalog, namespace=fresh()) as own:
        ref = submit(approval(1), on=own).unwrap()
        until(lambda: is_waiting(ref, own))
        engine.take_away(ref.id)
        assert send(ref, DECISION, True, on=own) == Success(None)
        assert result(ref, on=own, timeout=PATIENCE) == Success("2 True")


def test_a_wait_that_outlasts_the_finished_steps_is_refused(backend: HatchetBackend) -> None:
    months = 90 * 24 * 3600
    for flow in (order >> sleep(months), order >> awaits(DECISION, timeout=months)):
        assert isinstance(check(flow(1), on=backend).failure()[0], Unsupported)
        assert isinstance(submit(flow(1), on=backend).failure(), Unsupported)
