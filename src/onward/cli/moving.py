"""`onward move`, which moves calls that are under way to another engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer
from returns.result import Failure

from onward import interpret
from onward.backend import Backend, Listed, Lists, Moves
from onward.cli.console import (
    USAGE,
    code_of,
    data_of_fault,
    end,
    fail,
    say,
    say_json,
    value_of,
    warn,
)
from onward.cli.options import Json, connected_elsewhere
from onward.cli.target import flow_of
from onward.fault import Conflict, Unsupported
from onward.flows.combinators import identity

_OPEN: tuple[Listed, ...] = ("queued", "running", "waiting")


def move(
    ref: Annotated[
        str | None, typer.Argument(metavar="REF", help="The ref of a call; else see --flow.")
    ] = None,
    on: Annotated[
        str | None, typer.Option("--from", metavar="URL", help="The engine that has the calls.")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="URL", help="The engine that gets them.")
    ] = None,
    flow: Annotated[
        str | None,
        typer.Option(metavar="FLOW", help="All open calls of a flow: its name, or my.tasks:ingest"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say which calls would be moved.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Move calls that are under way to another engine, where they go on.

    Steps that have ended do not run again. If it is interrupted, give the same command again.

    Example: `onward move --flow ingest --from sqlite:///onward.db --to temporal://localhost:7233`

    Exit codes: 0, all were moved; 1, a fault, also of one of them; 2, a mistake in the command or
    the configuration.
    """
    if (ref is None) == (flow is None):
        end(USAGE, "name a call by its ref, or a flow with --flow")
    if on is None or to is None:
        end(USAGE, "--from and --to name the two engines")
    with connected_elsewhere(on, None) as old, connected_elsewhere(to, None) as new:
        if not isinstance(old, Moves):
            fail(Unsupported(ref or flow or "", "no call can be moved from this engine"))
        refs = [(ref, False)] if ref is not None else _calls(old, flow or "")
        if not refs:
            warn("there is no call to move")
        worst = 0
        for each, was_moved in refs:
            if dry_run and not was_moved:
                _say({"ref": each, "dry_run": True}, f"{each}  would be moved", as_json=as_json)
            elif not dry_run:
                code = _move(each, old, new, was_moved=was_moved, as_json=as_json)
                worst = max(worst, code)
        raise typer.Exit(worst)


def _calls(old: Backend, flow: str) -> list[tuple[str, bool]]:
    """The open calls of a flow; and, marked, those of which a move may have been interrupted."""
    if not isinstance(old, Lists):
        fail(Unsupported(flow, "this engine cannot list calls: move them by their refs"))
    name = flow_of(flow).name if ":" in flow else flow
    found = map(value_of, interpret.calls(on=old, state=[*_OPEN, "moved"], flow=name))
    return [(call.ref.id, call.state == "moved") for call in found]


def _move(ref: str, old: Moves, new: Backend, *, was_moved: bool, as_json: bool) -> int:
    """Moves a call, and gives the exit code for it."""
    answer = interpret.move(identity.ref(ref), on=old, to=new)
    if isinstance(answer, Failure):
        fault = answer.failure()
        if was_moved and isinstance(fault, Conflict):
            return 0  # to another engine, some time before
        if as_json:
            say_json({"ref": ref, "fault": data_of_fault(fault)})
        else:
            warn(f"{ref}: {fault}")
        return code_of(fault)
    moved = answer.unwrap().id
    _say({"ref": ref, "moved": moved}, f"{ref}  moved as {moved}", as_json=as_json)
    return 0


def _say(data: Mapping[str, object], text: str, *, as_json: bool) -> None:
    if as_json:
        say_json(data)
    else:
        say(text)
