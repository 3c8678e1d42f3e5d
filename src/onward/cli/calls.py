"""`onward run`, `submit` and `check`: they apply a flow to arguments."""

from __future__ import annotations

import logging
from typing import Annotated, Any, TypeAlias, Unpack

import typer
from returns.result import Failure

from onward import interpret
from onward.cli.arguments import call_of
from onward.cli.console import code_of, data_of_fault, err, fail, say, say_json, value_of, warn
from onward.cli.options import (
    Config,
    Json,
    On,
    Timeout,
    connected,
    connected_elsewhere,
    is_here,
    refuse_memory,
    with_call_options,
)
from onward.cli.shown import end_with
from onward.cli.target import flow_of
from onward.cli.usage import show_usage
from onward.cli.waiting import ENDS_HERE, goes_on, leaving, outcome_of
from onward.fault import BadPayload
from onward.flows.flow import Call
from onward.policy import CallOptions

Target: TypeAlias = Annotated[
    str | None, typer.Argument(metavar="TARGET", help="The task or flow: my.tasks:ingest")
]
Arguments: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="ARGS…", help="Its arguments, by position or as --name value; see TARGET --help."
    ),
]
Key: TypeAlias = Annotated[
    str | None, typer.Option(help="An idempotency key: with the same key, it runs only once.")
]
Unique: TypeAlias = Annotated[
    str | None,
    typer.Option(help="A key of which one call at a time is open; while one is, that is meant."),
]
Debounce: TypeAlias = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        min=0,
        help="With --unique: how long to wait for a later submission, which replaces this one.",
    ),
]
Delay: TypeAlias = Annotated[
    float, typer.Option(metavar="SECONDS", min=0, help="How long to wait before it starts.")
]
Deadline: TypeAlias = Annotated[
    float | None, typer.Option(metavar="SECONDS", min=0, help="How long it may take in all.")
]
Tags: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="TEXT", help="A short text to find it by; repeat it for more."),
]
Help: TypeAlias = Annotated[
    bool, typer.Option("--help", help="Show this; after a TARGET, show its arguments.")
]


@with_call_options
def run(
    context: typer.Context,
    target: Target = None,
    arguments: Arguments = None,
    on: On = None,
    config: Config = None,
    key: Key = None,
    unique: Unique = None,
    deadline: Deadline = None,
    tags: Tags = None,
    timeout: Timeout = None,
    as_json: Json = False,
    is_help: Help = False,
    **options: Unpack[CallOptions],
) -> None:
    """Run a task or flow, and print its outcome.

    The annotations of the task or flow say how its arguments are read: text as it is, numbers, true
    or false, and everything else as JSON. If an option has the same name as one of this command,
    write it after `--`.

    Example: `onward run my.tasks:ingest https://example.org/a.csv --sep ';' --on local://`

    Exit codes: 0, it gave a value; 1, a fault; 2, a mistake in the command or the configuration;
    3, a domain error; 4, no outcome yet, after --timeout.
    """
    # This command prints the outcome. If a module has set up logging, its handlers log it too.
    logging.getLogger("onward.step").addHandler(logging.NullHandler())
    call = call_from(context, target, arguments, is_help=is_help)
    with connected(on, config) as backend:
        refuse_memory(backend)
        ref = value_of(
            interpret.submit(
                call,
                on=backend,
                key=key,
                unique=unique,
                deadline=deadline,
                tags=tags or (),
                **options,
            )
        )
        then = ENDS_HERE if is_here(backend) else goes_on(ref.id, on, config)
        with leaving(then), err.status(f"{call.flow.name} …"):
            outcome = outcome_of(backend, ref.id, timeout, then)
        end_with(outcome, call.flow, as_json=as_json)


@with_call_options
def submit(
    context: typer.Context,
    target: Target = None,
    arguments: Arguments = None,
    on: On = None,
    config: Config = None,
    key: Key = None,
    unique: Unique = None,
    debounce: Debounce = None,
    delay: Delay = 0.0,
    deadline: Deadline = None,
    tags: Tags = None,
    as_json: Json = False,
    is_help: Help = False,
    **options: Unpack[CallOptions],
) -> None:
    """Submit a task or flow, and print its ref, which `result` and other commands take.

    Example: `onward submit my.tasks:ingest https://example.org/a.csv --key today`

    Exit codes: 0, it was submitted; 1, a fault; 2, a mistake in the command or the configuration.
    """
    call = call_from(context, target, arguments, is_help=is_help)
    with connected_elsewhere(on, config) as backend:
        ref = value_of(
            interpret.submit(
                call,
                on=backend,
                key=key,
                unique=unique,
                debounce=debounce,
                delay=delay,
                deadline=deadline,
                tags=tags or (),
                **options,
            )
        )
    if as_json:
        say_json({"ref": ref.id})
    else:
        say(ref.id)


def check(
    context: typer.Context,
    target: Target = None,
    arguments: Arguments = None,
    on: On = None,
    config: Config = None,
    as_json: Json = False,
    is_help: Help = False,
) -> None:
    """Check whether a backend can run a call, and submit nothing.

    Example: `onward check my.tasks:ingest https://example.org/a.csv --on temporal://localhost`

    Exit codes: 0, no problem was found; 1, a fault was found; 2, a mistake in the command or the
    configuration.
    """
    call = call_from(context, target, arguments, is_help=is_help)
    with connected(on, config) as backend:
        checked = interpret.check(call, on=backend)
    faults = checked.failure() if isinstance(checked, Failure) else ()
    if as_json:
        say_json({"faults": [data_of_fault(fault) for fault in faults]})
    elif not faults:
        say("no problem was found", "green")
    else:
        for fault in faults:
            warn(str(fault))
    raise typer.Exit(max(map(code_of, faults), default=0))


def call_from(
    context: typer.Context, target: str | None, arguments: list[str] | None, *, is_help: bool
) -> Call[Any, Any]:
    """The call that a command line names. It ends the command if there is none, or after a help."""
    if target is None:
        if is_help:
            typer.echo(context.get_help())
            raise typer.Exit
        raise typer.BadParameter("which flow? Write my.tasks:ingest", ctx=context)
    flow = flow_of(target)
    if is_help:
        ours = {option for each in context.command.params for option in each.opts}
        show_usage(context.info_name or "", target, flow, ours)
        raise typer.Exit
    call = call_of(flow, arguments or [])
    if isinstance(call.args, BadPayload):
        fail(call.args)
    return call
