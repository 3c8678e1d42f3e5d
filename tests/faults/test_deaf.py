"""Workers that run and hear nothing, because their engine is frozen or their connection dead."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from returns.result import Success

from onward import Backend, Catalog, run, task
from onward.backend import Hearing, Hears
from onward.backends.celery import celery
from onward.backends.hatchet import hatchet as hatchet_at
from onward.backends.sqlite import sqlite
from onward.backends.temporal import temporal as temporal_at
from tests.engines.hatchet import GivenHatchet
from tests.engines.process import until
from tests.engines.rabbitmq import RabbitMQ
from tests.engines.server import HOST
from tests.engines.temporal import Temporal
from tests.engines.valkey import Valkey
from tests.faults.proxy import Proxy

pytestmark = pytest.mark.faults

ENDS = 60.0
"""How long anything may take before it counts as a hang, in seconds."""
SHORT = 0.5
"""The timeouts of a broker, in seconds."""


@task
def double(n: int) -> int:
    return 2 * n


catalog = Catalog(double)
Cut = AbstractContextManager[None]
"""While it is entered, the worker can hear nothing."""


@contextmanager
def frozen(server: Valkey | Temporal) -> Iterator[None]:
    server.pause()
    try:
        yield
    finally:
        server.resume()


@contextmanager
def half_open(network: Proxy) -> Iterator[None]:
    network.swallow()
    try:
        yield
    finally:
        network.heal()


@contextmanager
def locked(file: Path) -> Iterator[None]:
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("begin immediate")
        yield
        other.execute("rollback")


def hears_again(on: Backend, cut: Callable[[], Cut], caplog: pytest.LogCaptureFixture) -> None:
    """Serves the catalog, and takes the engine away and gives it back."""
    with caplog.at_level(logging.WARNING, "onward"):
        worker = on.serve(catalog).unwrap()
        assert isinstance(worker, Hears)
        hears: Hears = worker

        def hearing() -> Hearing:
            heard = hears.hearing()
            assert heard is not None
            return heard

        def shown() -> str:
            return f"{hearing()}\n{caplog.text}"

        try:
            assert run(double(1), on=on, timeout=ENDS) == Success(2)
            assert not hearing().is_deaf
            assert hearing().slots is not None
            with cut():
                until(lambda: hearing().is_deaf, within=ENDS, otherwise=shown)
            until(lambda: not hearing().is_deaf, within=ENDS, otherwise=shown)
            until(lambda: " again" in caplog.text, within=ENDS, otherwise=shown)
        finally:
            worker.stop()


def test_on_a_frozen_redis(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (
        Valkey.start(tmp_path, append_only=False) as server,
        closing(
            celery(server.url, lease=1.0, connect_timeout=SHORT, socket_timeout=SHORT)
        ) as backend,
    ):
        hears_again(backend, lambda: frozen(server), caplog)


def test_behind_a_dead_connection_to_rabbitmq(
    rabbitmq: RabbitMQ, redis: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        Proxy(rabbitmq.port) as network,
        closing(
            celery(
                network.url(rabbitmq.url),
                redis,
                queue=uuid4().hex,
                connect_timeout=SHORT,
                socket_timeout=SHORT,
            )
        ) as backend,
    ):
        hears_again(backend, lambda: half_open(network), caplog)


def test_on_a_ledger_that_does_not_answer(
    rabbitmq: RabbitMQ, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        Valkey.start(tmp_path, append_only=False) as ledger,
        closing(
            celery(
                rabbitmq.url,
                ledger.url,
                queue=uuid4().hex,
                lease=1.0,
                connect_timeout=SHORT,
                socket_timeout=SHORT,
            )
        ) as backend,
    ):
        hears_again(backend, lambda: frozen(ledger), caplog)


def test_on_a_frozen_temporal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (
        Temporal.start(tmp_path, durable=False) as server,
        closing(temporal_at(HOST, server.port)) as backend,
    ):
        hears_again(backend, lambda: frozen(server), caplog)


@pytest.mark.long
def test_behind_a_dead_connection_to_temporal(
    temporal: Temporal, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        Proxy(temporal.port) as network,
        closing(temporal_at(HOST, network.port, task_queue=uuid4().hex)) as backend,
    ):
        hears_again(backend, lambda: half_open(network), caplog)


@pytest.mark.long
def test_behind_a_dead_connection_to_hatchet(
    hatchet: GivenHatchet, caplog: pytest.LogCaptureFixture
) -> None:
    environment = hatchet.client_environment
    port = int(environment["HATCHET_CLIENT_HOST_PORT"].rpartition(":")[2])
    with (
        Proxy(port) as network,
        closing(
            hatchet_at(
                hatchet.token,
                f"{HOST}:{network.port}",
                server_url=environment["HATCHET_CLIENT_SERVER_URL"],
                namespace=uuid4().hex,
            )
        ) as backend,
    ):
        hears_again(backend, lambda: half_open(network), caplog)


def test_on_a_locked_sqlite_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "calls.db"
    with closing(sqlite(file, lease=1.0, busy_timeout=1.0)) as backend:
        hears_again(backend, lambda: locked(file), caplog)
