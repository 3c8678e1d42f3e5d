"""Temporal over TLS, behind a proxy, and with an API key: accepted clients and refused ones."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlencode
from uuid import uuid4

import grpc
import grpc.aio
import pytest
from grpc.aio import ServicerContext
from returns.result import Result, Success
from temporalio.api.workflowservice.v1.service_pb2 import DESCRIPTOR
from temporalio.service import TLSConfig

from onward import Unavailable, connect, result, run, status, submit
from onward.backend import Worker
from onward.backend.loop import LoopThread
from onward.backends.temporal import TemporalBackend
from onward.backends.temporal import temporal as temporal_at
from tests.engines.server import HOST
from tests.engines.temporal import Temporal
from tests.engines.tls import Authority, Identity, over_tls
from tests.temporal.served import catalog, double

PATIENCE = 120.0
"""How long it may take to say what is wrong, on a machine with much to do."""


@dataclass(frozen=True)
class TlsProxy:
    """A TLS proxy before the server.

    Args:
        port: The proxy's port.
        requires_certificate: Whether it requires a client's certificate.
        authority: The authority that signs the certificates of the server and its clients.
        client: A client's certificate.
        queue: A task queue for the tests of this proxy.
    """

    port: int
    requires_certificate: bool
    authority: Authority
    client: Identity
    queue: str

    @property
    def files(self) -> dict[str, str]:
        """The settings with which a client is accepted."""
        files = {"tls_ca": str(self.authority.file)}
        if self.requires_certificate:
            files |= {
                "tls_cert": str(self.client.certificate),
                "tls_key": str(self.client.key),
            }
        return files

    def backend(self, tls: TLSConfig | bool) -> TemporalBackend:
        """A backend with this TLS configuration."""
        return temporal_at(HOST, self.port, task_queue=self.queue, tls=tls)


def tls_of(
    authority: Authority, client: Identity | None = None, domain: str | None = None
) -> TLSConfig:
    return TLSConfig(
        server_root_ca_cert=authority.file.read_bytes(),
        client_cert=None if client is None else client.certificate.read_bytes(),
        client_private_key=None if client is None else client.key.read_bytes(),
        domain=domain,
    )


def tls_for(tls_proxy: TlsProxy) -> TLSConfig:
    return tls_of(tls_proxy.authority, tls_proxy.client if tls_proxy.requires_certificate else None)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module", params=["mtls", "tls"])
def tls_proxy(
    request: pytest.FixtureRequest, temporal: Temporal, authority: Authority
) -> Iterator[TlsProxy]:
    requires_certificate = request.param == "mtls"
    server = authority.certify("server", "DNS:localhost", f"IP:{HOST}")
    asks_for = authority.file if requires_certificate else None
    with over_tls(temporal.port, server, asks_for=asks_for, protocols=["h2"]) as port:
        yield TlsProxy(
            port, requires_certificate, authority, authority.certify("client"), uuid4().hex
        )


@pytest.fixture(scope="module")
def worker(tls_proxy: TlsProxy) -> Iterator[Worker]:
    """A worker with a valid certificate."""
    with closing(tls_proxy.backend(tls_for(tls_proxy))) as backend:
        serving = backend.serve(catalog).unwrap()
        yield serving
        serving.stop(0)


@pytest.mark.usefixtures("worker")
def test_calls_run_over_tls(tls_proxy: TlsProxy) -> None:
    with closing(tls_proxy.backend(tls_for(tls_proxy))) as backend:
        assert run(double(3), on=backend, timeout=PATIENCE) == Success(6)
        assert run((double >> double)(3), on=backend, timeout=PATIENCE) == Success(12)


def test_the_diagnosis_names_the_credentials(tls_proxy: TlsProxy) -> None:
    with closing(tls_proxy.backend(tls_for(tls_proxy))) as backend:
        found = {each.what: each.text for each in backend.diagnose().unwrap().findings}
    certified = ", with a client's certificate" if tls_proxy.requires_certificate else ""
    assert found["credentials"] == f"no API key; TLS{certified}"


Connects: TypeAlias = Callable[[TlsProxy, pytest.MonkeyPatch, Path], TemporalBackend]


def by_url(tls_proxy: TlsProxy, environment: pytest.MonkeyPatch, folder: Path) -> TemporalBackend:
    query = urlencode({"task_queue": tls_proxy.queue, **tls_proxy.files})
    return connected(f"temporal://{HOST}:{tls_proxy.port}/default?{query}")


def by_yaml(tls_proxy: TlsProxy, environment: pytest.MonkeyPatch, folder: Path) -> TemporalBackend:
    query = {"host": HOST, "task_queue": tls_proxy.queue, **tls_proxy.files}
    lines = [f"  port: {tls_proxy.port}", *(f'  {name}: "{what}"' for name, what in query.items())]
    file = folder / "onward.yaml"
    file.write_text("\n".join(["backend: temporal", "temporal:", *lines]))
    return connected(file)


def by_environment(
    tls_proxy: TlsProxy, environment: pytest.MonkeyPatch, folder: Path
) -> TemporalBackend:
    """By the variables of Temporal's own clients, which have none for the task queue."""
    for name in [name for name in os.environ if name.startswith(("TEMPORAL_", "ONWARD_"))]:
        environment.delenv(name)
    variables = {
        "tls_ca": "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
        "tls_cert": "TEMPORAL_TLS_CLIENT_CERT_PATH",
        "tls_key": "TEMPORAL_TLS_CLIENT_KEY_PATH",
    }
    environment.setenv("TEMPORAL_ADDRESS", f"{HOST}:{tls_proxy.port}")
    for name, file in tls_proxy.files.items():
        environment.setenv(variables[name], file)
    return connected(None)


