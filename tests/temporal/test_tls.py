"""Temporal over TLS, behind a proxy, and with an API key: who is let in, and what others hear."""

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

PATIENCE = 60.0
"""How long it may take to say what is wrong, on a machine with much to do."""


@dataclass(frozen=True)
class Gate:
    """A way to the server that is over TLS.

    Args:
        port: Of the proxy.
        wants: Whether it asks for a certificate.
        authority: Who certifies the server and its clients.
        client: A client's certificate.
        queue: A task queue of its own.
    """

    port: int
    wants: bool
    authority: Authority
    client: Identity
    queue: str

    @property
    def files(self) -> dict[str, str]:
        """By which it is to be spoken to."""
        files = {"tls_ca": str(self.authority.file)}
        if self.wants:
            files |= {
                "tls_cert": str(self.client.certificate),
                "tls_key": str(self.client.key),
            }
        return files

    def backend(self, tls: TLSConfig | bool) -> TemporalBackend:
        """One that speaks to it so."""
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


def tls_for(gate: Gate) -> TLSConfig:
    return tls_of(gate.authority, gate.client if gate.wants else None)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module", params=["mtls", "tls"])
def gate(
    request: pytest.FixtureRequest, temporal: Temporal, authority: Authority
) -> Iterator[Gate]:
    wants = request.param == "mtls"
    server = authority.certify("server", "DNS:localhost", f"IP:{HOST}")
    asks_for = authority.file if wants else None
    with over_tls(temporal.port, server, asks_for=asks_for, protocols=["h2"]) as port:
        yield Gate(port, wants, authority, authority.certify("client"), uuid4().hex)


@pytest.fixture(scope="module")
def worker(gate: Gate) -> Iterator[Worker]:
    """One that is certified."""
    with closing(gate.backend(tls_for(gate))) as backend:
        serving = backend.serve(catalog).unwrap()
        yield serving
        serving.stop(0)


@pytest.mark.usefixtures("worker")
def test_calls_run_over_tls(gate: Gate) -> None:
    with closing(gate.backend(tls_for(gate))) as backend:
        assert run(double(3), on=backend, timeout=PATIENCE) == Success(6)
        assert run((double >> double)(3), on=backend, timeout=PATIENCE) == Success(12)


def test_it_is_told_how_it_is_spoken_to(gate: Gate) -> None:
    with closing(gate.backend(tls_for(gate))) as backend:
        found = {each.what: each.text for each in backend.diagnose().unwrap().findings}
    certified = ", with a client's certificate" if gate.wants else ""
    assert found["credentials"] == f"no API key; TLS{certified}"


Connects: TypeAlias = Callable[[Gate, pytest.MonkeyPatch, Path], TemporalBackend]


def by_url(gate: Gate, environment: pytest.MonkeyPatch, folder: Path) -> TemporalBackend:
    said = urlencode({"task_queue": gate.queue, **gate.files})
    return made(f"temporal://{HOST}:{gate.port}/default?{said}")


def by_yaml(gate: Gate, environment: pytest.MonkeyPatch, folder: Path) -> TemporalBackend:
    said = {"host": HOST, "task_queue": gate.queue, **gate.files}
    lines = [f"  port: {gate.port}", *(f'  {name}: "{what}"' for name, what in said.items())]
    file = folder / "onward.yaml"
    file.write_text("\n".join(["backend: temporal", "temporal:", *lines]))
    return made(file)


def by_environment(gate: Gate, environment: pytest.MonkeyPatch, folder: Path) -> TemporalBackend:
    """By the variables that Temporal's own clients go by; the task queue is none of them."""
    for name in [name for name in os.environ if name.startswith(("TEMPORAL_", "ONWARD_"))]:
        environment.delenv(name)
    variables = {
        "tls_ca": "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
        "tls_cert": "TEMPORAL_TLS_CLIENT_CERT_PATH",
        "tls_key": "TEMPORAL_TLS_CLIENT_KEY_PATH",
    }
    environment.setenv("TEMPORAL_ADDRESS", f"{HOST}:{gate.port}")
    for name, file in gate.files.items():
        environment.setenv(variables[name], file)
    return made(None)


