"""`onward result`, `status`, `cancel` and `send`, which take the ref of a submitted call."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer
from msgspec import Raw
from returns.result import Failure

from onward import interpret
from onward.backend import Backend, Cancels, Histories, Signals
from onward.cli.arguments import raw_signal, read_signal
from onward.cli.console import USAGE, end, fail, say, say_json, value_of, warn
from onward.cli.options import Config, Json, On, Timeout, connected_elsewhere
from onward.cli.shown import data_of_status, end_with, text_of_status
from onward.cli.target import flow_of
from onward.cli.waiting import away, goes_on, leaving, outcome_of
from onward.fault import Unavailable, Unsupported
from onward.interpret.signals import unknown_signal


def likely_ref(text: str | None) -> str | None:
    """A text that may be a ref; ends the command if it cannot be one."""
    if text is not None and not text.strip():  # such as "$ref" after a failed submit
        end(USAGE, "the ref is empty: write what onward submit printed")
    if text is not None and "://" in text:  # it may have a password
        end(USAGE, "a URL stands where a ref should: write it after --on")
    return text


Ref: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="REF", help="What `onward submit`, or str(ref), gave.", callback=likely_ref
    ),
]
OfFlow: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--flow", metavar="TARGET", help="Its flow, which reads the value: my.tasks:ingest"
    ),
]


def result(
    ref: Ref,
    flow: OfFlow = None,
    on: On = None,
    config: Config = None,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Wait for a submitted call, and print its outcome.

    Without --flow, print the outcome as JSON, as with --json. If the engine is away, wait for it.

    Example: `onward result 7c1f… --flow my.tasks:ingest --timeout 60`

    Exit codes: 0, it gave a value; 1, a fault; 2, a mistake in the command or the configuration;
    3, a domain error; 4, no outcome yet, after --timeout.
    """
    reader = None if flow is None else flow_of(flow)
    then = goes_on(ref, on, config)
    with connected_elsewhere(on, config) as backend:
        with leaving(then):
            seen = backend.status(ref)
        if isinstance(seen, Failure) and isinstance(fault := seen.failure(), Unavailable):
            warn(away(fault))
        outcome = outcome_of(backend, ref, timeout, then)
    end_with(outcome, reader, as_json=as_json)


def status(ref: Ref, on: On = None, config: Config = None, as_json: Json = False) -> None:
    """Print where a submitted call is: its state, and the step, attempt and progress it is at.

    Example: `onward status 7c1f… --on celery+redis://localhost:6379/0 --json`

    Exit codes: 0, whatever its state; 1, a fault, such as an unknown ref; 2, a mistake in the
    command or the configuration.
    """
    with connected_elsewhere(on, config) as backend:
        seen = value_of(backend.status(ref))
    if as_json:
        say_json(data_of_status(ref, seen))
    else:
        say(text_of_status(seen))


def cancel(ref: Ref, on: On = None, config: Config = None, as_json: Json = False) -> None:
    """Cancel a submitted call, unless it has an outcome already, and print its state.

    That is `cancelled`; or `cancelling`, if the call has cleanups that workers run first.

    Example: `onward cancel 7c1f… --on celery+redis://localhost:6379/0`

    Exit codes: 0, the engine has accepted it; 1, a fault; 2, a mistake in the command or the
    configuration.
    """
    with connected_elsewhere(on, config) as backend:
        if not isinstance(backend, Cancels):
            fail(Unsupported(ref, "this backend cannot cancel a call"))
        value_of(backend.cancel(ref))
        seen = value_of(backend.status(ref))
    if as_json:
        say_json(data_of_status(ref, seen))
    else:
        say(seen.state)


def check_by_plan(backend: Backend, ref: str, name: str) -> None:
    """Ends the command if the call's plan waits for no signal of this name."""
    if isinstance(backend, Histories):
        page = backend.history(ref, limit=1).value_or(None)
        plan = None if page is None else page.plan
        if plan is not None and (fault := unknown_signal(plan, name)) is not None:
            end(USAGE, fault.message)


def send(
    ref: Ref,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The signal's name.")],
    value: Annotated[
        str, typer.Argument(metavar="JSON", help="Its value; with --flow, text may be plain.")
    ],
    flow: OfFlow = None,
    on: On = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Send a signal to a submitted call, which waits for it with `awaits`, and print its state.

    With --flow, check the name and the value by the flow's signals. Without it, check the name
    by the plan, if the engine keeps that; a value of another type makes the step fail that gets it.

    Example: `onward send 7c1f… decision '{"approved": true}' --flow my.tasks:order`

    Exit codes: 0, the engine has stored it; 1, a fault, such as a signal that was sent before; 2, a
    mistake in the command or the configuration.
    """
    reader = None if flow is None else flow_of(flow)
    read = raw_signal(name, value) if reader is None else read_signal(reader, name, value)
    with connected_elsewhere(on, config) as backend:
        if not isinstance(backend, Signals):
            fail(Unsupported(ref, "this backend cannot send a signal"))
        if isinstance(read, Raw):
            check_by_plan(backend, ref, name)
            value_of(backend.send(ref, name, read))
        elif reader is not None:
            value_of(interpret.send(reader.ref(ref), *read, on=backend))
        seen = value_of(backend.status(ref))
    if as_json:
        say_json(data_of_status(ref, seen))
    else:
        say(seen.state)
