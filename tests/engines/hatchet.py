"""Hatchet's engine, all of it in one process (hatchet-lite), on a PostgreSQL of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Self

import pytest

from tests.engines.rabbitmq import RabbitMQ
from tests.engines.running import running
from tests.engines.server import HOST, Server
from tests.engines.shared import Starter, shared

TOKEN = "HATCHET_CLIENT_TOKEN"
SHARED = "hatchet"
CURE = (
    f"set {TOKEN} and what else its clients need, or put hatchet-lite, hatchet-migrate, "
    "hatchet-admin and postgres on the PATH: see docs.hatchet.run/self-hosting"
)

ASK_FOR_TLS = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
"""A first message to PostgreSQL, which answers with one letter."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
"""The first bytes of a gRPC client: HTTP/2's preface, and an empty settings frame."""


TAKE_OVER = """
DELETE FROM "Lease";
DELETE FROM "{0}Partition"
    WHERE "lastHeartbeat" < (SELECT max("lastHeartbeat") FROM "{0}Partition");
UPDATE "Tenant" SET "{1}PartitionId" = (SELECT id FROM "{0}Partition");
"""
CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
PARTITIONS = {"Controller": "controller", "Scheduler": "scheduler", "TenantWorker": "worker"}


class PostgreSQL(Server):
    """A PostgreSQL that trusts all clients."""

    patience = 30.0

    @classmethod
    def missing(cls) -> str | None:
        if not all(map(_postgresql, ["initdb", "postgres", "psql"])):
            return "PostgreSQL is not installed: apt-get install postgresql"
        return None

    @property
    def url(self) -> str:
        return f"postgresql://postgres@{HOST}:{self.port}/postgres?sslmode=disable"

    def command(self) -> Sequence[str | Path]:
        settings = {
            "listen_addresses": HOST,
            "port": self.port,
            "unix_socket_directories": "",
            "dynamic_shared_memory_type": "mmap",  # in the folder, where a kill may leave it
            "max_connections": 200,
            "timezone": "UTC",
            "fsync": "off",  # no test takes the machine down
            "full_page_writes": "off",
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [*_unprivileged(), _found("postgres"), "-D", self._data, *options]

    def do(self, statements: str) -> None:
        """Runs statements in one transaction."""
        options = ["--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1"]
        _run([_found("psql"), self.url, *options, f"--command={statements}"], self.folder)

    def answers(self) -> bool:
        with socket.create_connection((HOST, self.port), timeout=1) as connection:
            connection.sendall(ASK_FOR_TLS)
            return connection.recv(1) in (b"N", b"S")

    def restart(self) -> Self:
        if not self._data.exists():
            options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"]
            _run([*_unprivileged(), _found("initdb"), "-D", self._data, *options], self.folder)
        return super().restart()

    def close(self) -> None:
        try:
            self.stop()  # a kill would leave shared memory behind
        finally:
            super().close()

    @property
    def _data(self) -> Path:
        return self.folder / "data"


class Hatchet(Server):
    """An engine with one tenant. It alone is killed, stopped and paused; its PostgreSQL runs on.

    Its API listens on all addresses: it cannot be told otherwise.
    """

    patience = 60.0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.token = ""
        """The token of the engine's clients, made at the first start."""
        self._api_port = self.reserve_port()
        self._database = PostgreSQL(folder / "postgresql")

    @classmethod
    def missing(cls) -> str | None:
        programs = ["hatchet-lite", "hatchet-migrate", "hatchet-admin"]
        if PostgreSQL.missing() or not all(map(shutil.which, programs)):
            return f"Hatchet is not installed: {CURE}"
        return None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._api_port}"

    @property
    def database_pid(self) -> int:
        """The process of its PostgreSQL."""
        return self._database.pid

    @property
    def host_port(self) -> str:
        """The address of its gRPC API."""
        return f"{HOST}:{self.port}"

    @property
    def client_environment(self) -> Mapping[str, str]:
        """By which its SDK finds it."""
        return {
            TOKEN: self.token,
            "HATCHET_CLIENT_HOST_PORT": self.host_port,
            "HATCHET_CLIENT_SERVER_URL": self.url,
            "HATCHET_CLIENT_TLS_STRATEGY": "none",
        }

    def command(self) -> Sequence[str | Path]:
        return ["hatchet-lite", "--config", self._config]

    def environment(self) -> Mapping[str, str]:
        return {
            "DATABASE_URL": self._database.url,
            "SERVER_MSGQUEUE_KIND": "postgres",
            "SERVER_URL": self.url,
            "SERVER_PORT": str(self._api_port),
            "SERVER_GRPC_BIND_ADDRESS": HOST,
            "SERVER_GRPC_PORT": str(self.port),
            "SERVER_GRPC_BROADCAST_ADDRESS": self.host_port,
            "SERVER_GRPC_INSECURE": "true",
            "SERVER_AUTH_COOKIE_DOMAIN": HOST,
            "SERVER_HEALTHCHECK": "false",
            "SERVER_SECURITY_CHECK_ENABLED": "false",  # which asks a server of Hatchet's makers
            # A dashboard it must have: an empty page, at ports that the kernel picks.
            "LITE_STATIC_ASSET_DIR": str(self._dashboard),
            "LITE_FRONTEND_PORT": "0",
            "LITE_RUNTIME_PORT": "0",
        }

    def answers(self) -> bool:
        with self.connection() as connection:
            connection.sendall(PREFACE)
            with connection.makefile("rb") as frames:
                if frames.read(9)[3:4] != b"\x04":  # a frame of settings
                    return False
        api = HTTPConnection(HOST, self._api_port, timeout=1)
        try:
            api.request("GET", "/api/ready")
            return api.getresponse().status == 200
        except HTTPException:
            return False
        finally:
            api.close()

    def connection(self) -> socket.socket:
        """A connection to its gRPC API."""
        return socket.create_connection((HOST, self.port), timeout=1)

    def restart(self) -> Self:
        try:
            if not self._database.is_up():
                self._database.restart()
            if not self.token:
                self._prepare()
        except BaseException:
            self.close()
            raise
        return super().restart()

    def take_over(self) -> None:
        """Has it schedule at once what one that was killed before had in hand.

        By itself it waits until that one has not been heard of for a minute.
        """
        self._database.do("".join(TAKE_OVER.format(*names) for names in PARTITIONS.items()))

    def lose_its_database(self) -> None:
        """Cuts all connections to its database, which it then opens again."""
        self._database.do(CUT)

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._database.close()

    @property
    def _config(self) -> Path:
        return self.folder / "config"

    @property
    def _dashboard(self) -> Path:
        return self.folder / "dashboard"

    def _prepare(self) -> None:
        """Makes the tables, the keys, the tenant, and its token."""
        self._dashboard.mkdir()
        (self._dashboard / "index.html").touch()
        config = str(self._config)
        keys = ["quickstart", "--skip", "certs", "--generated-config-dir", config]
        token = ["token", "create", "--config", config]
        _run(["hatchet-migrate"], self.folder, self.environment())
        _run(["hatchet-admin", *keys], self.folder, self.environment())
        self.token = _run(["hatchet-admin", *token], self.folder, self.environment()).strip()


