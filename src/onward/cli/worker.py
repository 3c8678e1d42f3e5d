"""`onward worker`, which serves modules until it is stopped."""

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
from onward.cli.console import say, value_of
from onward.cli.options import Config, On, connected_elsewhere
from onward.cli.reload import Changes
from onward.cli.target import catalog_of, files_of
from onward.interpret import work
from onward.logs import tell


def worker(
    modules: Annotated[
        list[str],
        typer.Argument(metavar="MODULE…", help="Modules with the tasks and flows: my.tasks"),
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
            help="The queues to take steps from. Default: the engine's own and those of the tasks.",
        ),
    ] = None,
    grace: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0, help="How long running tasks may take to finish."),
    ] = 30.0,
    reload: Annotated[
        bool,
        typer.Option(
            "--reload", help="Restart when a file of the modules changes; for development."
        ),
    ] = False,
) -> None:
    """Serve the tasks and flows of modules until SIGTERM or Ctrl-C.

    Running tasks then have --grace seconds to finish. A second SIGTERM or Ctrl-C ends that time.
    What does not finish goes to another worker. Modules are looked up in the current directory
    first.

    Example: `onward worker my.tasks --on celery+redis://localhost:6379/0 --concurrency 4`

    Exit codes: 0, it was stopped; 1, a fault (the engine was not reached), or an exception in a
    module; 2, a mistake in the command or the configuration.
    """
    changes = Changes() if reload else None
    catalog = _loaded(modules, changes)
    if catalog is not None:
        with connected_elsewhere(on, config) as backend:
            _serve(backend, catalog, concurrency, _names(queues), grace, changes)
    if changes is not None and changes.found is not None:
        say("restarting", "yellow")
        changes.restart()
    say("stopped")


def _loaded(modules: list[str], changes: Changes | None) -> Catalog | None:
    """The catalog of the modules; None if the import failed and a file has changed since."""
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
    # Celery only logs a lost broker. A module may have set up its own handlers.
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s%(call)s")
    for each in logging.getLogger().handlers:
        tell(each)
    from onward.cli.leaving import announced  # it imports more than --help needs

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
        on=cast(Backend, serving),  # `work` needs only `serve`
        concurrency=concurrency,
        queues=queues,
        grace=grace,
        stop=stop,
    )
    stop.set()
    value_of(worked)
    if changes is not None and serving.was_stopped_again:
        changes.found = None  # the second signal stops it for good


def _traced(backend: Backend) -> Backend:
    """The backend, observed by OpenTelemetry if its SDK is installed."""
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        return backend
    from onward.observe import observed
    from onward.otel import OpenTelemetry

    return observed(backend, OpenTelemetry())
