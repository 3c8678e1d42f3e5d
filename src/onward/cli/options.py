"""Options that several commands share, and the backend that they name."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Annotated, Final, TypeAlias, TypeVar, get_args, get_type_hints

import typer
from returns.result import Failure

from onward.backend import Backend, RunsHere
from onward.cli.console import USAGE, end, fail, for_program
from onward.config import connect
from onward.health import Health
from onward.policy import CallOptions

On: TypeAlias = Annotated[
    str | None,
    typer.Option("--on", metavar="URL", help="The engine: celery+redis://localhost:6379/0"),
]
Config: TypeAlias = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="A YAML file that names the engine instead."),
]
Json: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print JSON, for programs.", callback=for_program)
]
Timeout: TypeAlias = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", min=0, help="How long to wait; the call goes on after that."),
]

Command = TypeVar("Command", bound=Callable[..., None])

PASSED_ON: Final = {"ignore_unknown_options": True}
"""Unknown options belong to the flow, whose parameters are known only after its import."""

_HERE = "ends with this process"


def with_call_options(command: Command) -> Command:
    """Gives a command an option for each field of `CallOptions`, in place of its `**options`."""
    signature = inspect.signature(command, eval_str=True)
    parameters = list(signature.parameters.values())
    parameters = [each for each in parameters if each.kind is not inspect.Parameter.VAR_KEYWORD]
    names = list(signature.parameters)
    # beside the call's other options
    place = names.index("deadline") + 1 if "deadline" in names else names.index("as_json")
    parameters[place:place] = [
        inspect.Parameter(
            name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=None,
            annotation=Annotated[
                get_args(kind)[0], typer.Option(help=kind.__metadata__[0].documentation)
            ],
        )
        for name, kind in get_type_hints(CallOptions, include_extras=True).items()
    ]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # typer reads it
    return command


@contextlib.contextmanager
def connected(on: str | None, config: Path | None) -> Generator[Backend]:
    """The backend of `--on`, of `--config` or of the environment, closed at the end."""
    if on is not None and config is not None:
        end(USAGE, "--on and --config both name an engine: leave one of them out")
    source = config if on is None else on
    made = connect() if source is None else connect(source)
    if isinstance(made, Failure):
        fail(made.failure())
    backend = made.unwrap()
    try:
        yield backend
    finally:
        close = getattr(backend, "close", None)
        if close is not None:
            close()


@contextlib.contextmanager
def connected_elsewhere(on: str | None, config: Path | None) -> Generator[Backend]:
    """Like `connected`, for commands that need a backend that other processes share."""
    with connected(on, config) as backend:
        refuse_memory(backend)
        if is_here(backend):
            end(USAGE, f"no other process can submit to local://: it {_HERE}. Name a broker's URL")
        yield backend


def is_here(backend: Backend) -> bool:
    """Whether a backend runs calls in this process, and needs no worker."""
    return isinstance(backend, RunsHere)


def refuse_memory(backend: Backend) -> None:
    """Ends the command if the backend's broker and workers are in this process."""
    if getattr(backend, "is_in_memory", False):
        it = "no other process can submit to celery+memory://: it"
        end(USAGE, f"{it} {_HERE}. Name a broker's URL")


def health_at(option: str, address: str, deaf: float = 120.0) -> Health:
    """Reads where to answer over HTTP: a port, or a host and a port."""
    host, _, port = address.rpartition(":")
    try:
        return Health(int(port), host.strip("[]") or "127.0.0.1", deaf)
    except ValueError as problem:
        why = f" ({problem})" if port.isdecimal() else ""
        end(USAGE, f"{option} is a port, or a host and a port, not {address!r}{why}")