def connected(source: str | Path | None) -> TemporalBackend:
    backend = connect(source).unwrap()
    assert isinstance(backend, TemporalBackend)
    return backend


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("connects", [by_url, by_yaml, by_environment])
def test_settings_name_the_files_of_tls(
    connects: Connects, tls_proxy: TlsProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with closing(tls_proxy.backend(tls_for(tls_proxy))) as known:
        ref = submit(double(3), on=known).unwrap()
    with closing(connects(tls_proxy, monkeypatch, tmp_path)) as backend:
        assert result(ref, on=backend, timeout=PATIENCE) == Success(6)


def test_clients_and_workers_without_a_valid_certificate_soon_get_a_fault(
    tls_proxy: TlsProxy, tmp_path: Path, temporal: Temporal
) -> None:
    other = Authority(tmp_path)
    wrong: list[TLSConfig | bool] = [
        tls_of(other, tls_proxy.client),
        tls_of(tls_proxy.authority, tls_proxy.client, "elsewhere"),
        True,
        False,
    ]
    if tls_proxy.requires_certificate:
        wrong += [
            tls_of(tls_proxy.authority),
            tls_of(tls_proxy.authority, other.certify("stranger")),
        ]
    for tls in wrong:
        with closing(tls_proxy.backend(tls)) as backend:
            assert_refused(backend)
    with closing(temporal_at(HOST, temporal.port, tls=tls_for(tls_proxy))) as over_tls_to_plain:
        assert_refused(over_tls_to_plain)


def assert_refused(backend: TemporalBackend) -> list[str]:
    """Asserts that a backend soon returns faults; returns their texts."""
    requests: tuple[Callable[[], Result[object, object]], ...] = (
        lambda: submit(double(1), on=backend),
        lambda: submit((double >> double)(1), on=backend),
        lambda: status(double.ref("x"), on=backend),
        lambda: backend.serve(catalog),
    )
    texts = []
    for request in requests:
        fault = request().failure()
        assert isinstance(fault, Unavailable)
        texts.append(str(fault) + repr(fault))
    return texts


# -- API keys -------------------------------------------------------------------------------------

KEY = "s3cret-api-key"


class KeyGuard:
    """Forwards requests with the right API key to a server, and refuses others.

    Args:
        target: The server's address.
    """

    def __init__(self, target: str) -> None:
        self.seen: list[str] = []
        """The methods of the forwarded requests."""
        self._channel = grpc.aio.insecure_channel(target)
        self._server = grpc.aio.server()

    async def start(self) -> int:
        """Starts listening; returns the port."""
        service = DESCRIPTOR.services_by_name["WorkflowService"]
        methods = {
            method: grpc.unary_unary_rpc_method_handler(
                partial(self._answer, f"/{service.full_name}/{method}"), bytes, bytes
            )
            for method in service.methods_by_name
        }
        handler = grpc.method_handlers_generic_handler(service.full_name, methods)
        self._server.add_generic_rpc_handlers([handler])
        port = self._server.add_insecure_port(f"{HOST}:0")
        await self._server.start()
        return port

    async def stop(self) -> None:
        await self._server.stop(None)
        await self._channel.close()
        await asyncio.sleep(0.1)  # gRPC's thread may still call into this loop

    async def _answer(self, method: str, request: bytes, context: ServicerContext) -> bytes:
        if ("authorization", f"Bearer {KEY}") not in tuple(context.invocation_metadata()):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "Request unauthorized.")
        self.seen.append(method.rpartition("/")[2])
        try:
            forward = self._channel.unary_unary(method, bytes, bytes)
            # Without a timeout the server does not wait for tasks in a poll.
            return await forward(request, timeout=PATIENCE)
        except grpc.aio.AioRpcError as problem:
            metadata = tuple(problem.trailing_metadata())
            await context.abort(problem.code(), problem.details() or "", metadata)


