"""Cleanups run when a call is cancelled, expires, or loses its worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from returns.result import Result, Success

from onward import (
    Cancelled,
    Catalog,
    Expired,
    Fault,
    Signal,
    awaits,
    cancel,
    current,
    result,
    run,
    sleep,
    status,
    submit,
    task,
)
from onward.backends.hatchet import HatchetBackend
from tests.hatchet.double import Double
from tests.hatchet.served import PATIENCE, Engine, backend_on, fresh, serving

DECISION = Signal("decision", bool)


def note(file: str, text: str) -> None:
    with Path(file).open("a") as opened:
        opened.write(f"{text}\n")


def noted(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


@task
def charge(file: str) -> str:
    note(file, "charge")
    return file


@task
async def ship(file: str) -> str:
    """Never ends by itself."""
    note(file, "ship")
    await asyncio.Event().wait()
    return file


@task
def refund(file: str) -> None:
    note(file, "refund")


@task
def slow_refund(file: str) -> None:
    """Takes until a file named gate exists."""
    note(file, "begin")
    while not Path(file).with_name("gate").exists():
        time.sleep(0.01)
    note(file, "refund")


@task
def forget(error: str | Fault, file: str = "") -> str:
    note(file, "forgot")
    return str(error)


@task
def fail(file: str) -> Result[str, str]:
    raise ValueError(current().task)


catalog = Catalog(charge, ship, refund, slow_refund, forget, fail)


@pytest.fixture(scope="module")
def backend(engine: Engine) -> Iterator[HatchetBackend]:
    with serving(engine, catalog, namespace=fresh()) as backend:
        yield backend


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "notes"


def until(condition: Callable[[], bool], patience: float = PATIENCE) -> None:
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "it did not become true in time"
        time.sleep(0.02)


def test_a_cancelled_call_cleans_up_and_ends_after_that(
    backend: HatchetBackend, file: Path
) -> None:
    flow = charge >> ship.finally_(slow_refund) >> charge
    ref = submit(flow(str(file)), on=backend).unwrap()
    until(lambda: "ship" in noted(file))
    assert cancel(ref, on=backend) == Success(None)
    assert cancel(ref, on=backend) == Success(None)
    until(lambda: "begin" in noted(file))
    assert status(ref, on=backend).unwrap().state == "cancelling"
    file.with_name("gate").touch()
    assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Cancelled)
    assert noted(file) == ["charge", "ship", "begin", "refund"]
    assert status(ref, on=backend).unwrap().state == "cancelled"


def test_no_rescue_catches_a_cancel_and_nothing_else_begins(
    backend: HatchetBackend, file: Path
) -> None:
    flow = charge >> (ship.rescue(forget) >> charge).finally_(refund)
    ref = submit(flow(str(file)), on=backend).unwrap()
    until(lambda: "ship" in noted(file))
    assert cancel(ref, on=backend) == Success(None)
    assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Cancelled)
    assert noted(file) == ["charge", "ship", "refund"]


def test_a_call_that_waits_cleans_up(backend: HatchetBackend, file: Path) -> None:
    flow = (charge >> sleep(0) >> awaits(DECISION)).finally_(refund)
    ref = submit(flow(str(file)), on=backend).unwrap()
    until(lambda: status(ref, on=backend).unwrap().signal == "decision")
    assert cancel(ref, on=backend) == Success(None)
    assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Cancelled)
    assert noted(file) == ["charge", "refund"]


def test_what_has_not_begun_is_not_cleaned_up(backend: HatchetBackend, file: Path) -> None:
    flow = ship >> charge.finally_(refund)
    ref = submit(flow(str(file)), on=backend).unwrap()
    until(lambda: "ship" in noted(file))
    assert cancel(ref, on=backend) == Success(None)
    assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Cancelled)
    assert noted(file) == ["ship"]


def test_a_call_that_no_worker_has_begun_ends_at_once(engine: Engine, file: Path) -> None:
    namespace = fresh()
    with serving(engine, catalog, namespace=namespace):
        pass
    client = backend_on(engine, namespace=namespace)
    ref = submit(charge.finally_(refund)(str(file)), on=client).unwrap()
    late = submit(charge.finally_(refund)(str(file)), on=client, deadline=0.2).unwrap()
    assert cancel(ref, on=client) == Success(None)
    assert isinstance(result(ref, on=client, timeout=PATIENCE).failure(), Cancelled)
    assert isinstance(result(late, on=client, timeout=PATIENCE).failure(), Expired)
    with serving(engine, catalog, namespace=namespace):
        assert run(charge(str(file)), on=client, timeout=PATIENCE) == Success(str(file))
    assert noted(file) == ["charge"]
    client.close()


def test_a_cancel_that_the_engine_hides_is_seen(file: Path) -> None:
    """While it tries to hand a run to a worker that has died, it shows the run as failed."""
    with Double() as double:
        with serving(double, catalog) as backend:
            flow = (charge >> awaits(DECISION)).finally_(refund)
            begun = submit(flow(str(file)), on=backend).unwrap()
            until(lambda: status(begun, on=backend).unwrap().state == "waiting")
        client = backend_on(double)
        alone = submit(charge(str(file)), on=client).unwrap()
        for ref in (begun, alone):
            assert cancel(ref, on=client) == Success(None)
            double.fail_to_send(ref.id)
        assert isinstance(result(alone, on=client, timeout=PATIENCE).failure(), Cancelled)
        with serving(double, catalog):
            assert isinstance(result(begun, on=client, timeout=PATIENCE).failure(), Cancelled)
        assert noted(file) == ["charge", "refund"]
        client.close()


def test_a_call_past_its_deadline_cleans_up(backend: HatchetBackend, file: Path) -> None:
    flow = charge >> ship.finally_(refund)
    for seconds in (3, 15, 90):  # in which it has to begin
        outcome = run(flow(str(file)), on=backend, deadline=seconds)
        assert isinstance(outcome.failure(), Expired)
        if "ship" in noted(file):
            break
        file.unlink(missing_ok=True)
    assert noted(file) == ["charge", "ship", "refund"]


def test_another_worker_cleans_up_what_was_cancelled(engine: Engine, file: Path) -> None:
    namespace = fresh()
    client = backend_on(engine, namespace=namespace)
    flow = (charge >> awaits(DECISION)).finally_(refund)
    with serving(engine, catalog, namespace=namespace):
        ref = submit(flow(str(file)), on=client).unwrap()
        until(lambda: status(ref, on=client).unwrap().state == "waiting")
    assert cancel(ref, on=client) == Success(None)
    with serving(engine, catalog, namespace=namespace):
        assert isinstance(result(ref, on=client, timeout=PATIENCE).failure(), Cancelled)
        assert noted(file) == ["charge", "refund"]
    client.close()


@pytest.mark.long
def test_another_worker_cleans_up_what_has_expired(engine: Engine, file: Path) -> None:
    namespace = fresh()
    client = backend_on(engine, namespace=namespace)
    flow = (charge >> awaits(DECISION)).finally_(refund)
    end = time.time() + 10
    with serving(engine, catalog, namespace=namespace):
        ref = submit(flow(str(file)), on=client, deadline=10).unwrap()
        until(lambda: status(ref, on=client).unwrap().state == "waiting")
    until(lambda: time.time() > end)
    with serving(engine, catalog, namespace=namespace):
        assert isinstance(result(ref, on=client, timeout=PATIENCE).failure(), Expired)
        assert noted(file) == ["charge", "refund"]
    client.close()
