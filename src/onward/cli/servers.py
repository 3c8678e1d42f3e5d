"""Runs servers in child processes for as long as this process runs."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from onward.cli.console import FAULT, USAGE, end

HOST = "127.0.0.1"
_PAUSE = 0.05
_TAIL = 2000
"""How many characters of the log are shown if a server does not start."""


@contextlib.contextmanager
def running(
    command: Sequence[str | Path],
    *,
    log: Path,
    is_up: Callable[[], bool],
    environment: Mapping[str, str] | None = None,
    patience: float = 30.0,
    stdin: Path | None = None,
) -> Generator[subprocess.Popen[bytes]]:
    """Starts a server, waits until it answers, and stops it at the end.

    Args:
        command: The command that starts it in the foreground.
        log: The file for its output.
        is_up: Whether it answers; an OSError means no.
        environment: Variables besides our own.
        patience: How long it may take to start, and to stop, in seconds.
        stdin: A file for its standard input.
    """
    with log.open("ab") as output, (stdin or Path(os.devnull)).open("rb") as given:
        # A session of its own, because Ctrl-C would end it before the programs that use it.
        process = subprocess.Popen(
            command,
            stdin=given,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    try:
        given_up = time.monotonic() + patience
        while not _answers(is_up):
            if process.poll() is not None or time.monotonic() > given_up:
                _broke(process, log)
            time.sleep(_PAUSE)
        yield process
    finally:
        _stop(process, patience)


@contextlib.contextmanager
def stoppable() -> Generator[None]:
    """Makes SIGTERM and SIGHUP end the context as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {each: signal.signal(each, interrupt) for each in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def attend(process: subprocess.Popen[bytes], log: Path) -> None:
    """Waits for a stop signal; ends the command if the server ends by itself."""
    with contextlib.suppress(KeyboardInterrupt):
        process.wait()
        _broke(process, log)


def free_port(asked: int | None, usual: int) -> int:
    """The wanted port, or the usual one if None; any free port for 0.

    Ends the command if the port is taken.
    """
    port = usual if asked is None else asked
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            end(USAGE, f"port {port} is taken: write --port 0 for any free one, or another port")
        found: int = probe.getsockname()[1]
    return found


def program(name: str, package: str) -> Path | str:
    """A program from a wheel, or from the PATH if the wheel has none for this machine."""
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        files = []
    shipped = (Path(str(file.locate())) for file in files if file.name == name)
    found = next(shipped, None) or shutil.which(name)
    if found is None:
        end(USAGE, f'{name} is not installed: pip install "onward[dev]", or put it on the PATH')
    return found


def _answers(is_up: Callable[[], bool]) -> bool:
    try:
        return is_up()
    except OSError:
        return False


def _broke(process: subprocess.Popen[bytes], log: Path) -> None:
    code = process.poll()
    what = "does not answer" if code is None else f"ended with exit code {code}"
    output = log.read_text(errors="replace")[-_TAIL:].strip() or "nothing"
    end(FAULT, f"{Path(str(_name(process))).name} {what}. Its last output: {output}")


def _name(process: subprocess.Popen[bytes]) -> object:
    return process.args[0] if isinstance(process.args, list | tuple) else process.args


def _stop(process: subprocess.Popen[bytes], patience: float) -> None:
    process.terminate()
    try:
        process.wait(patience)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):  # a second Ctrl-C stops it at once
        process.kill()
        process.wait()
