"""Outages of the broker and the ledger change no outcome, and calls continue afterwards."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from redis import Redis
from returns.result import Success

from onward import cancel, result, results, status, submit
from onward.backends.celery import celery
from onward.backends.celery.backend import CeleryBackend
from onward.fault import Unavailable, Unknown
from tests.engines.process import until
from tests.faults.celery_storm import Durable, onward_workers
from tests.faults.served import catalog, chain, fan_out, hold, noted, step
from tests.faults.workers import Workers

pytestmark = pytest.mark.faults

REFUSED = 6.0
"""How long the broker is away, in seconds: longer than clients retry."""
FROZEN = 3.0
"""How long the broker does not answer on its connections, in seconds."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Durable]:
    with Durable.start(tmp_path / "valkey") as started:
        yield started


@pytest.fixture
def backend(server: Durable) -> Iterator[CeleryBackend]:
    made = celery(server.url, lease=1.0)
    yield made
    made.close()


@pytest.fixture
def workers(server: Durable, tmp_path: Path) -> Iterator[Workers]:
    with onward_workers(tmp_path, server.url, pace=0.05) as started:
        yield started


def refuse(server: Durable) -> None:
    server.kill()
    time.sleep(REFUSED)
    server.restart()


def freeze(server: Durable) -> None:
    server.pause()
    time.sleep(FROZEN)
    server.resume()


@pytest.mark.parametrize("outage", [refuse, freeze])
def test_calls_and_waits_during_an_outage_have_their_outcomes_afterwards(
    outage: Callable[[Durable], None],
    server: Durable,
    backend: CeleryBackend,
    workers: Workers,
    tmp_path: Path,
) -> None:
    gate = tmp_path / "gate"
    held = submit(hold(str(gate)), on=backend).unwrap()
    until(lambda: bool(noted(workers.trace, held.id)), within=120, otherwise=workers.tail)
    refs = [submit(chain(n), on=backend).unwrap() for n in range(20)]
    fans = [submit(fan_out([n, n]), on=backend).unwrap() for n in range(5)]
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(result, held, backend, timeout=60)
        gate.touch()  # so that the step ends during the outage
        outage(server)
        assert waiting.result(60) == Success(str(gate)), workers.tail()
    found = [result(ref, on=backend, timeout=120) for ref in refs]
    assert found == [Success(n + 3) for n in range(20)], workers.tail()
    found = [result(ref, on=backend, timeout=120) for ref in fans]
    assert found == [Success(2 * n + 2) for n in range(5)], workers.tail()


def test_the_outcome_of_a_step_that_ended_during_an_outage_is_not_lost(
    server: Durable, backend: CeleryBackend, workers: Workers, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    ref = submit(hold(str(gate)), on=backend).unwrap()
    until(lambda: bool(noted(workers.trace, ref.id)), within=120, otherwise=workers.tail)
    server.kill()
    gate.touch()
    time.sleep(REFUSED)
    server.restart()
    assert result(ref, on=backend, timeout=120) == Success(str(gate)), workers.tail()
    assert noted(workers.trace, ref.id) == ["hold"]


def test_submitting_without_a_broker_is_a_fault(server: Durable, backend: CeleryBackend) -> None:
    server.kill()
    found = submit(step(1), on=backend).failure()
    assert isinstance(found, Unavailable)


def test_a_call_that_is_no_longer_kept_is_unknown(server: Durable, tmp_path: Path) -> None:
    backend = celery(server.url, keep=1.0, lease=1.0)
    gate = tmp_path / "gate"
    worker = backend.serve(catalog).unwrap()
    ended = submit(step(1), on=backend).unwrap()
    assert result(ended, on=backend, timeout=120) == Success(2)
    running = submit(hold(str(gate)), on=backend).unwrap()
    until(
        lambda: status(running, on=backend).unwrap().state == "running",
        within=120,
        otherwise=lambda: "it goes on",
    )
    cancel(running, on=backend).unwrap()
    with Redis.from_url(server.url) as client:
        until(
            lambda: not client.exists(f"onward:{running.id}", f"onward:{ended.id}"),
            within=120,
            otherwise=lambda: "it goes on",
        )
        gate.touch()
        worker.stop()
    for ref in (ended, running):
        assert isinstance(result(ref, on=backend).failure(), Unknown)
        assert isinstance(status(ref, on=backend).failure(), Unknown)
    assert {found.failure().__class__ for _, found in results([ended], on=backend)} == {Unknown}
    backend.close()