@pytest.fixture(scope="module")
def guarded(temporal: Temporal) -> Iterator[tuple[int, list[str]]]:
    """The port of a server that requires an API key, and the methods it was asked for."""

    async def connected() -> KeyGuard:
        return KeyGuard(temporal.address)

    with closing(LoopThread("key-guard")) as thread:
        guard = thread.call(connected)
        yield thread.call(guard.start), guard.seen
        thread.call(guard.stop)


def test_each_request_has_the_api_key(guarded: tuple[int, list[str]]) -> None:
    port, seen = guarded
    queue = uuid4().hex
    with closing(temporal_at(HOST, port, task_queue=queue, tls=False, api_key=KEY)) as backend:
        worker = backend.serve(catalog).unwrap()
        assert run(double(3), on=backend, timeout=PATIENCE) == Success(6)
        assert run((double >> double)(3), on=backend, timeout=PATIENCE) == Success(12)
        worker.stop(0)
    assert {"GetSystemInfo", "DescribeNamespace", "PollActivityTaskQueue"} <= set(seen)


def test_an_api_key_from_the_environment_turns_tls_on(
    guarded: tuple[int, list[str]],
    authority: Authority,
    temporal: Temporal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEMPORAL_API_KEY", KEY)
    server = authority.certify("key-guard", "DNS:localhost")
    with over_tls(guarded[0], server, protocols=["h2"]) as port:
        query = urlencode({"task_queue": uuid4().hex, "tls_ca": str(authority.file)})
        with closing(connected(f"temporal://localhost:{port}/default?{query}")) as backend:
            ref = submit(double(3), on=backend).unwrap()
            assert status(ref, on=backend).unwrap().state == "queued"


@pytest.mark.parametrize("key", ["another-s3cret", None])
def test_a_wrong_api_key_is_a_fault_that_does_not_show_the_key(
    key: str | None, guarded: tuple[int, list[str]]
) -> None:
    with closing(temporal_at(HOST, guarded[0], tls=False, api_key=key)) as backend:
        for text in assert_refused(backend):
            assert "nauth" in text
            assert key is None or key not in text


def test_an_api_key_is_not_sent_without_tls(guarded: tuple[int, list[str]]) -> None:
    port, seen = guarded
    before = len(seen)
    with closing(temporal_at(HOST, port, api_key=KEY)) as backend:
        assert_refused(backend)
    assert len(seen) == before
