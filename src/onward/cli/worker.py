"""`onward worker`, which serves modules until it is stopped."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from typing import Annotated, cast

import typer
from returns.result import Result

from onward.backend import Backend
from onward.catalog import Catalog
from onward.cli.console import say, value_of
from onward.cli.options import Config, On, connected_elsewhere, health_at
from onward.cli.reload import Changes
from onward.cli.restart import restart
from onward.cli.target import catalog_of, files_of
from onward.fault import Fault
from onward.health import Health
from onward.interpret.work import worked
from onward.isolation import Isolation
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
    isolate: Annotated[
        bool,
        typer.Option(
            "--isolate",
            help="Run all tasks in child processes, which a timeout or a cancel kills.",
        ),
    ] = False,
    max_tasks: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Restart after N tasks; with --isolate, replace each child process after them.",
        ),
    ] = None,
    max_memory: Annotated[
        float | None,
        typer.Option(
            metavar="MB",
            min=1,
            help="Restart with more memory than this; with --isolate, replace each such child.",
        ),
    ] = None,
    health: Annotated[
        str | None,
        typer.Option(
            metavar="[HOST:]PORT",
            help="Answer /live, /ready and /metrics over HTTP. Default host: 127.0.0.1.",
        ),
    ] = None,
    deaf: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=1,
            help="How long it may hear nothing from its engine before /live fails.",
        ),
    ] = 120.0,
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
    first. If systemd started it, it tells systemd when it is ready, alive and stopping.

    A worker that restarts takes no more tasks, lets those that run finish, however long they take,
    and starts again in the same process, which keeps its id.

    Example: `onward worker my.tasks --on celery+redis://localhost:6379/0 --concurrency 4`

    Exit codes: 0, it was stopped; 1, a fault (the engine was not reached), or an exception in a
    module; 2, a mistake in the command or the configuration.
    """
    watched = _health(health, deaf)
    changes = Changes() if reload else None
    is_worn = False
    catalog = _loaded(modules, changes)
    if catalog is not None:
        with connected_elsewhere(on, config) as backend:
            limits = Isolation(max_tasks, max_memory)
            serve = partial(
                worked,
                catalog,
                concurrency=concurrency,
                queues=_names(queues),
                grace=grace,
                health=watched,
                isolate=limits if isolate else False,
                max_tasks=None if isolate else max_tasks,
                max_memory=None if isolate else max_memory,
            )
            is_worn = _serve(backend, catalog, serve, _names(queues), changes)
    if is_worn or (changes is not None and changes.found is not None):
        say("restarting", "yellow")
        restart()
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


def _health(address: str | None, deaf: float) -> Health:
    """What `--health` and `--deaf` say. Without a port, only systemd is told, if it listens."""
    return Health(deaf=deaf) if address is None else health_at("--health", address, deaf)


def _names(queues: str | None) -> list[str] | None:
    return None if queues is None else [name.strip() for name in queues.split(",")]


def _serve(
    backend: Backend,
    catalog: Catalog,
    serve: Callable[..., Result[bool, Fault]],
    queues: Sequence[str] | None,
    changes: Changes | None,
) -> bool:
    """Serves until it is stopped; True if the worker has reached one of its limits."""
    # Celery only logs a lost broker. A module may have set up its own handlers.
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s%(call)s")
    for each in logging.getLogger().handlers:
        tell(each)
    logging.getLogger("onward.health").setLevel(logging.INFO)  # it says where the health is
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
    ended = serve(on=cast(Backend, serving), stop=stop)  # it needs only the backend's `serve`
    stop.set()
    is_worn: bool = value_of(ended)
    if changes is not None and serving.was_stopped_again:
        changes.found = None  # the second signal stops it for good
    return is_worn


def _traced(backend: Backend) -> Backend:
    """The backend, observed by OpenTelemetry if its SDK is installed."""
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        return backend
    from onward.observe import observed
    from onward.otel import OpenTelemetry

    return observed(backend, OpenTelemetry())
