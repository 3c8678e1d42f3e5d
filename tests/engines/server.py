"""The base class of the servers of all engines."""

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
    """A server that the test run starts: `with Valkey.start(folder) as server: …`.

    It keeps its ports and its data through `kill`, `stop` and `restart`.
    """

    patience: ClassVar[float]
    """How long it may take to start, and to stop, in seconds."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.log = folder / "server.log"
        self.ports: list[int] = []
        """The ports that it listens on."""
        self._reserved: list[socket.socket] = []
        self._process: Process | None = None
        self.port = self.reserve_port()

    @classmethod
    def start(cls, folder: Path) -> Self:
        """Starts a server with its data and its log in a folder."""
        return cls(folder).restart()

    @classmethod
    @abstractmethod
    def missing(cls) -> str | None:
        """Why it cannot be started on this machine and what to do about it; None if it can."""

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL for clients."""

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """The command that starts it in the foreground."""

    def environment(self) -> Mapping[str, str]:
        """Environment variables that it needs."""
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
        """The process id of the server, which is also the id of its process group."""
        return self._running.pid

    def is_up(self) -> bool:
        """Whether it answers."""
        try:
            return self.answers()
        except OSError:
            return False

    def kill(self) -> None:
        """Kills it, as `kill -9` does."""
        self._end()

    def stop(self) -> None:
        """Stops it normally."""
        if self._process is None:
            return
        try:
            self._process.resume()  # a paused process would not react
            self._process.send(SIGTERM)
            self._process.wait(self.patience)
        finally:
            self._end()

    def restart(self) -> Self:
        """Starts it again on the same port with the same data; stops it first if it runs."""
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
        """Continues it after `pause`."""
        self._running.resume()

    def close(self) -> None:
        """Stops it, and frees its ports."""
        self._end()
        for reserved in self._reserved:
            reserved.close()

    def reserve_port(self) -> int:
        """Reserves a free port of loopback for this server, until `close`.

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
