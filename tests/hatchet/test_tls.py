"""Hatchet over TLS: clients with a valid certificate work, and others soon get a fault."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias, cast
from urllib.parse import urlencode

import pytest
from returns.result import Result, Success

from onward import Catalog, Unavailable, Unknown, connect, run, schedules, status, submit, task
from onward.backend import Worker
from onward.backends.hatchet import HatchetBackend, Tls, hatchet
from tests.engines.hatchet import Hatchet
from tests.engines.running import running
from tests.engines.server import HOST
from tests.engines.tls import Authority, Identity, over_tls
from tests.faults.proxy import Proxy
from tests.hatchet.double import Double


@task
def double(n: int) -> int:
    return 2 * n


class Certificates:
    """Certificates of an engine, of a client, and of a client of another authority."""

    def __init__(self, folder: Path) -> None:
        for name in ("ours", "theirs"):
            (folder / name).mkdir(parents=True)
        self.authority = Authority(folder / "ours")
        self.engine = self.authority.certify("engine", "DNS:localhost", f"IP:{HOST}")
        self.client = self.authority.certify("client")
        self.other_authority = Authority(folder / "theirs")
        self.stranger = self.other_authority.certify("stranger")


def tls_of(authority: Authority, client: Identity | None = None, name: str | None = None) -> Tls:
    if client is None:
        return Tls(authority.file, server_name=name)
    return Tls(authority.file, client.certificate, client.key, name)


class Secured(Hatchet):
    """An engine that requires a certificate, or with the strategy `tls` requires none."""

    strategy = "mtls"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.certificates = Certificates(folder / "certificates")

    def environment(self) -> Mapping[str, str]:
        certificates = self.certificates
        return {
            **super().environment(),
            "SERVER_GRPC_INSECURE": "false",
            "SERVER_TLS_STRATEGY": self.strategy,
            "SERVER_TLS_CERT_FILE": str(certificates.engine.certificate),
            "SERVER_TLS_KEY_FILE": str(certificates.engine.key),
            "SERVER_TLS_ROOT_CA_FILE": str(certificates.authority.file),
        }

    def connection(self) -> socket.socket:
        certificates = self.certificates
        context = ssl.create_default_context(cafile=certificates.authority.file)
        context.load_cert_chain(certificates.client.certificate, certificates.client.key)
        context.set_alpn_protocols(["h2"])
        return context.wrap_socket(super().connection(), server_hostname=HOST)


@dataclass(frozen=True)
class Engine:
    """What is behind TLS.

    Args:
        certificates: Of all who are there.
        wants: Whether it asks for a certificate.
        host_port: Where it speaks gRPC.
        url: Where its HTTP API is.
        token: What else opens it.
    """

    certificates: Certificates
    wants: bool
    host_port: str
    url: str
    token: str = field(repr=False)

    @property
    def tls(self) -> Tls:
        """The TLS configuration with which a client is accepted."""
        there = self.certificates
        return tls_of(there.authority, there.client if self.wants else None)

    def client(self, tls: Tls | bool) -> HatchetBackend:
        """A backend with this TLS configuration."""
        return hatchet(self.token, self.host_port, server_url=self.url, tls=tls)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    yield from running(Secured, tmp_path_factory)


@pytest.fixture(
    scope="module",
    params=["engine-mtls", pytest.param("engine-tls", marks=pytest.mark.long), "double-mtls"],
)
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """The real engine with each strategy, and the double behind a proxy."""
    kind, strategy = request.param.split("-")
    if kind == "engine":
        server = cast(Secured, request.getfixturevalue("secured"))
        if server.strategy != strategy:
            server.strategy = strategy
            server.restart()
            server.take_over()
        wants = strategy == "mtls"
        yield Engine(server.certificates, wants, server.host_port, server.url, server.token)
        return
    certificates = Certificates(tmp_path_factory.mktemp("certificates"))
    with Double() as double:
        environment = double.client_environment
        port = int(environment["HATCHET_CLIENT_HOST_PORT"].rpartition(":")[2])
        asks_for = certificates.authority.file
        with over_tls(port, certificates.engine, asks_for=asks_for, protocols=["h2"]) as proxy:
            yield Engine(
                certificates,
                wants=True,
                host_port=f"{HOST}:{proxy}",
                url=environment["HATCHET_CLIENT_SERVER_URL"],
                token=environment["HATCHET_CLIENT_TOKEN"],
            )


@pytest.fixture(scope="module")
def worker(engine: Engine) -> Iterator[Worker]:
    """A worker with a valid certificate."""
    with closing(engine.client(engine.tls)) as backend:
        serving = backend.serve(Catalog(double)).unwrap()
        yield serving
        serving.stop(grace=5)


@pytest.mark.usefixtures("worker")
def test_calls_run_over_tls(engine: Engine) -> None:
    with closing(engine.client(engine.tls)) as backend:
        assert run(double(3), on=backend, timeout=120) == Success(6)
        assert run((double >> double)(3), on=backend, timeout=120) == Success(12)


def test_the_diagnosis_names_the_credentials(engine: Engine) -> None:
    with closing(engine.client(engine.tls)) as backend:
        found = {each.what: each.text for each in backend.diagnose().unwrap().findings}
    certified = ", with a client's certificate" if engine.wants else ""
    assert found["credentials"].endswith(f"; TLS{certified}")


Connects: TypeAlias = Callable[[Engine, pytest.MonkeyPatch, Path], HatchetBackend]


def files_of(engine: Engine) -> dict[str, str]:
    tls = engine.tls
    files = {"tls_ca": tls.root_certificates, "tls_cert": tls.certificate, "tls_key": tls.key}
    return {name: str(file) for name, file in files.items() if file is not None}


def by_url(engine: Engine, environment: pytest.MonkeyPatch, folder: Path) -> HatchetBackend:
    environment.setenv("HATCHET_CLIENT_TOKEN", engine.token)
    said = urlencode({"server_url": engine.url, **files_of(engine)})
    return made(f"hatchet://{engine.host_port}?{said}")


def by_yaml(engine: Engine, environment: pytest.MonkeyPatch, folder: Path) -> HatchetBackend:
    environment.setenv("TOKEN", engine.token)
    said = {"token": "${TOKEN}", "host_port": engine.host_port, "server_url": engine.url}
    lines = [f'  {name}: "{what}"' for name, what in (said | files_of(engine)).items()]
    file = folder / "onward.yaml"
    file.write_text("\n".join(["backend: hatchet", "hatchet:", *lines]))
    return made(file)


def by_environment(engine: Engine, environment: pytest.MonkeyPatch, folder: Path) -> HatchetBackend:
    """By the variables of Hatchet's own clients."""
    for name in [name for name in os.environ if name.startswith(("HATCHET_", "ONWARD_"))]:
        environment.delenv(name)
    variables = {"tls_ca": "ROOT_CA_FILE", "tls_cert": "CERT_FILE", "tls_key": "KEY_FILE"}
    said = {
        "TOKEN": engine.token,
        "HOST_PORT": engine.host_port,
        "SERVER_URL": engine.url,
        "TLS_STRATEGY": "mtls" if engine.wants else "tls",
        **{f"TLS_{variables[name]}": file for name, file in files_of(engine).items()},
    }
    for name, what in said.items():
        environment.setenv(f"HATCHET_CLIENT_{name}", what)
    return made(None)


