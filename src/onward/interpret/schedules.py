"""`schedule` and the functions for existing schedules, for blocking callers."""

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
    """Has the engine run a call again and again, until `unschedule` removes the schedule.

    It replaces a schedule of the same name, so each deploy can declare all schedules. A paused
    schedule stays paused, and an unchanged one goes on as it was. Each run is a call of its own,
    and starts even while the run before it is still running. Runs that fall due while the schedule
    is paused, or while the engine is away, are skipped.

    Args:
        call: A flow applied to its arguments. Every run has these arguments.
        on: A backend with schedules. `isinstance(backend, Schedules)` tells you and your type
            checker whether a backend from `connect` has them.
        name: The schedule's name on that engine.
        cron: When it runs, as the five fields of cron: minute, hour, day of the month, month, day
            of the week. One of the two days must be `*`, because engines read both differently.
        every: The time from one run to the next, in whole seconds or as a timedelta. Give either
            this or `cron`. The engine chooses when the first run is.
        timezone: The time zone of `cron`, by its IANA name.
        options: `queue` and `priority`, for the steps whose tasks do not set them.

    Returns:
        The schedule as it is now, or a `Fault`: `Misconfigured` if an argument is invalid,
        `Unsupported` if this backend's engine cannot do it.

    Example:
        >>> from onward import Schedules, connect, schedule, task
        >>> @task
        ... def report(kind: str) -> None: ...
        >>> backend = connect("local://").unwrap()
        >>> if isinstance(backend, Schedules):
        ...     schedule(report("sales"), on=backend, name="sales", cron="30 2 * * MON").unwrap()
        ... else:
        ...     print("this backend has no schedules")
        this backend has no schedules
    """
    prepared = prepare_schedule(call, name, cron, every, timezone, options)
    return drive(core.schedule(BLOCKS, name, prepared, on))


def schedules(on: Schedules) -> Result[list[Schedule], Fault]:
    """Lists the schedules that `schedule` made.

    Args:
        on: A backend with schedules.

    Returns:
        Every schedule, sorted by name, with its flow and its times; or the `Fault` that kept the
        engine from answering, `Unsupported` on a backend without schedules.

    Example:
        >>> from onward import Schedules, connect, schedules
        >>> backend = connect("local://").unwrap()
        >>> if isinstance(backend, Schedules):
        ...     names = [each.name for each in schedules(on=backend).unwrap()]
    """
    return drive(core.schedules(BLOCKS, on))


def pause_schedule(name: str, /, on: Schedules) -> Result[None, Fault]:
    """Keeps a schedule from starting runs until `resume_schedule`. Started runs go on.

    Args:
        name: The schedule's name.
        on: The backend that it was made on.

    Returns:
        None after the engine has accepted it; `Unknown` if there is no schedule of this name;
        `Unsupported` if the engine cannot pause.

    Example:
        >>> from onward import Schedules, connect, pause_schedule
        >>> backend = connect("local://").unwrap()
        >>> if isinstance(backend, Schedules):
        ...     pause_schedule("nightly", on=backend).unwrap()
    """
    return drive(core.pause_schedule(BLOCKS, name, on))


def resume_schedule(name: str, /, on: Schedules) -> Result[None, Fault]:
    """Lets a paused schedule start runs again. Runs that fell due before are skipped.

    Args:
        name: The schedule's name.
        on: The backend that it was made on.

    Returns:
        None after the engine has accepted it, even if the schedule was not paused; `Unknown` if
        there is no schedule of this name; `Unsupported` if the engine cannot pause.

    Example:
        >>> from onward import Schedules, connect, resume_schedule
        >>> backend = connect("local://").unwrap()
        >>> if isinstance(backend, Schedules):
        ...     resume_schedule("nightly", on=backend).unwrap()
    """
    return drive(core.resume_schedule(BLOCKS, name, on))


def unschedule(name: str, /, on: Schedules) -> Result[None, Fault]:
    """Removes a schedule. Started runs go on.

    Args:
        name: The schedule's name.
        on: The backend that it was made on.

    Returns:
        None after it is gone, or `Unknown` if there is no schedule of this name.

    Example:
        >>> from onward import Schedules, connect, unschedule
        >>> backend = connect("local://").unwrap()
        >>> if isinstance(backend, Schedules):
        ...     unschedule("nightly", on=backend).unwrap()
    """
    return drive(core.unschedule(BLOCKS, name, on))
