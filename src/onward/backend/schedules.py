"""When schedules run: due times, missed runs and overlaps.

`local()`, SQLite and Celery share this; Temporal and Hatchet have schedules of their own. All of it
is pure: the caller reads the clock, and knows which calls have ended.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo

from msgspec import Struct
from msgspec.structs import replace

from onward.backend.records import Schedule

CATCH_UP = 60
"""How long after its time a missed run is still made, in seconds, if the schedule does not say."""

MOST_WAITING = 1_000
"""How many runs of a schedule wait at most, if it queues them. Further ones are left out."""

_AT_ONCE = 1_000
"""How many missed runs are made up in one look. The next look makes the others."""


class Timing(Struct, frozen=True):
    """Where a schedule is, between two looks at the clock.

    Args:
        next_at: When it is due next, in seconds since 1970; None if that is never.
        waiting: When the runs were due that wait for the one before to end.
        last: The id of the last call that it made; empty before the first.
    """

    next_at: float | None
    waiting: tuple[float, ...] = ()
    last: str = ""


def begin(schedule: Schedule, now: float, last: str = "") -> Timing:
    """The timing of a schedule that begins now: when it is declared, paused or resumed.

    Args:
        schedule: The schedule.
        now: The time, in seconds since 1970.
        last: The id of the last call that it made before.

    Example:
        >>> begin(Schedule("n", "report", every=60), now=1000.0)
        Timing(next_at=1060.0, waiting=(), last='')
    """
    return Timing(next_after(schedule, now), (), last)


def change(schedule: Schedule, before: Schedule, timing: Timing, now: float) -> Timing:
    """The timing of a schedule that is declared again.

    It begins anew only if its times are others. Otherwise a schedule that changes with each
    deployment, because its arguments do, might never be due.

    Args:
        schedule: The schedule as it is declared now.
        before: The schedule as it was declared before.
        timing: Where it is.
        now: The time, in seconds since 1970.

    Example:
        >>> before, after = (Schedule("n", flow, every=60) for flow in ("report", "report_v2"))
        >>> change(after, before, Timing(1060.0), now=1030.0).next_at
        1060.0
    """
    if _times(schedule) != _times(before):
        return begin(schedule, now, timing.last)
    return timing if schedule.overlap == "queue" else replace(timing, waiting=())


def advance(
    schedule: Schedule, timing: Timing, now: float, is_open: Callable[[str], bool]
) -> tuple[list[str], Timing]:
    """Says which calls a schedule makes now.

    A run whose time is long past is left out. Of the others, none is, unless the run before it has
    not ended and the schedule skips such runs.

    Args:
        schedule: The schedule.
        timing: Where it is.
        now: The time, in seconds since 1970.
        is_open: Says whether the call with this id has no outcome yet.

    Returns:
        The ids of the calls to submit now, and where the schedule is then. The same run always has
        the same id, so whoever submits it a second time starts nothing.

    Example:
        >>> minutely = Schedule("n", "report", every=60, overlap="queue")
        >>> calls, timing = advance(minutely, Timing(60.0), 120.0, lambda id: False)
        >>> len(calls), timing.waiting, timing.next_at
        (1, (120.0,), 180.0)
    """
    due, next_at = _due(schedule, timing.next_at, now)
    starts, waiting = tuple(due), timing.waiting
    if schedule.overlap != "allow":
        waiting = (*waiting, *due)[:MOST_WAITING]
        is_free = bool(waiting) and not (timing.last and is_open(timing.last))
        starts = waiting[:1] if is_free else ()
        waiting = waiting[len(starts) :] if schedule.overlap == "queue" else ()
    calls = [_id(schedule.name, at) for at in starts]
    return calls, Timing(next_at, waiting, calls[-1] if calls else timing.last)


def is_same(one: Schedule, other: Schedule) -> bool:
    """Whether two declarations of a schedule say the same."""
    return _declared(one) == _declared(other)


def shown(schedule: Schedule, timing: Timing) -> Schedule:
    """The schedule with the time of its next run; without one if it is paused."""
    if schedule.paused or timing.next_at is None:
        return replace(schedule, next_at=None)
    return replace(schedule, next_at=datetime.fromtimestamp(timing.next_at, UTC))


def next_after(schedule: Schedule, moment: float) -> float | None:
    """When a schedule is due next after a moment, both in seconds since 1970; None for never.

    Args:
        schedule: Its `cron` is in its time zone. A time that a change of the clocks skips counts as
            the first moment after the change, and one that it repeats counts once, the first time.
            A cron whose minute or hour begins with `*` goes by the time that passes instead.
        moment: The moment.

    Raises:
        ValueError: If the schedule's cron is invalid.

    Example:
        >>> noon = datetime(2026, 3, 28, 12, tzinfo=UTC).timestamp()
        >>> nightly = Schedule("n", "report", cron="30 2 * * *", timezone="Europe/Berlin")
        >>> datetime.fromtimestamp(next_after(nightly, noon), UTC).isoformat()  # 3:00 in Berlin
        '2026-03-29T01:00:00+00:00'
    """
    if schedule.every is not None:
        return round(moment + schedule.every, 3)  # `next_at` says the same time exactly
    assert schedule.cron is not None  # one of the two is given
    from cronsim import CronSim, CronSimError

    try:
        times = CronSim(schedule.cron, datetime.fromtimestamp(moment, _zone(schedule.timezone)))
    except CronSimError as problem:
        raise ValueError(f"cron {schedule.cron!r}: {problem}") from None
    # From within a repeated hour, the library also gives times of its first pass.
    found = (at.timestamp() for at in times)
    return next((at for at in found if at > moment), None)


def check_cron(cron: str) -> None:
    """Raises ValueError if a cron is invalid, or never comes true."""
    if next_after(Schedule("", "", cron=cron), 0.0) is None:
        raise ValueError(f"cron {cron!r} never comes true")


def _declared(schedule: Schedule) -> Schedule:
    return replace(schedule, paused=False, next_at=None)


def _times(schedule: Schedule) -> tuple[object, ...]:
    return schedule.cron, schedule.every, schedule.timezone


def _due(schedule: Schedule, at: float | None, now: float) -> tuple[list[float], float | None]:
    """The times at which a schedule was due and that are made up for, and the next one."""
    first = now - (CATCH_UP if schedule.catch_up is None else schedule.catch_up)
    if at is not None and at < first:
        at = _from(schedule, at, first)
    due: list[float] = []
    while at is not None and at <= now and len(due) < _AT_ONCE:
        due.append(at)
        at = next_after(schedule, at)
    return due, at


def _from(schedule: Schedule, at: float, first: float) -> float | None:
    """The first time at which a schedule is due that is not before `first`."""
    if schedule.every is not None:
        return round(at + schedule.every * math.ceil((first - at) / schedule.every), 3)
    return next_after(schedule, math.ceil(first) - 1)


def _id(name: str, at: float) -> str:
    """The id of a schedule's run."""
    import hashlib  # which takes its time, and only schedules need it

    return hashlib.sha256(f"schedule {name} {at!r}".encode()).hexdigest()[:32]


def _zone(name: str) -> tzinfo:
    if name == "UTC":  # known also where there is no time zone database
        return UTC
    from zoneinfo import ZoneInfo

    return ZoneInfo(name)