def made(source: str | Path | None) -> HatchetBackend:
    backend = connect(source).unwrap()
    assert isinstance(backend, HatchetBackend)
    return backend


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("connects", [by_url, by_yaml, by_environment])
def test_settings_name_the_files_of_tls(
    connects: Connects, engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with closing(connects(engine, monkeypatch, tmp_path)) as backend:
        assert backend.settings.address.tls == engine.tls
        assert run(double(3), on=backend, timeout=120) == Success(6)


def test_an_engine_is_reached_over_a_long_distance(engine: Engine) -> None:
    with Proxy(int(engine.host_port.rpartition(":")[2])) as network:
        network.latency = 0.2
        far = replace(engine, host_port=f"{HOST}:{network.port}")
        with closing(far.client(far.tls)) as backend:
            assert isinstance(status(double.ref("nobody"), on=backend).failure(), Unknown)
            worker = backend.serve(Catalog(double)).unwrap()
            worker.stop(grace=5)


def test_clients_without_a_valid_certificate_soon_get_a_fault(engine: Engine) -> None:
    """So do workers."""
    there = engine.certificates
    wrong: dict[str, list[Tls | bool]] = {
        "set tls_ca": [tls_of(there.other_authority, there.client), True],
        "set tls_server_name": [tls_of(there.authority, there.client, "elsewhere")],
        "tls_cert": [tls_of(there.authority, there.stranger), False],
    }
    if engine.wants:
        wrong["tls_cert"].append(tls_of(there.authority))
    tried = [(tls, cure) for cure, some in wrong.items() for tls in some]
    with ThreadPoolExecutor(len(tried)) as pool:
        for done in [pool.submit(assert_refused, engine, *each) for each in tried]:
            done.result()


def assert_refused(engine: Engine, tls: Tls | bool, cure: str) -> None:
    with closing(engine.client(tls)) as backend:
        asked: tuple[Callable[[], Result[object, object]], ...] = (
            lambda: submit(double(1), on=backend),
            lambda: status(double.ref("0" * 32), on=backend),
            lambda: backend.serve(Catalog(double)),
        )
        for ask in asked:
            fault = ask().failure()
            assert isinstance(fault, Unavailable)
            assert cure in fault.message, fault.message
            assert engine.token not in repr(fault)


def test_the_http_api_trusts_the_same_authority(engine: Engine) -> None:
    """The HTTP API has schedules, and TLS of its own."""
    there = engine.certificates
    api = int(engine.url.rpartition(":")[2])
    with over_tls(api, there.engine) as port:
        url = f"https://localhost:{port}"
        with closing(replace(engine, url=url).client(engine.tls)) as backend:
            assert "certificate" not in str(schedules(on=backend))  # the double has none
        stranger = tls_of(there.other_authority)
        with closing(replace(engine, url=url).client(stranger)) as backend:
            fault = schedules(on=backend).failure()
    assert isinstance(fault, Unavailable)
    assert "certificate verify failed" in fault.message


def test_tls_to_an_engine_without_it_is_a_fault(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    with Double() as plain:
        environment = plain.client_environment
        token, where = environment["HATCHET_CLIENT_TOKEN"], environment["HATCHET_CLIENT_HOST_PORT"]
        for tls, word in ((True, "it does not use TLS"), (Tls(file), "the files for TLS")):
            with closing(hatchet(token, where, tls=tls)) as backend:
                fault = status(double.ref("0" * 32), on=backend).failure()
            assert isinstance(fault, Unavailable)
            assert word in fault.message


def test_a_certificate_and_its_key_go_together(tmp_path: Path) -> None:
    """The process would end if gRPC got only one of them."""
    certified = Authority(tmp_path).certify("client")
    token = "e30.eyJzdWIiOiAidGVuYW50In0.secret"
    for tls in (Tls(certificate=certified.certificate), Tls(key=certified.key)):
        with pytest.raises(ValueError, match="go together"):
            hatchet(token, "localhost:7077", tls=tls)
