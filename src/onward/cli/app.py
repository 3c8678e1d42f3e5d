"""The `onward` command; docs/command-line.md is its manual."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version as version_of
from typing import Annotated

import typer

from onward.cli import (
    calls,
    compat,
    dev,
    doctor,
    draining,
    explain,
    listing,
    migrating,
    mirroring,
    moving,
    refs,
    repair,
    schedules,
    watch,
    worker,
)
from onward.cli.console import say
from onward.cli.group import RedactingGroup
from onward.cli.options import PASSED_ON

_ON_FLOWS: tuple[Callable[..., None], ...] = (calls.run, calls.submit, calls.check)
_PLAIN: tuple[Callable[..., None], ...] = (
    refs.result,
    refs.status,
    refs.cancel,
    refs.send,
    listing.calls,
    repair.history,
    repair.resume,
    repair.replay,
    repair.fork,
    repair.forget,
    moving.move,
    mirroring.mirror,
    migrating.migrate,
    schedules.schedules,
    watch.watch,
    worker.worker,
    explain.explain,
    compat.compat,
    doctor.doctor,
)

app: typer.Typer = typer.Typer(
    name="onward",
    cls=RedactingGroup,
    help="Typed tasks, composed with >>, on the engine that a URL names.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,  # the user's tracebacks look as Python prints them
)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        say(f"onward {version_of('onward')}")
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


for _each in _ON_FLOWS:
    app.command(context_settings=PASSED_ON, add_help_option=False)(_each)
for _each in _PLAIN:
    app.command()(_each)
app.command(name="drain")(draining.drained)
app.add_typer(schedules.app)
app.add_typer(dev.app)
