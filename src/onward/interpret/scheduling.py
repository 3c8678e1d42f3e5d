"""Checks the arguments of `schedule` and of the functions for existing schedules."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import timedelta
from typing import Any, cast, get_args

from msgspec.structs import replace

from onward.backend import Overlap, Schedule, Submission
from onward.backend.schedules import check_cron
from onward.checks import check_name
from onward.fault import Fault, Misconfigured
from onward.flows.flow import Call
from onward.interpret.prepare import prepare, seconds_of
from onward.policy import CallOptions

_OVERLAPS: tuple[str, ...] = get_args(Overlap)

_LEAST_CATCH_UP = 10
"""The least `catch_up`, in seconds, because Temporal has no shorter one."""

# The syntax that all engines share.
_CRON_PART = r"(\*|\w+(-\w+)?)(/\d+)?"
_CRON_FIELD = f"{_CRON_PART}(,{_CRON_PART})*"


def prepare_schedule(
    call: Call[Any, Any],
    name: str,
    cron: str | None,
    every: float | timedelta | None,
    timezone: str,
    overlap: Overlap,
    catch_up: float | timedelta | None,
    options: CallOptions,
    tags: Collection[str] = (),
) -> tuple[Schedule, Submission] | Fault:
    """Makes a schedule, and a submission of its call, or says what is wrong with them.

    The plan has no id, because each run is a call of its own.
    """
    prepared = prepare(call, None, 0.0, None, options, tags)
    if isinstance(prepared, Fault):
        return prepared
    flow = call.flow.name
    try:
        check_name("schedule", name)
        if cron is not None and every is None:
            schedule = Schedule(name, flow, _cron(cron), timezone=_timezone(timezone))
        elif every is not None and cron is None:
            if timezone != "UTC":
                raise ValueError("only a schedule with cron has a time zone: leave timezone out")
            schedule = Schedule(name, flow, every=_every(every))
        else:
            raise ValueError("a schedule has cron='30 2 * * *' or every=60: write one of them")
        schedule = replace(schedule, overlap=_overlap(overlap), catch_up=_catch_up(catch_up))
    except (TypeError, ValueError) as problem:
        return Misconfigured(flow, str(problem))
    return schedule, replace(prepared, plan=replace(prepared.plan, id=""))


def name_fault(name: str) -> Fault | None:
    """The fault of a schedule's name, if it is invalid."""
    try:
        check_name("schedule", name)
    except (TypeError, ValueError) as problem:
        return Misconfigured("name", str(problem))
    return None


def _every(every: float | timedelta) -> int:
    seconds = seconds_of("every", every)
    if seconds < 1 or not seconds.is_integer():
        raise ValueError(f"every is a whole number of seconds from 1 up, not {every!r}")
    return int(seconds)


def _overlap(overlap: object) -> Overlap:
    if overlap not in _OVERLAPS:
        raise ValueError(f"overlap is one of {', '.join(map(repr, _OVERLAPS))}, not {overlap!r}")
    return cast(Overlap, overlap)


def _catch_up(catch_up: float | timedelta | None) -> int | None:
    if catch_up is None:
        return None
    seconds = seconds_of("catch_up", catch_up)
    if seconds < _LEAST_CATCH_UP or not seconds.is_integer():
        least = f"from {_LEAST_CATCH_UP} up"
        raise ValueError(f"catch_up is a whole number of seconds {least}, not {catch_up!r}")
    return int(seconds)


def _cron(text: str) -> str:
    """A cron's five fields, with one space between them."""
    if not isinstance(text, str):
        raise TypeError(f"cron is a text of five fields, not {text!r}")
    fields = text.split()
    if len(fields) != 5 or not all(re.fullmatch(_CRON_FIELD, field, re.ASCII) for field in fields):
        raise ValueError(
            "cron has five fields (minute, hour, day of the month, month, day of the week), each "
            f"like *, 5, 1-5, */15 or MON,FRI, not {text!r}"
        )
    if fields[2] != "*" and fields[4] != "*":
        raise ValueError(
            f"cron {text!r} names days of the month and of the week; some engines require both to "
            "match, others one of them: make two schedules, or let the task look at the date"
        )
    cron = " ".join(fields)
    check_cron(cron)
    return cron


def _timezone(name: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"timezone is a name, such as 'Europe/Berlin', not {name!r}")
    if name == "UTC":  # works without a time zone database
        return name
    import zoneinfo

    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"this machine knows no time zone {name!r}: write an IANA name, such as "
            "'Europe/Berlin', and install the package tzdata if the system has no time zones"
        ) from None
    return name