class DurableHatchet(Hatchet):
    """One with a RabbitMQ for its queue, as in production.

    Where that is its PostgreSQL, it forgets what it had read from there when it is killed.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._queue = RabbitMQ(folder / "rabbitmq")

    @classmethod
    def missing(cls) -> str | None:
        return super().missing() or RabbitMQ.missing()

    def environment(self) -> Mapping[str, str]:
        return {
            **super().environment(),
            "SERVER_MSGQUEUE_KIND": "rabbitmq",
            "SERVER_MSGQUEUE_RABBITMQ_URL": self._queue.url,
        }

    def restart(self) -> Self:
        if not self._queue.is_up():
            self._queue.restart()
        return super().restart()

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._queue.close()


class GivenHatchet:
    """An engine that this process has not started; no test may stop it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.client_environment: Mapping[str, str] = {
            name: value for name, value in environment.items() if name.startswith("HATCHET_CLIENT_")
        }
        """By which its SDK finds it."""
        self.token = environment[TOKEN]


@pytest.fixture(scope="session")
def hatchet(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GivenHatchet]:
    """The engine of a whole test run, of all its processes: the one that the environment names."""
    if os.environ.get(TOKEN):
        yield GivenHatchet(os.environ)
        return
    if reason := Hatchet.missing():
        pytest.skip(reason)
    if environment := shared(SHARED, request.config):
        yield GivenHatchet(environment)
        return
    for server in running(Hatchet, tmp_path_factory):
        yield GivenHatchet(server.client_environment)


def hatchet_starter() -> Starter:
    """Starts the engine for the processes of a test run."""
    return Starter(SHARED, Hatchet.start)


def _postgresql(program: str) -> Path | str | None:
    """Debian's packages keep PostgreSQL's programs off the PATH."""
    packaged = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    return shutil.which(program) or (packaged[-1] if packaged else None)


def _found(program: str) -> Path | str:
    found = _postgresql(program)
    if found is None:
        raise FileNotFoundError(PostgreSQL.missing())
    return found


def _unprivileged() -> Sequence[str]:
    """What makes a command of PostgreSQL's run for root, whom it refuses.

    To itself it is another user, in a namespace of its own. Outside of that it stays root, whose
    folder no other user may enter. With the namespace goes the memory that it shared, if killed.
    """
    if os.geteuid() != 0:
        return []
    return ["unshare", "--ipc", "--user", "--map-user=1000", "--map-group=1000", "--"]


def _run(
    command: Sequence[str | Path], folder: Path, environment: Mapping[str, str] | None = None
) -> str:
    """The output of a command."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if done.returncode:
        said = done.stdout + done.stderr
        raise ChildProcessError(f"{command[0]} ended with {done.returncode}. It said:\n{said}")
    return done.stdout
