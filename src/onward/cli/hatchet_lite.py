"""Hatchet's engine in one process, on a PostgreSQL of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Generator, Mapping
from contextlib import closing
from pathlib import Path

from msgspec import Struct

from onward.cli.console import FAULT, end
from onward.cli.servers import HOST, free_port, running

_ASK_FOR_TLS = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
"""A client's request for TLS from PostgreSQL; the answer is one letter."""

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
"""The first bytes of a gRPC client: HTTP/2's preface, and an empty settings frame."""

_PROGRAMS = ("hatchet-lite", "hatchet-migrate", "hatchet-admin")


class Engine(Struct, frozen=True):
    """A running Hatchet.

    Args:
        process: The engine's process.
        log: The file of its output.
        api: The URL of its HTTP API.
        environment: The variables that its clients need, its token included.
    """

    process: subprocess.Popen[bytes]
    log: Path
    api: str
    environment: Mapping[str, str]


def missing() -> list[str]:
    """The needed programs that are missing on this machine."""
    lacking = [each for each in _PROGRAMS if shutil.which(each) is None]
    return lacking + [each for each in ("initdb", "postgres") if _postgresql(each) is None]


@contextlib.contextmanager
def started(folder: Path, port: int) -> Generator[Engine]:
    """Starts an engine with one tenant, and all of its data in a folder."""
    database_port, api_port = free_port(0, 0), free_port(0, 0)
    database = f"postgresql://postgres@{HOST}:{database_port}/postgres?sslmode=disable"
    api = f"http://{HOST}:{api_port}"
    dashboard = os.environ.get("LITE_STATIC_ASSET_DIR")
    pages = folder / "pages"
    pages.mkdir(exist_ok=True)
    (pages / "index.html").touch()
    settings = {
        "DATABASE_URL": database,
        "SERVER_MSGQUEUE_KIND": "postgres",
        "SERVER_URL": api,
        "SERVER_PORT": str(api_port),
        "SERVER_GRPC_BIND_ADDRESS": HOST,
        "SERVER_GRPC_PORT": str(port),
        "SERVER_GRPC_BROADCAST_ADDRESS": f"{HOST}:{port}",
        "SERVER_GRPC_INSECURE": "true",
        "SERVER_AUTH_COOKIE_DOMAIN": HOST,
        # Its HTTP API listens on all addresses, and its default password is public.
        "SERVER_AUTH_BASIC_AUTH_ENABLED": "true" if dashboard else "false",
        "SERVER_HEALTHCHECK": "false",
        "SERVER_SECURITY_CHECK_ENABLED": "false",  # the check calls a server of the vendor
        # It requires a folder with the dashboard, which the program does not contain.
        "LITE_STATIC_ASSET_DIR": dashboard or str(pages),
        "LITE_FRONTEND_PORT": "0",
        "LITE_RUNTIME_PORT": "0",
    }
    config = str(folder / "config")
    keys = ["quickstart", "--skip", "certs", "--generated-config-dir", config]
    log = folder / "hatchet.log"
    with _postgres(folder, database_port):
        _run(["hatchet-migrate"], folder, settings)
        if not Path(config).exists():
            _run(["hatchet-admin", *keys], folder, settings)
        token = _run(["hatchet-admin", "token", "create", "--config", config], folder, settings)
        with running(
            ["hatchet-lite", "--config", config],
            log=log,
            is_up=lambda: is_ready(port, api_port),
            environment=settings,
            patience=60.0,
        ) as process:
            yield Engine(process, log, api, client_environment(port, api, token))


def client_environment(port: int, api: str, token: str) -> dict[str, str]:
    """The variables that clients of an engine on this machine need."""
    return {
        "HATCHET_CLIENT_TOKEN": token.strip(),
        "HATCHET_CLIENT_HOST_PORT": f"{HOST}:{port}",
        "HATCHET_CLIENT_SERVER_URL": api,
        "HATCHET_CLIENT_TLS_STRATEGY": "none",
    }


def is_ready(port: int, api_port: int) -> bool:
    """Whether an engine on this machine speaks gRPC, and its HTTP API says that it is ready."""
    from http.client import HTTPConnection, HTTPException  # this imports ssl

    with socket.create_connection((HOST, port), timeout=1) as connection:
        connection.sendall(_PREFACE)
        with connection.makefile("rb") as frames:
            if frames.read(9)[3:4] != b"\x04":  # a frame of settings
                return False
    with closing(HTTPConnection(HOST, api_port, timeout=1)) as api:
        try:
            api.request("GET", "/api/ready")
            return api.getresponse().status == 200
        except HTTPException:
            return False


@contextlib.contextmanager
def _postgres(folder: Path, port: int) -> Generator[None]:
    data = folder / "postgresql"
    if not data.exists():
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8"]
        _run([*_unprivileged(), str(_postgresql("initdb")), "-D", str(data), *options], folder, {})
    settings = {
        "listen_addresses": HOST,
        "port": port,
        "unix_socket_directories": "",
        "dynamic_shared_memory_type": "mmap",  # in the folder, so that a kill leaves nothing else
        "max_connections": 200,
        "timezone": "UTC",
    }
    options = [f"--{name}={value}" for name, value in settings.items()]
    with running(
        [*_unprivileged(), str(_postgresql("postgres")), "-D", str(data), *options],
        log=folder / "postgresql.log",
        is_up=lambda: _speaks(port),
    ):
        yield


def _speaks(port: int) -> bool:
    with socket.create_connection((HOST, port), timeout=1) as connection:
        connection.sendall(_ASK_FOR_TLS)
        return connection.recv(1) in (b"N", b"S")


def _postgresql(name: str) -> Path | str | None:
    """Finds a program of PostgreSQL. Debian's packages keep them off the PATH."""
    packaged = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (packaged[-1] if packaged else None)


def _unprivileged() -> list[str]:
    """A prefix that lets root run PostgreSQL, which refuses root.

    The command sees another user, in a namespace of its own. Outside the namespace it is root.
    """
    if os.geteuid() != 0:
        return []
    return ["unshare", "--ipc", "--user", "--map-user=1000", "--map-group=1000", "--"]


def _run(command: list[str], folder: Path, environment: Mapping[str, str]) -> str:
    """Runs a command to its end, and gives its output."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        output = (done.stdout + done.stderr)[-2000:]
        end(
            FAULT, f"{command[0]} ended with exit code {done.returncode}. Its last output: {output}"
        )
    return done.stdout
