"""`onward history`, `resume`, `replay`, `fork` and `forget`, which read and repair a call."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Annotated, TypeAlias

import msgspec
import typer
from msgspec import Raw

from onward import interpret
from onward.backend import Backend, Forgets, Histories
from onward.cli.console import ERROR, USAGE, end, fail, out, say, say_json, value_of
from onward.cli.options import Config, Json, On, connected_elsewhere
from onward.cli.refs import Ref
from onward.cli.target import flow_of
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
    ref: Ref,
    on: On = None,
    config: Config = None,
    to: To = None,
    args: Annotated[
        str | None,
        typer.Option(
            "--args",
            metavar="JSON",
            help="Other arguments for the step that failed, as a list or by name; with --flow.",
        ),
    ] = None,
    flow: Annotated[
        str | None,
        typer.Option(
            "--flow", metavar="TARGET", help="Its flow, which reads --args: my.tasks:ingest"
        ),
    ] = None,
    deadline: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="How long the new call may take in all."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Let a failed, lost or cancelled call go on where it stopped, and print the new call's ref.

    Steps that have an outcome are not run again. The old call stays as it is.

    Example: `onward resume 7c1f… --args '[20]' --flow my.tasks:ingest --deadline 3600`

    Exit codes: 0, it was submitted; 1, a fault, such as a call that is done; 2, a mistake in the
    command or the configuration.
    """
    if (args is None) != (flow is None):
        end(USAGE, "--args needs --flow, whose types read them, and --flow needs --args")
    reader = identity if flow is None else flow_of(flow)
    given = None if args is None else _arguments(args)
    with connected_elsewhere(on, config) as backend, elsewhere(to) as target:
        new = value_of(
            interpret.resume(
                reader.ref(ref),
                on=with_histories(backend, ref),
                to=target,
                args=given,
                deadline=deadline,
            )
        )
    _say_ref(new.id, as_json=as_json)


def _arguments(text: str) -> list[Raw] | dict[str, Raw]:
    """Reads `--args`."""
    try:
        return msgspec.json.decode(text, type=list[Raw] | dict[str, Raw])
    except msgspec.MsgspecError as problem:
        end(
            USAGE,
            f"""--args is a JSON list or object, such as '[20]' or '{{"n": 20}}': {problem}""",
        )


def replay(
    ref: Ref,
    flow: Annotated[
        str,
        typer.Option("--flow", metavar="TARGET", help="The flow as it is today: my.tasks:ingest"),
    ],
    on: On = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Take the recorded outcomes of a call through today's code, and say where that differs.

    No task runs, and nothing is changed.

    Example: `onward replay 7c1f… --flow my.tasks:ingest --on celery+redis://localhost:6379/0`

    Exit codes: 0, today's code does what was recorded; 1, a fault, such as an unknown ref; 2, a
    mistake in the command or the configuration; 3, it differs.
    """
    reader = flow_of(flow)
    with connected_elsewhere(on, config) as backend:
        found = value_of(interpret.replay(reader.ref(ref), on=with_histories(backend, ref)))
    for step in found.steps:
        name = step.task if step.kind == "step" else f"{step.kind} {step.task}".rstrip()
        if as_json:
            data = {"path": step.path, "task": step.task, "kind": step.kind}
            say_json({**data, "difference": step.difference, "why": step.why})
        elif step.difference is None:
            say(f"  {step.path}  {name}")
        else:
            say(f"≠ {step.path}  {name}: {step.why}", "red")
    raise typer.Exit(ERROR if found.differences else 0)


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
            fail(Unsupported(ref, "this engine deletes calls by its own retention alone"))
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
