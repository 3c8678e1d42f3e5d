"""Brokers and ledgers over TLS, behind a proxy: Valkey's wheel is built without it."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from queue import Queue
from typing import TypeAlias
from urllib.parse import quote

import pytest
from returns.result import Success

from onward import Catalog, Unavailable, connect, run, submit, task
from onward.backends.celery import celery
from onward.backends.celery.backend import CeleryBackend
from tests.engines.rabbitmq import RabbitMQ
from tests.engines.server import HOST, Server
from tests.engines.valkey import Valkey


@task
def double(n: int) -> int:
    return 2 * n


Pair: TypeAlias = tuple[Path, Path]
"""The files of a certificate, which is its own authority, and of its key."""


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    def certify(hosts: str) -> Pair:
        folder = tmp_path_factory.mktemp("certificate")
        files = folder / "cert.pem", folder / "key.pem"
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test"]
        command += ["-addext", f"subjectAltName={hosts}"]
        subprocess.run(
            [*command, "-out", files[0], "-keyout", files[1]], check=True, capture_output=True
        )
        return files

    return certify


@pytest.fixture(scope="module")
def ours(certified: Callable[[str], Pair]) -> Pair:
    return certified(f"DNS:localhost,IP:{HOST}")


@pytest.fixture(scope="module")
def elsewhere(certified: Callable[[str], Pair]) -> Pair:
    return certified("DNS:elsewhere")


@contextmanager
def over_tls(server: Server, pair: Pair) -> Iterator[int]:
    """The port of a proxy that takes nobody without this certificate, and shows it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=pair[0])
    context.load_cert_chain(*pair)
    context.verify_mode = ssl.CERT_REQUIRED

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
        finally:
            writer.transport.abort()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(HOST, server.port)
        await asyncio.gather(pump(reader, back), pump(there, writer), return_exceptions=True)

    ports: Queue[int] = Queue()
    ended = asyncio.Event()

    async def main() -> None:
        proxy = await asyncio.start_server(serve, HOST, 0, ssl=context)
        async with proxy:
            loops.append(asyncio.get_running_loop())
            ports.put(proxy.sockets[0].getsockname()[1])
            await ended.wait()

    loops: list[asyncio.AbstractEventLoop] = []
    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    try:
        yield ports.get(timeout=30)
    finally:
        loops[0].call_soon_threadsafe(ended.set)
        thread.join()


def files(pair: Pair) -> str:
    return f"ssl_ca_certs={pair[0]}&ssl_certfile={pair[0]}&ssl_keyfile={pair[1]}"


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
            assert run((double >> double)(3), on=backend, timeout=30) == Success(12)
        finally:
            worker.stop()


def test_calls_run_over_tls_on_redis(valkey: Valkey, ours: Pair) -> None:
    with over_tls(valkey, ours) as port:
        assert_calls_run(f"celery+rediss://localhost:{port}/12?{files(ours)}")


def test_calls_run_over_tls_on_rabbitmq(rabbitmq: RabbitMQ, valkey: Valkey, ours: Pair) -> None:
    with over_tls(rabbitmq, ours) as port, over_tls(valkey, ours) as ledger_port:
        ledger = quote(f"rediss://localhost:{ledger_port}/12?{files(ours)}", safe="")
        broker = f"celery+amqps://guest:guest@localhost:{port}//"
        assert_calls_run(f"{broker}?{files(ours)}&result_backend={ledger}")


def test_a_redis_that_is_not_certified_is_not_spoken_to(valkey: Valkey, ours: Pair) -> None:
    with (
        over_tls(valkey, ours) as port,
        connected(f"celery+rediss://localhost:{port}/12") as client,
    ):
        assert_unverified(submit(double(1), on=client).failure())


def test_without_connect_too_a_redis_has_to_be_certified(valkey: Valkey, ours: Pair) -> None:
    with over_tls(valkey, ours) as port, closing(celery(f"rediss://localhost:{port}/12")) as client:
        assert_unverified(submit(double(1), on=client).failure())


def test_a_redis_with_another_name_is_not_spoken_to(valkey: Valkey, elsewhere: Pair) -> None:
    with (
        over_tls(valkey, elsewhere) as port,
        connected(f"celery+rediss://localhost:{port}/12?{files(elsewhere)}") as client,
    ):
        assert_unverified(submit(double(1), on=client).failure())


@pytest.mark.parametrize("is_certified", [False, True])
def test_a_rabbitmq_that_is_not_certified_or_has_another_name_is_not_spoken_to(
    is_certified: bool, rabbitmq: RabbitMQ, valkey: Valkey, elsewhere: Pair
) -> None:
    tls = files(elsewhere) if is_certified else ""
    with over_tls(rabbitmq, elsewhere) as port:
        broker = f"celery+amqps://guest:guest@localhost:{port}//"
        with connected(f"{broker}?{tls}&result_backend={valkey.url}") as worker:
            assert_unverified(worker.serve(Catalog(double)).failure())


def assert_unverified(fault: object) -> None:
    assert isinstance(fault, Unavailable)
    assert "certificate verify failed" in fault.message
