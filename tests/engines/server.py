"""What the servers of all engines have in common."""

from __future__ import annotations

import socket
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import SIGTERM
from typing import ClassVar, Self

from tests.engines.process import Process, until

HOST = "127.0.0.1"


class Server(ABC):
    """A server of the test run's own: `with Valkey.start(folder) as server: …`.

    It keeps its ports and its data through `kill`, `stop` and `restart`.
    """

    patience: ClassVar[float]
    """How many seconds it may take to start, and to stop."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.log = folder / "server.log"
        self.ports: list[int] = []
        """Of all that it listens on."""
        self._reserved: list[socket.socket] = []
        self._process: Process | None = None
        self.port = self.reserve_port()

    @classmethod
    def start(cls, folder: Path) -> Self:
        """One that is up, with its data and its log in the folder."""
        return cls(folder).restart()

    @classmethod
    @abstractmethod
    def missing(cls) -> str | None:
        """Why it cannot be started on this machine and what helps, if so."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients find it."""

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """What starts it in the foreground."""

    def environment(self) -> Mapping[str, str]:
        """What it needs beside the environment of the tests."""
        return {}

    @abstractmethod
    def answers(self) -> bool:
        """Whether it serves, asked in its own protocol, for a second or so. OSError means no."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Of the server itself, and of the group that it and its helpers make up."""
        return self._running.pid

    def is_up(self) -> bool:
        """Whether it answers."""
        try:
            return self.answers()
        except OSError:
            return False

    def kill(self) -> None:
        """Ends it at once, as `kill -9` does."""
        self._end()

    def stop(self) -> None:
        """Ends it in good order."""
        if self._process is None:
            return
        try:
            self._process.resume()  # a paused one would not hear of it
            self._process.send(SIGTERM)
            self._process.wait(self.patience)
        finally:
            self._end()

    def restart(self) -> Self:
        """Starts it again at the same port with the same data; one that runs is stopped first."""
        self.stop()
        try:
            process = self._process = Process(
                self.command(), log=self.log, environment=self.environment(), folder=self.folder
            )
            until(
                lambda: self.is_up() or process.exit_code() is not None,
                within=self.patience,
                otherwise=lambda: f"{self} does not answer. Its log ends:\n{process.tail()}",
            )
            if (code := process.exit_code()) is not None:
                raise ChildProcessError(
                    f"{self} ended with {code}. Its log ends:\n{process.tail()}"
                )
        except BaseException:
            self.close()
            raise
        return self

    def pause(self) -> None:
        """Makes it unreachable, as a cut network does: connections stay, nothing is answered."""
        self._running.pause()

    def resume(self) -> None:
        """Lets it go on after `pause`."""
        self._running.resume()

    def close(self) -> None:
        """Ends it for good, and gives up its ports."""
        self._end()
        for reserved in self._reserved:
            reserved.close()

    def reserve_port(self) -> int:
        """A free port of loopback, for this server alone until `close`.

        A socket that is bound to it but does not listen keeps the kernel from handing it out, while
        a listener with SO_REUSEADDR, as servers have it, may share it. Without that, the port of a
        server that is down could go to anyone, even to a client that tries to reach the server: it
        would be connected to itself.
        """
        reserved = socket.socket()
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind((HOST, 0))
        port: int = reserved.getsockname()[1]
        self.ports.append(port)
        if sys.platform == "linux":
            self._reserved.append(reserved)
        else:  # elsewhere not even a listener with SO_REUSEADDR may share it
            reserved.close()
        return port

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self.url}>"

    @property
    def _running(self) -> Process:
        if self._process is None:
            raise ProcessLookupError(f"{self} does not run")
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None
