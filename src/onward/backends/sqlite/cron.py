"""When a cron's five fields come true next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_YEARS = 28
"""How far ahead it is looked for: a 29 February on a certain day of the week may be that far."""


class Cron:
    """A cron's fields, read.

    Args:
        text: Minute, hour, day of the month, month and day of the week.

    Raises:
        ValueError: If it is no cron.

    Example:
        >>> Cron("*/15 9-17 * * MON-FRI").after(datetime(2026, 1, 2, 17, 50, tzinfo=UTC), UTC)
        datetime.datetime(2026, 1, 5, 9, 0, tzinfo=datetime.timezone.utc)
    """

    def __init__(self, text: str) -> None:
        fields = text.lower().split()
        if len(fields) != 5:
            raise ValueError(f"cron has five fields, not {text!r}")
        self._minutes, self._hours, self._dates, self._months, days = (
            _values(field, low, high, names)
            for field, (low, high), names in zip(
                fields, _BOUNDS, ((), (), (), _MONTHS, _DAYS), strict=True
            )
        )
        self._days = frozenset(day % 7 for day in days)
        self._is_either = not (fields[2].startswith("*") or fields[4].startswith("*"))

    def after(self, moment: datetime, zone: tzinfo) -> datetime | None:
        """When it comes true next after a moment, in UTC; None if it never does.

        Args:
            moment: With a time zone.
            zone: The time zone that the fields are in. An hour that a change of clocks leaves out
                is taken as the one after it, and one that comes twice counts once.
        """
        local = moment.astimezone(zone).replace(tzinfo=None, second=0, microsecond=0)
        local += timedelta(minutes=1)
        end = local + timedelta(days=366 * _YEARS)
        while local < end:
            if not self._is_day(local):
                local = datetime(local.year, local.month, local.day) + timedelta(days=1)  # noqa: DTZ001 - the zone comes below
                continue
            found = self._time_of(local)
            if found is None:
                local = datetime(local.year, local.month, local.day) + timedelta(days=1)  # noqa: DTZ001
                continue
            at = found.replace(tzinfo=zone).astimezone(UTC)
            if at > moment:
                return at
            local = found + timedelta(minutes=1)
        return None

    def _is_day(self, day: datetime) -> bool:
        if day.month not in self._months:
            return False
        is_date, is_weekday = day.day in self._dates, day.isoweekday() % 7 in self._days
        return is_date or is_weekday if self._is_either else is_date and is_weekday

    def _time_of(self, day: datetime) -> datetime | None:
        """The first time of this day that it comes true, from this one on."""
        for hour in sorted(self._hours):
            if hour < day.hour:
                continue
            first = day.minute if hour == day.hour else 0
            minute = min((each for each in self._minutes if each >= first), default=None)
            if minute is not None:
                return day.replace(hour=hour, minute=minute)
        return None


def _values(field: str, low: int, high: int, names: tuple[str, ...]) -> frozenset[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, slash, step = part.partition("/")
        if span == "*":
            first, last = low, 6 if high == 7 else high
        else:
            start, dash, stop = span.partition("-")
            first = _number(start, names, low)
            last = _number(stop, names, low) if dash else (high if slash else first)
        every = int(step) if slash else 1
        if every < 1 or not low <= first <= high or not low <= last <= high or first > last:
            raise ValueError(f"{part!r} is out of bounds: from {low} to {high}")
        found.update(range(first, last + 1, every))
    return frozenset(found)


def _number(text: str, names: tuple[str, ...], low: int) -> int:
    if text in names:
        return names.index(text) + (low if names is _MONTHS else 0)
    return int(text)
