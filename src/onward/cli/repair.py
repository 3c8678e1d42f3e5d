"""`onward history`, `resume`, `fork` and `forget`, which read and repair a submitted call."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Annotated, TypeAlias

import typer

from onward import interpret
from onward.backend import Backend, Forgets, Histories
from onward.cli.console import USAGE, end, fail, out, say, say_json, value_of
from onward.cli.options import Config, Json, On, connected_elsewhere
from onward.cli.refs import Ref
from onward.coroutines import drive
from onward.fault import Unsupported
from onward.flows.combinators import identity

To: TypeAlias = Annotated[
    str | None,
    typer.Option("--to", metavar="URL", help="The engine on which it goes on, if another one."),
]


def history(
    ref: Ref,
    on: On = None,
    config: Config = None,
    tracebacks: Annotated[
        bool, typer.Option("--tracebacks", help="Show the tracebacks of exceptions too.")
    ] = False,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="As a Mermaid flowchart.")] = False,
    as_json: Json = False,
) -> None:
    """Show what happened in a submitted call: its steps, their times, attempts and faults.

    With --json, also their values, its plan and its signals, without secrets.

    Example: `onward history 7c1f… --on celery+redis://localhost:6379/0`

    Exit codes: 0, it was shown; 1, a fault, such as an unknown ref; 2, a mistake in the command or
    the configuration.
    """
    from onward.cli import timeline
    from onward.interpret.callers import BLOCKS
    from onward.interpret.recorded import recorded

    if mermaid and as_json:
        end(USAGE, "--mermaid and --json are two forms: leave one of them out")
    with connected_elsewhere(on, config) as backend:
        found = value_of(drive(recorded(BLOCKS, identity.ref(ref), with_histories(backend, ref))))
    if as_json:
        say_json(timeline.data_of_history(found))
    elif mermaid:
        say(timeline.chart(found))
    else:
        out.print(timeline.tree(found, tracebacks=tracebacks))


def resume(
    ref: Ref, on: On = None, config: Config = None, to: To = None, as_json: Json = False
) -> None:
    """Let a failed, lost or cancelled call go on where it stopped, and print the new call's ref.

    Steps that have an outcome are not run again. The old call stays as it is.

    Example: `onward resume 7c1f… --on sqlite:///onward.db --to temporal://localhost:7233`

    Exit codes: 0, it was submitted; 1, a fault, such as a call that is done; 2, a mistake in the
    command or the configuration.
    """
    with connected_elsewhere(on, config) as backend, elsewhere(to) as target:
        histories = with_histories(backend, ref)
        new = value_of(interpret.resume(identity.ref(ref), on=histories, to=target))
    _say_ref(new.id, as_json=as_json)


def fork(
    ref: Ref,
    at: Annotated[
        str, typer.Option("--at", metavar="PATH", help="The step's place, as history shows it.")
    ],
    on: On = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Submit a call that takes over what came before a step of another one, and print its ref.

    Example: `onward fork 7c1f… --at 1 --on celery+redis://localhost:6379/0`

    Exit codes: 0, it was submitted; 1, a fault, such as an unknown step; 2, a mistake in the
    command or the configuration.
    """
    with connected_elsewhere(on, config) as backend:
        histories = with_histories(backend, ref)
        new = value_of(interpret.fork(identity.ref(ref), at, on=histories))
    _say_ref(new.id, as_json=as_json)


def forget(ref: Ref, on: On = None, config: Config = None, as_json: Json = False) -> None:
    """Delete all that the engine keeps of a call that has ended.

    Example: `onward forget 7c1f… --on celery+redis://localhost:6379/0`

    Exit codes: 0, it is deleted; 1, a fault, such as a call that goes on; 2, a mistake in the
    command or the configuration.
    """
    with connected_elsewhere(on, config) as backend:
        if not isinstance(backend, Forgets):
            fail(Unsupported(ref, "this backend cannot delete a call"))
        value_of(interpret.forget(identity.ref(ref), on=backend))
    if as_json:
        say_json({"ref": ref, "forgotten": True})
    else:
        say("forgotten")


def with_histories(backend: Backend, about: str) -> Histories:
    """The backend as one that has histories; ends the command if it has none."""
    if not isinstance(backend, Histories):
        fail(Unsupported(about, "this backend keeps no history of its calls"))
    return backend


@contextlib.contextmanager
def elsewhere(to: str | None) -> Generator[Backend | None]:
    """The backend of `--to`, if there is one."""
    if to is None:
        yield None
        return
    with connected_elsewhere(to, None) as backend:
        yield backend


def _say_ref(id: str, *, as_json: bool) -> None:
    if as_json:
        say_json({"ref": id})
    else:
        say(id)
