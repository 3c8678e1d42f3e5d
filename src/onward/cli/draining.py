"""`onward drain`, which waits until nothing is left on an engine."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Annotated

import typer

from onward.backend import Backend
from onward.cli.console import NOT_YET, say, say_json, value_of
from onward.cli.options import Json, Timeout, connected_elsewhere

if TYPE_CHECKING:
    from onward.bridges.draining import Left


def drained(
    url: Annotated[str, typer.Argument(metavar="URL", help="The engine that is to be left.")],
    to: Annotated[
        str | None, typer.Option("--to", metavar="URL", help="The engine that gets its schedules.")
    ] = None,
    every: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="The pause between two looks.")
    ] = 2.0,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Wait until nothing is left on an engine: no open call, and no schedule.

    With --to, the schedules go to another engine. Calls that wait for long go there by `onward
    move`. If it is interrupted, give the same command again.

    Example: `onward drain celery+redis://localhost:6379/0 --to temporal://localhost:7233`

    Exit codes: 0, nothing is left; 1, a fault; 2, a mistake in the command or the configuration; 4,
    something is left, and --timeout is over.
    """
    end = None if timeout is None else time.monotonic() + timeout
    shown = None
    with connected_elsewhere(url, None) as old, _elsewhere(to) as new:
        from onward.bridges.draining import drain  # it imports more than --help needs

        for each in drain(old, to=new, every=every):
            left = value_of(each)
            if left != shown:
                _show(left, as_json=as_json)
                shown = left
            if end is not None and time.monotonic() >= end and not left.is_nothing:
                raise typer.Exit(NOT_YET)


@contextlib.contextmanager
def _elsewhere(to: str | None) -> Generator[Backend | None]:
    if to is None:
        yield None
        return
    with connected_elsewhere(to, None) as backend:
        yield backend


def _show(left: Left, *, as_json: bool) -> None:
    if as_json:
        say_json(
            {
                "open": left.open,
                "calls": left.calls,
                "schedules": list(left.schedules),
                "handed_over": list(left.handed_over),
            }
        )
        return
    parts = [
        f"{flow}: " + ", ".join(f"{number} {kind}" for kind, number in kinds.items())
        for flow, kinds in left.calls.items()
    ]
    if left.schedules:
        parts.append(f"schedules: {', '.join(left.schedules)}")
    if left.handed_over:
        parts.append(f"handed over: {', '.join(left.handed_over)}")
    if left.is_nothing:
        parts.append("nothing is left")
    say("; ".join(parts))
