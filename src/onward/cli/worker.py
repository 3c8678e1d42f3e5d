"""`onward worker`: serves modules until it is told to stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from typing import Annotated, cast

import typer

from onward.backend import Backend
from onward.catalog import Catalog
from onward.cli.console import got, say
from onward.cli.options import Config, On, connected_elsewhere
from onward.cli.reload import Changes
from onward.cli.target import catalog_of, files_of
from onward.interpret import work
from onward.logs import tell


def worker(
    modules: Annotated[
        list[str],
        typer.Argument(metavar="MODULE…", help="Whose tasks and flows to serve: my.tasks"),
    ],
    on: On = None,
    config: Config = None,
    concurrency: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="How many steps run at a time.")
    ] = None,
    queues: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="The queues to take steps from; the engine's own and those of the tasks if not "
            "given.",
        ),
    ] = None,
    grace: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0, help="How long what is running may take to end."),
    ] = 30.0,
    reload: Annotated[
        bool,
        typer.Option(
            "--reload", help="Start again when a file of the modules changes; for development."
        ),
    ] = False,
) -> None:
    """Serve the tasks and flows of modules until SIGTERM or Ctrl-C.

    What is running then has --grace to end; what does not, or at a second SIGTERM or Ctrl-C, is
    given back, and another worker's. Modules are looked for in the current directory first.

    Example: `onward worker my.tasks --on celery+redis://localhost:6379/0 --concurrency 4`

    Exit codes: 0, it was stopped; 1, a fault (the engine was not reached), or an exception in a
    module; 2, what cannot be done as it was written.
    """
    changes = Changes() if reload else None
    catalog = _loaded(modules, changes)
    if catalog is not None:
        with connected_elsewhere(on, config) as backend:
            _serve(backend, catalog, concurrency, _names(queues), grace, changes)
    if changes is not None and changes.found is not None:
        say("starting again", "yellow")
        changes.start_again()
    say("stopped")


def _loaded(modules: list[str], changes: Changes | None) -> Catalog | None:
    """What there is to serve; None where that cannot be loaded and something has changed since."""
    try:
        return catalog_of(modules)
    except typer.Exit as problem:
        if changes is None:
            raise
        say("waiting for a change", "yellow")
        if not changes.wait(files_of(problem)):
            raise
    return None


def _names(queues: str | None) -> list[str] | None:
    return None if queues is None else [name.strip() for name in queues.split(",")]


def _serve(
    backend: Backend,
    catalog: Catalog,
    concurrency: int | None,
    queues: Sequence[str] | None,
    grace: float,
    changes: Changes | None,
) -> None:
    # What Celery has to say of a lost broker goes nowhere else. A module may have set up its own.
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s%(call)s")
    for each in logging.getLogger().handlers:
        tell(each)
    from onward.cli.leaving import announced  # which imports more than --help has use for

    say(f"onward {version('onward')} on {backend!r}", "bold")
    say(f"tasks  {', '.join(sorted(catalog.tasks))}")
    if catalog.flows:
        say(f"flows  {', '.join(sorted(catalog.flows))}")
    if queues is not None:
        say(f"queues {', '.join(queues)}")
    stop = threading.Event()
    serving = announced(_traced(backend), stop)
    if changes is not None:
        changes.watch(stop)
    worked = work(
        catalog,
        on=cast(Backend, serving),  # all that a worker needs of it
        concurrency=concurrency,
        queues=queues,
        grace=grace,
        stop=stop,
    )
    stop.set()
    got(worked)
    if changes is not None and serving.was_told_again:
        changes.found = None  # it was to stop for good


def _traced(backend: Backend) -> Backend:
    """The backend, observed by OpenTelemetry where its SDK is installed."""
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        return backend
    from onward.observe import observed
    from onward.otel import OpenTelemetry

    return observed(backend, OpenTelemetry())
