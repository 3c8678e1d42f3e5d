"""What the `onward` command does; `onward.__main__` starts it.

It exits with 0 when all went as it should; with 1 for a fault, or for an exception in the user's
own module; with 2 for what cannot be done as it was written, so that to try again is of no use.
"""

from __future__ import annotations

import importlib
import logging
import sys
import traceback
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Annotated, NoReturn, cast

import typer
from returns.result import Failure, Result
from rich.console import Console
from rich.text import Text

from onward.backend import Backend, Worker
from onward.catalog import Catalog
from onward.config import connect
from onward.fault import Fault, Misconfigured
from onward.interpret import work

FAULT = 1
USAGE = 2

app = typer.Typer(
    name="onward",
    help="Typed tasks, composed with >>, on the engine that a URL names.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,  # a traceback is the user's own, and shown as Python does
)
_out = Console(highlight=False, soft_wrap=True)
_err = Console(highlight=False, soft_wrap=True, stderr=True)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        _out.print(f"onward {version('onward')}")
        raise typer.Exit


@app.callback()
def _onward(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    pass


@app.command()
def worker(
    modules: Annotated[
        list[str],
        typer.Argument(metavar="MODULE", help="Whose tasks and flows to serve: my.tasks"),
    ],
    on: Annotated[
        str,
        typer.Option(metavar="URL", help="Whose calls to take up: celery+redis://localhost:6379/0"),
    ],
    concurrency: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="How many steps run at a time.")
    ] = None,
    grace: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0, help="How long what is running may take to end."),
    ] = 30.0,
) -> None:
    """Serve the tasks and flows of modules until SIGTERM or Ctrl-C.

    Modules are looked for in the current directory first.

    Exit codes: 0, it was stopped; 1, a fault (the engine was not reached), or an exception in a
    module; 2, what cannot be done as it was written.
    """
    backend = _backend(on)
    catalog = _catalog(modules)
    # What Celery has to say of a lost broker goes nowhere else. A module may have set up its own.
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    _say(f"onward {version('onward')} on {backend!r}", "bold")
    _say(f"tasks  {', '.join(sorted(catalog.tasks))}")
    if catalog.flows:
        _say(f"flows  {', '.join(sorted(catalog.flows))}")
    announced = cast(Backend, _Announced(backend))  # a worker asks for no more than `serve`
    worked = work(catalog, on=announced, concurrency=concurrency, grace=grace)
    if isinstance(worked, Failure):
        _fail(worked.failure())
    _say("stopped")


class _Announced:
    """A backend whose worker says when it is ready, and when it stops."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def serve(self, catalog: Catalog, /, *, concurrency: int | None) -> Result[Worker, Fault]:
        return self._backend.serve(catalog, concurrency=concurrency).map(_AnnouncedWorker)


class _AnnouncedWorker:
    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        _say("ready: Ctrl-C or SIGTERM stops it", "green")

    def stop(self, grace: float = 30.0) -> None:
        _say(f"stopping: what is running has {grace:g} s to end", "yellow")
        self._worker.stop(grace)

    def wait(self, timeout: float | None = None) -> bool:
        return self._worker.wait(timeout)


def _backend(url: str) -> Backend:
    """The backend of a worker, which is one that other processes submit to."""
    connected = connect(url)
    if isinstance(connected, Failure):
        _fail(connected.failure())
    scheme = url.partition("://")[0].lower()
    if scheme in ("local", "celery+memory"):
        _exit(USAGE, f"no other process can submit to {scheme}://: a worker needs a broker's URL")
    return connected.unwrap()


def _catalog(names: list[str]) -> Catalog:
    """What there is to serve in some modules."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    modules = [_module(name) for name in names]
    try:
        return Catalog.of(*modules)
    except ValueError as problem:
        _exit(USAGE, str(problem))


def _module(name: str) -> ModuleType:
    if not name or name.startswith("."):
        _no_module(name)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as problem:
        if isinstance(problem, ModuleNotFoundError) and f"{name}.".startswith(f"{problem.name}."):
            _no_module(name)
        _show(problem)
        _exit(FAULT, f"{name} cannot be imported: it raised {type(problem).__name__}, see above")


def _no_module(name: str) -> NoReturn:
    if "://" in name:  # which may hold a password
        _exit(USAGE, "a URL stands where a module should: write it after --on")
    likely = name.partition(":")[0].removesuffix(".py").replace("/", ".").strip(".")
    cure = "check the spelling, or go to the directory that holds it"
    if likely not in ("", name):
        cure = f"write {likely}"
    _exit(USAGE, f"no module {name!r} in {Path.cwd()}, nor among what is installed: {cure}")


def _show(problem: BaseException) -> None:
    """Prints the traceback of what the user's code raised, without the frames that led there."""
    frames = problem.__traceback__
    while frames is not None and _is_on_the_way(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    traceback.print_exception(type(problem), problem, frames)


def _is_on_the_way(file: str) -> bool:
    return file in (__file__, importlib.__file__) or file.startswith("<frozen importlib")


def _say(text: str, style: str = "") -> None:
    _out.print(Text(text, style))


def _fail(fault: Fault) -> NoReturn:
    _exit(USAGE if isinstance(fault, Misconfigured) else FAULT, str(fault))


def _exit(code: int, message: str) -> NoReturn:
    """Ends the command, with what is wrong and what to do about it on one line."""
    _err.print(Text.assemble(("onward: ", "bold red"), " ".join(message.split())))
    raise typer.Exit(code)
