"""A half-open network, which accepts bytes and forwards none, and recovers later."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from returns.result import Success

from onward import (
    Catalog,
    Unavailable,
    cancel,
    result,
    results,
    run,
    status,
    submit,
    submit_all,
    task,
)
from onward.backends.celery import celery
from onward.backends.celery.backend import CeleryBackend
from tests.engines.process import until
from tests.engines.rabbitmq import RabbitMQ
from tests.engines.valkey import Valkey
from tests.faults.proxy import Proxy

pytestmark = pytest.mark.faults

SHORT = 0.5
"""Both timeouts, in seconds."""
ENDS = 60.0
"""How long anything may take before it counts as a hang, in seconds."""


@task
def double(n: int) -> int:
    return 2 * n


@task
def hold(gate: str) -> str:
    while not Path(gate).exists():
        time.sleep(0.01)
    return gate


catalog = Catalog(double, hold)
Made = Callable[..., CeleryBackend]


BOTH = pytest.mark.parametrize("network", ["redis", "rabbitmq"], indirect=True)
MOSTLY_REDIS = pytest.mark.parametrize(
    "network", ["redis", pytest.param("rabbitmq", marks=pytest.mark.long)], indirect=True
)


@pytest.fixture
def network(request: pytest.FixtureRequest, valkey: Valkey) -> Iterator[Proxy]:
    """A proxy before the broker; if that is Redis, also before the ledger."""
    broker: Valkey | RabbitMQ = (
        valkey if request.param == "redis" else request.getfixturevalue("rabbitmq")
    )
    with Proxy(broker.port) as proxy:
        proxy.far_url = broker.url  # type: ignore[attr-defined]  # for `made`
        yield proxy


@pytest.fixture
def made(network: Proxy, valkey: Valkey) -> Iterator[Made]:
    """Makes backends on one queue: `made()`, or `made(through=network)`."""
    queue, backends = uuid4().hex, []
    far: str = network.far_url  # type: ignore[attr-defined]  # of `network`

    def make(through: Proxy | None = None) -> CeleryBackend:
        broker = far if through is None else through.url(far)
        ledger = broker if broker.startswith("redis") else valkey.url
        backend = celery(
            broker, ledger, queue=queue, lease=2.0, connect_timeout=SHORT, socket_timeout=SHORT
        )
        backends.append(backend)
        return backend

    yield make
    for backend in backends:
        backend.close()


@BOTH
def test_every_request_of_a_client_ends_and_works_again_after_recovery(
    network: Proxy, made: Made
) -> None:
    near, far = made(), made(network)
    worker = near.serve(catalog).unwrap()
    assert run(double(1), on=far, timeout=ENDS) == Success(2)
    ref = submit(double(2), on=far).unwrap()
    assert result(ref, on=far, timeout=ENDS) == Success(4)

    asked: dict[str, Callable[[], object]] = {
        "submit": lambda: submit(double(3), on=far),
        "submit a flow": lambda: submit((double >> double)(3), on=far),
        "submit_all": lambda: submit_all([double(4), double(5)], on=far),
        "result": lambda: result(ref, on=far, timeout=1),
        "results": lambda: list(results([ref], on=far, timeout=1)),
        "status": lambda: status(ref, on=far),
        "cancel": lambda: cancel(ref, on=far),
        "diagnose": far.diagnose,
        "serve": lambda: far.serve(catalog),
    }
    network.swallow()
    with ThreadPoolExecutor(len(asked)) as pool:
        answers = {name: pool.submit(ask) for name, ask in asked.items()}
        found = {name: answer.result(ENDS) for name, answer in answers.items()}
    # If the ledger is reached, the call is submitted: a worker sends it later.
    is_ledger_away = near.app.conf.broker_url.startswith("redis")
    for name in ("diagnose", "serve", *(["submit", "status"] if is_ledger_away else [])):
        failed = found[name].failure()  # type: ignore[attr-defined]  # it is a Result
        assert isinstance(failed, Unavailable), (name, failed)
    network.heal()
    assert run(double(6), on=far, timeout=ENDS) == Success(12)
    assert result(ref, on=far, timeout=ENDS) == Success(4)
    worker.stop()


@MOSTLY_REDIS
def test_a_worker_logs_that_its_broker_is_silent_and_that_it_is_back(
    network: Proxy, made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    near, far = made(), made(network)
    with caplog.at_level(logging.WARNING, "onward.celery"):
        worker = far.serve(catalog, concurrency=2).unwrap()
        assert run(double(1), on=near, timeout=ENDS) == Success(2)
        network.swallow()
        until(
            lambda: "the broker at" in caplog.text and "is not reached" in caplog.text,
            within=ENDS,
            otherwise=lambda: caplog.text,
        )
        network.heal()
        assert run(double(2), on=near, timeout=ENDS) == Success(4)
        until(
            lambda: any(
                "the broker at" in line and "is reached again" in line
                for line in caplog.text.splitlines()
            ),
            within=ENDS,
            otherwise=lambda: caplog.text,
        )
    worker.stop()


@MOSTLY_REDIS
def test_steps_that_end_while_the_network_is_dead_free_their_slots(
    network: Proxy, made: Made, tmp_path: Path
) -> None:
    near, far = made(), made(network)
    worker = far.serve(catalog, concurrency=2).unwrap()
    gate = tmp_path / "gate"
    held = [submit(hold(str(gate)), on=near).unwrap() for _ in range(2)]
    until(
        lambda: all(status(ref, on=near).unwrap().state == "running" for ref in held),
        within=ENDS,
        otherwise=lambda: "they do not start",
    )
    network.swallow()
    gate.touch()
    time.sleep(3 * SHORT)  # long enough to be noticed
    network.heal()
    for ref in held:
        assert result(ref, on=near, timeout=ENDS) == Success(str(gate))
    again = [submit(double(n), on=near).unwrap() for n in range(6)]
    assert [result(ref, on=near, timeout=ENDS) for ref in again] == [
        Success(2 * n) for n in range(6)
    ]
    worker.stop()


@MOSTLY_REDIS
def test_a_worker_with_a_silent_broker_can_be_stopped(network: Proxy, made: Made) -> None:
    far = made(network)
    worker = far.serve(catalog).unwrap()
    assert run(double(1), on=far, timeout=ENDS) == Success(2)
    network.swallow()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(worker.stop).result(ENDS)
    assert worker.wait(0)