def made(source: str | Path | None) -> TemporalBackend:
    backend = connect(source).unwrap()
    assert isinstance(backend, TemporalBackend)
    return backend


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("connects", [by_url, by_yaml, by_environment])
def test_settings_say_which_files_tls_goes_by(
    connects: Connects, gate: Gate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with closing(gate.backend(tls_for(gate))) as known:
        ref = submit(double(3), on=known).unwrap()
    with closing(connects(gate, monkeypatch, tmp_path)) as backend:
        assert result(ref, on=backend, timeout=PATIENCE) == Success(6)


def test_who_is_not_certified_hears_so_soon(gate: Gate, tmp_path: Path, temporal: Temporal) -> None:
    """Neither client nor worker waits for what does not come."""
    other = Authority(tmp_path)
    wrong: list[TLSConfig | bool] = [
        tls_of(other, gate.client),
        tls_of(gate.authority, gate.client, "elsewhere"),
        True,
        False,
    ]
    if gate.wants:
        wrong += [tls_of(gate.authority), tls_of(gate.authority, other.certify("stranger"))]
    for tls in wrong:
        with closing(gate.backend(tls)) as backend:
            assert_refused(backend)
    with closing(temporal_at(HOST, temporal.port, tls=tls_for(gate))) as over_tls_to_plain:
        assert_refused(over_tls_to_plain)


def assert_refused(backend: TemporalBackend) -> list[str]:
    """What is said of it."""
    asked: tuple[Callable[[], Result[object, object]], ...] = (
        lambda: submit(double(1), on=backend),
        lambda: submit((double >> double)(1), on=backend),
        lambda: status(double.ref("x"), on=backend),
        lambda: backend.serve(catalog),
    )
    said = []
    for ask in asked:
        fault = ask().failure()
        assert isinstance(fault, Unavailable)
        said.append(str(fault) + repr(fault))
    return said


# -- API keys -------------------------------------------------------------------------------------

KEY = "s3cret-api-key"


class Doorkeeper:
    """Hands on to a server what comes with the key, and nothing else.

    Args:
        target: Where the server is.
    """

    def __init__(self, target: str) -> None:
        self.seen: list[str] = []
        """The methods that were let in."""
        self._channel = grpc.aio.insecure_channel(target)
        self._server = grpc.aio.server()

    async def start(self) -> int:
        """Gives the port."""
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
        await asyncio.sleep(0.1)  # until gRPC's thread has told this loop all that there is to tell

    async def _answer(self, method: str, request: bytes, context: ServicerContext) -> bytes:
        if ("authorization", f"Bearer {KEY}") not in tuple(context.invocation_metadata()):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "Request unauthorized.")
        self.seen.append(method.rpartition("/")[2])
        try:
            ask = self._channel.unary_unary(method, bytes, bytes)
            return await ask(request, timeout=PATIENCE)  # without one, it does not wait for tasks
        except grpc.aio.AioRpcError as problem:
            said = tuple(problem.trailing_metadata())
            await context.abort(problem.code(), problem.details() or "", said)


@pytest.fixture(scope="module")
def kept(temporal: Temporal) -> Iterator[tuple[int, list[str]]]:
    """The port of a server that wants a key, and what was asked of it with that."""

    async def made() -> Doorkeeper:
        return Doorkeeper(temporal.address)

    with closing(LoopThread("doorkeeper")) as thread:
        keeper = thread.call(made)
        yield thread.call(keeper.start), keeper.seen
        thread.call(keeper.stop)


def test_an_api_key_goes_with_each_request(kept: tuple[int, list[str]]) -> None:
    port, seen = kept
    queue = uuid4().hex
    with closing(temporal_at(HOST, port, task_queue=queue, tls=False, api_key=KEY)) as backend:
        worker = backend.serve(catalog).unwrap()
        assert run(double(3), on=backend, timeout=PATIENCE) == Success(6)
        assert run((double >> double)(3), on=backend, timeout=PATIENCE) == Success(12)
        worker.stop(0)
    assert {"GetSystemInfo", "DescribeNamespace", "PollActivityTaskQueue"} <= set(seen)


def test_an_api_key_from_the_environment_goes_over_tls(
    kept: tuple[int, list[str]],
    authority: Authority,
    temporal: Temporal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEMPORAL_API_KEY", KEY)
    server = authority.certify("doorkeeper", "DNS:localhost")
    with over_tls(kept[0], server, protocols=["h2"]) as port:
        said = urlencode({"task_queue": uuid4().hex, "tls_ca": str(authority.file)})
        with closing(made(f"temporal://localhost:{port}/default?{said}")) as backend:
            ref = submit(double(3), on=backend).unwrap()
            assert status(ref, on=backend).unwrap().state == "queued"


@pytest.mark.parametrize("key", ["another-s3cret", None])
def test_a_wrong_api_key_is_said_to_be_and_is_not_shown(
    key: str | None, kept: tuple[int, list[str]]
) -> None:
    with closing(temporal_at(HOST, kept[0], tls=False, api_key=key)) as backend:
        for said in assert_refused(backend):
            assert "nauth" in said
            assert key is None or key not in said


def test_an_api_key_is_sent_to_nobody_who_speaks_no_tls(kept: tuple[int, list[str]]) -> None:
    port, seen = kept
    before = len(seen)
    with closing(temporal_at(HOST, port, api_key=KEY)) as backend:
        assert_refused(backend)
    assert len(seen) == before
