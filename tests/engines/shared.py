"""One server for all processes of a test run.

Under pytest-xdist, each process would start its own, which costs more than many tests do, and
go on costing. So the process that hands out the tests starts one when the first test needs it, and
ends it with the run. The others only know how clients find it: none of them can stop it.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Callable, Mapping
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import pytest

Environment: TypeAlias = Mapping[str, str]


class Sharable(Protocol):
    """A server that several processes may share."""

    @property
    def client_environment(self) -> Environment:
        """By which its clients find it."""

    def close(self) -> None:
        """Ends it."""


class Starter:
    """Starts a server in the process that hands out the tests, for the others.

    Args:
        name: What the others call it.
        start: Starts it in a folder.
    """

    def __init__(self, name: str, start: Callable[[Path], Sharable]) -> None:
        self._name, self._start = name, start
        self._stack = contextlib.ExitStack()
        folder = tempfile.TemporaryDirectory(prefix=name, ignore_cleanup_errors=True)
        self._folder = Path(self._stack.enter_context(folder))
        self._listener = self._stack.enter_context(Listener(str(self._folder / "socket")))
        self._answer: Environment | str | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True, name=name)
        self._thread.start()

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tells a process of pytest-xdist's where to ask for it."""
        node.workerinput[self._name] = self._listener.address

    def pytest_unconfigure(self) -> None:
        with Client(self._listener.address) as connection:
            connection.send("end")
        self._thread.join()
        self._stack.close()

    def _serve(self) -> None:
        is_over = False
        while not is_over:
            with contextlib.suppress(EOFError, OSError), self._listener.accept() as connection:
                is_over = connection.recv() == "end"
                if not is_over:
                    connection.send(self._started())

    def _started(self) -> Environment | str:
        if self._answer is None:
            try:
                server = self._start(self._folder / "server")
                self._stack.callback(server.close)
                self._answer = dict(server.client_environment)
            except Exception as problem:
                self._answer = f"{type(problem).__name__}: {problem}"
        return self._answer


def shared(name: str, config: pytest.Config) -> Environment | None:
    """How clients find the server of all processes; None if this process is the only one.

    Args:
        name: What its starter calls it.
        config: Of this process.

    Raises:
        RuntimeError: If it could not be started.
    """
    address = getattr(config, "workerinput", {}).get(name)
    if address is None:
        return None
    with Client(address) as connection:
        connection.send("start")
        answer: Environment | str = connection.recv()
    if isinstance(answer, str):
        raise RuntimeError(answer)
    return answer
