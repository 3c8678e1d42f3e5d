"""`schedule` and the functions for existing schedules, for blocking callers."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import TypeVar, Unpack

from returns.result import Result

from onward.backend import Overlap, Schedule, Schedules
from onward.coroutines import drive
from onward.fault import Fault
from onward.flows.flow import Call
from onward.interpret import core
from onward.interpret.callers import BLOCKS
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
    overlap: Overlap = "allow",
    catch_up: float | timedelta | None = None,
    tags: Collection[str] = (),
    **options: Unpack[CallOptions],
) -> Result[Schedule, Fault]:
    """Has the engine run a call again and again, until `unschedule` removes the schedule.

    It replaces a schedule of the same name, so each deploy can declare all schedules. A paused
    schedule stays paused, and one whose times are the same goes on as it was, with the new
    arguments. Each run is a call of its own.
    Runs that fall due while the schedule is paused are left out.

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
        overlap: What happens to a run that is due while the last one has not ended. With `"allow"`
            it starts anyway, with `"skip"` it is left out, and with `"queue"` it starts when the
            last one has ended.
        catch_up: How long after its time a run is still made, if nobody was there to make it: whole
            seconds from 10 up, or a timedelta. None is one minute on `local()`, SQLite, Celery and
            Temporal. Hatchet makes up for no run, and so takes None alone.
        tags: Short texts by which people find its runs, up to 20.
        options: `queue` and `priority`, for the steps whose tasks do not set them.

    Returns:
        The schedule as it is now, or a `Fault`: `Misconfigured` if an argument is invalid,
        `Unsupported` if this backend's engine cannot do it.

    Example:
        >>> from onward import local, schedule, task
        >>> @task
        ... def report(kind: str) -> None: ...
        >>> made = schedule(
        ...     report("sales"), on=local(), name="sales", cron="30 2 * * MON", overlap="skip"
        ... ).unwrap()
        >>> made.next_at.strftime("%A, %H:%M")
        'Monday, 02:30'
    """
    from onward.interpret.scheduling import prepare_schedule  # only schedules pay for it

    prepared = prepare_schedule(call, name, cron, every, timezone, overlap, catch_up, options, tags)
    return drive(core.schedule(BLOCKS, name, prepared, on))


def schedules(on: Schedules) -> Result[list[Schedule], Fault]:
    """Lists the schedules that `schedule` made.

    Args:
        on: A backend with schedules.

    Returns:
        Every schedule, sorted by name, with its flow and its times; or the `Fault` that kept the
        engine from answering, `Unsupported` on a backend without schedules.

    Example:
        >>> from onward import local, schedules
        >>> schedules(on=local())
        <Success: []>
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
        >>> from onward import local, pause_schedule, schedule, task
        >>> @task
        ... def report() -> None: ...
        >>> backend = local()
        >>> made = schedule(report(), on=backend, name="nightly", every=3600)
        >>> pause_schedule("nightly", on=backend)
        <Success: None>
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
        >>> from onward import local, resume_schedule, schedule, task
        >>> @task
        ... def report() -> None: ...
        >>> backend = local()
        >>> made = schedule(report(), on=backend, name="nightly", every=3600)
        >>> resume_schedule("nightly", on=backend)
        <Success: None>
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
        >>> from onward import local, schedule, task, unschedule
        >>> @task
        ... def report() -> None: ...
        >>> backend = local()
        >>> made = schedule(report(), on=backend, name="nightly", every=3600)
        >>> unschedule("nightly", on=backend)
        <Success: None>
    """
    return drive(core.unschedule(BLOCKS, name, on))
