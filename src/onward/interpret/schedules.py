"""Calls that an engine makes by its clock, for callers that block."""

from __future__ import annotations

from datetime import timedelta
from typing import TypeVar, Unpack

from returns.result import Result

from onward.backend import Schedule, Schedules
from onward.evaluate import drive
from onward.fault import Fault
from onward.flows.flow import Call
from onward.interpret import core
from onward.interpret.callers import BLOCKS
from onward.interpret.prepare import prepare_schedule
from onward.policy import CallOptions

Value = TypeVar("Value")
Error = TypeVar("Error")


def schedule(
    call: Call[Value, Error],
    /,
    on: Schedules,
    *,
    name: str,
    cron: str | None = None,
    every: float | timedelta | None = None,
    timezone: str = "UTC",
    **options: Unpack[CallOptions],
) -> Result[Schedule, Fault]:
    """Makes a call again and again, by the engine's clock, until `unschedule` removes the schedule.

    A schedule of that name which is there already is replaced, so that a deploy can declare what
    there is to be: one that was paused stays paused, and one that has not changed goes on as it
    was. Each run is a call of its own, and starts also while the one before it still runs. Runs
    that fell due while it was paused, or while the engine was away, are skipped.

    Args:
        call: A flow applied to its arguments; every run has the same.
        on: Where it runs: a backend that makes calls by the clock. Of one that `connect` gave,
            `isinstance(backend, Schedules)` tells, type checkers too.
        name: What it goes by on that engine.
        cron: When it runs, as the five fields of cron: minute, hour, day of the month, month, day
            of the week. One of the two days is `*`, for engines differ in how they read both.
        every: How long it is from one run to the next, in whole seconds or as a timedelta; either
            this or `cron` is given. The engine chooses when the first one is.
        timezone: The time zone that the cron is in, by its IANA name.
        options: What a call takes of a `Policy`, for those steps whose task says nothing of it:
            `queue` and `priority`.

    Returns:
        The schedule as it is now; or the `Fault` why there is none: `Misconfigured` for what makes
        no sense, `Unsupported` for what this backend's engine cannot do.

    Example:
        >>> from onward import Schedules, connect, schedule, task
        >>> @task
        ... def report(kind: str) -> None: ...
        >>> backend = connect("local://").unwrap()
        >>> if isinstance(backend, Schedules):
        ...     schedule(report("sales"), on=backend, name="sales", cron="30 2 * * MON").unwrap()
        ... else:
        ...     print("what it runs ends with this process, and so would a schedule")
        what it runs ends with this process, and so would a schedule
    """
    prepared = prepare_schedule(call, name, cron, every, timezone, options)
    return drive(core.schedule(BLOCKS, name, prepared, on))


def schedules(on: Schedules) -> Result[list[Schedule], Fault]:
    """The schedules there are.

    Args:
        on: A backend that makes calls by the clock.

    Returns:
        Those that were made with `schedule`, by name, with what each is to run and when.
    """
    return drive(core.schedules(BLOCKS, on))


def pause_schedule(name: str, /, on: Schedules) -> Result[None, Fault]:
    """Lets a schedule run nothing until it is resumed. What it has started goes on.

    Args:
        name: What it goes by.
        on: Where it was made.

    Returns:
        None once the engine has taken note; `Unknown` for a name that nobody knows; `Unsupported`
        where the engine can only take it away.
    """
    return drive(core.pause_schedule(BLOCKS, name, on))


def resume_schedule(name: str, /, on: Schedules) -> Result[None, Fault]:
    """Lets a paused schedule run again. What fell due meanwhile is not made up for.

    Args:
        name: What it goes by.
        on: Where it was made.

    Returns:
        None once the engine has taken note, also if it was not paused; `Unknown` for a name that
        nobody knows; `Unsupported` where the engine cannot pause.
    """
    return drive(core.resume_schedule(BLOCKS, name, on))


def unschedule(name: str, /, on: Schedules) -> Result[None, Fault]:
    """Takes a schedule away. What it has started goes on.

    Args:
        name: What it goes by.
        on: Where it was made.

    Returns:
        None once it is gone; `Unknown` for a name that nobody knows.
    """
    return drive(core.unschedule(BLOCKS, name, on))
