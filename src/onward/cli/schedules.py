"""`onward schedules`, and `onward schedule`, whose commands declare, pause and remove schedules."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Annotated, TypeAlias, Unpack
from zoneinfo import ZoneInfo

import msgspec
import typer
from returns.result import Result

from onward import interpret
from onward.backend import Overlap, Schedule, Schedules
from onward.cli.calls import Arguments, Help, Tags, Target, call_from
from onward.cli.console import fail, say, say_json, value_of
from onward.cli.options import PASSED_ON, Config, Json, On, connected_elsewhere, with_call_options
from onward.cli.shown import text_of_time
from onward.fault import Fault, Unsupported
from onward.policy import CallOptions

Name: TypeAlias = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]


def schedules(on: On = None, config: Config = None, as_json: Json = False) -> None:
    """Print all schedules: when each one runs, what it calls, and when it runs next.

    Example: `onward schedules --on celery+redis://localhost:6379/0`

    Exit codes: 0, they are printed; 1, a fault; 2, a mistake in the command or the configuration.
    """
    with _with_schedules(on, config) as backend:
        found = value_of(interpret.schedules(on=backend))
    if as_json:
        say_json({"schedules": [msgspec.to_builtins(each) for each in found]})
        return
    width = max((len(each.name) for each in found), default=0)
    for each in found:
        say(f"{each.name:<{width}}  {_text_of(each)}")


app: typer.Typer = typer.Typer(
    name="schedule", help="Declare, pause, resume and remove schedules.", no_args_is_help=True
)


@with_call_options
def declare(
    context: typer.Context,
    target: Target = None,
    arguments: Arguments = None,
    on: On = None,
    config: Config = None,
    name: Annotated[
        str | None, typer.Option(help="The schedule's name; the flow's name if not given.")
    ] = None,
    cron: Annotated[
        str | None, typer.Option(help="When it runs, as the five fields of cron: '30 2 * * MON'")
    ] = None,
    every: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="The time between two runs, without a cron."),
    ] = None,
    timezone: Annotated[
        str, typer.Option(metavar="ZONE", help="The time zone of --cron: Europe/Berlin")
    ] = "UTC",
    overlap: Annotated[
        Overlap, typer.Option(help="What happens to a run that is due while the last one runs.")
    ] = "allow",
    catch_up: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="How late a missed run is still made."),
    ] = None,
    tags: Tags = None,
    as_json: Json = False,
    is_help: Help = False,
    **options: Unpack[CallOptions],
) -> None:
    """Have the engine run a task or flow again and again. It replaces a schedule of that name.

    Example: `onward schedule declare my.tasks:report sales --name sales --cron '30 2 * * MON'`

    Exit codes: 0, the engine has it; 1, a fault; 2, a mistake in the command or the configuration.
    """
    call = call_from(context, target, arguments, is_help=is_help)
    with _with_schedules(on, config) as backend:
        made = value_of(
            interpret.schedule(
                call,
                on=backend,
                name=call.flow.name if name is None else name,
                cron=cron,
                every=every,
                timezone=timezone,
                overlap=overlap,
                catch_up=catch_up,
                tags=tags or (),
                **options,
            )
        )
    if as_json:
        say_json(msgspec.to_builtins(made))
    else:
        say(f"{made.name}  {_text_of(made)}")


def pause(name: Name, on: On = None, config: Config = None, as_json: Json = False) -> None:
    """Keep a schedule from starting runs until it is resumed. Runs that have started go on.

    Example: `onward schedule pause sales`

    Exit codes: 0, the engine has accepted it; 1, a fault, such as an unknown name; 2, a mistake in
    the command or the configuration.
    """
    _change(interpret.pause_schedule, name, "paused", on, config, as_json=as_json)


def resume(name: Name, on: On = None, config: Config = None, as_json: Json = False) -> None:
    """Let a paused schedule start runs again.

    Example: `onward schedule resume sales`

    Exit codes: 0, the engine has accepted it; 1, a fault, such as an unknown name; 2, a mistake in
    the command or the configuration.
    """
    _change(interpret.resume_schedule, name, "resumed", on, config, as_json=as_json)


def remove(name: Name, on: On = None, config: Config = None, as_json: Json = False) -> None:
    """Remove a schedule. Runs that have started go on.

    Example: `onward schedule remove sales`

    Exit codes: 0, it is gone; 1, a fault, such as an unknown name; 2, a mistake in the command or
    the configuration.
    """
    _change(interpret.unschedule, name, "removed", on, config, as_json=as_json)


app.command(context_settings=PASSED_ON, add_help_option=False)(declare)
for _each in (pause, resume, remove):
    app.command()(_each)


def _change(
    act: Callable[[str, Schedules], Result[None, Fault]],
    name: str,
    done: str,
    on: str | None,
    config: Path | None,
    *,
    as_json: bool,
) -> None:
    with _with_schedules(on, config) as backend:
        value_of(act(name, backend))
    if as_json:
        say_json({"name": name, done: True})
    else:
        say(done)


@contextlib.contextmanager
def _with_schedules(on: str | None, config: Path | None) -> Generator[Schedules]:
    with connected_elsewhere(on, config) as backend:
        if not isinstance(backend, Schedules):
            fail(Unsupported("schedule", f"{backend!r} has no schedules"))
        yield backend


def _text_of(schedule: Schedule) -> str:
    """A schedule on one line, without its name."""
    when = f"every {schedule.every} s" if schedule.cron is None else schedule.cron
    parts = [schedule.flow, when if schedule.timezone == "UTC" else f"{when} {schedule.timezone}"]
    if schedule.overlap != "allow":
        parts.append(f"overlap {schedule.overlap}")
    if schedule.catch_up is not None:
        parts.append(f"catches up {schedule.catch_up} s")
    if schedule.paused:
        parts.append("paused")
    elif schedule.next_at is not None:
        at = schedule.next_at
        if schedule.timezone != "UTC":
            at = at.astimezone(ZoneInfo(schedule.timezone))
        parts.append(f"next {text_of_time(at)}")
    return ", ".join(parts)
