"""Brokers and ledgers over TLS, through a proxy, because Valkey's wheel has no TLS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from urllib.parse import quote

import pytest
from returns.result import Success

from onward import Catalog, Unavailable, connect, run, submit, task
from onward.backends.celery import celery
from onward.backends.celery.backend import CeleryBackend
from tests.engines.rabbitmq import RabbitMQ
from tests.engines.server import HOST, Server
from tests.engines.tls import Authority, Identity, over_tls
from tests.engines.valkey import Valkey


@task
def double(n: int) -> int:
    return 2 * n


@dataclass(frozen=True)
class Certified:
    """A certificate that the server shows and requires of its clients."""

    authority: Authority
    identity: Identity


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Certified]:
    def certify(*hosts: str) -> Certified:
        authority = Authority(tmp_path_factory.mktemp("certificates"))
        return Certified(authority, authority.certify("test", *hosts))

    return certify


@pytest.fixture(scope="module")
def ours(certified: Callable[..., Certified]) -> Certified:
    return certified("DNS:localhost", f"IP:{HOST}")


@pytest.fixture(scope="module")
def elsewhere(certified: Callable[..., Certified]) -> Certified:
    return certified("DNS:elsewhere")


@contextmanager
def secured(server: Server, by: Certified) -> Iterator[int]:
    """The port of a proxy that shows this certificate, and requires it of its clients."""
    with over_tls(server.port, by.identity, asks_for=by.authority.file) as port:
        yield port


def files(by: Certified) -> str:
    certificate, key = by.identity.certificate, by.identity.key
    return f"ssl_ca_certs={by.authority.file}&ssl_certfile={certificate}&ssl_keyfile={key}"


@contextmanager
def connected(url: str) -> Iterator[CeleryBackend]:
    backend = connect(url).unwrap()
    assert isinstance(backend, CeleryBackend)
    try:
        yield backend
    finally:
        backend.close()


def assert_calls_run(url: str) -> None:
    with connected(url) as backend:
        worker = backend.serve(Catalog(double)).unwrap()
        try:
            assert run((double >> double)(3), on=backend, timeout=120) == Success(12)
        finally:
            worker.stop()


def test_calls_run_over_tls_on_redis(valkey: Valkey, ours: Certified) -> None:
    with secured(valkey, ours) as port:
        assert_calls_run(f"celery+rediss://localhost:{port}/12?{files(ours)}")


def test_calls_run_over_tls_on_rabbitmq(
    rabbitmq: RabbitMQ, valkey: Valkey, ours: Certified
) -> None:
    with secured(rabbitmq, ours) as port, secured(valkey, ours) as ledger_port:
        ledger = quote(f"rediss://localhost:{ledger_port}/12?{files(ours)}", safe="")
        broker = f"celery+amqps://guest:guest@localhost:{port}//"
        assert_calls_run(f"{broker}?{files(ours)}&result_backend={ledger}")


def test_calls_run_over_tls_on_a_rabbitmq_whose_certificate_names_localhost(
    rabbitmq: RabbitMQ, valkey: Valkey, certified: Callable[..., Certified]
) -> None:
    named = certified("DNS:localhost")
    with secured(rabbitmq, named) as port:
        broker = f"celery+amqps://guest:guest@localhost:{port}//"
        assert_calls_run(f"{broker}?{files(named)}&result_backend={valkey.url}")


def test_a_redis_with_an_untrusted_certificate_is_refused(valkey: Valkey, ours: Certified) -> None:
    with (
        secured(valkey, ours) as port,
        connected(f"celery+rediss://localhost:{port}/12") as client,
    ):
        assert_unverified(submit(double(1), on=client).failure())


def test_celery_too_refuses_a_redis_with_an_untrusted_certificate(
    valkey: Valkey, ours: Certified
) -> None:
    with secured(valkey, ours) as port, closing(celery(f"rediss://localhost:{port}/12")) as client:
        assert_unverified(submit(double(1), on=client).failure())


def test_a_redis_with_another_host_name_is_refused(valkey: Valkey, elsewhere: Certified) -> None:
    with (
        secured(valkey, elsewhere) as port,
        connected(f"celery+rediss://localhost:{port}/12?{files(elsewhere)}") as client,
    ):
        assert_unverified(submit(double(1), on=client).failure())


@pytest.mark.parametrize("is_certified", [False, True])
def test_a_rabbitmq_that_is_untrusted_or_has_another_host_name_is_refused(
    is_certified: bool, rabbitmq: RabbitMQ, valkey: Valkey, elsewhere: Certified
) -> None:
    tls = files(elsewhere) if is_certified else ""
    with secured(rabbitmq, elsewhere) as port:
        broker = f"celery+amqps://guest:guest@localhost:{port}//"
        with connected(f"{broker}?{tls}&result_backend={valkey.url}") as worker:
            assert_unverified(worker.serve(Catalog(double)).failure())


def assert_unverified(fault: object) -> None:
    assert isinstance(fault, Unavailable)
    assert "certificate verify failed" in fault.message
