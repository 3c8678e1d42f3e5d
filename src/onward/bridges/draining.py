"""`drain`, which waits until nothing is left on a backend, and hands its schedules over."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from msgspec import Struct
from returns.result import Failure, Result, Success

from onward.backend import (
    Backend,
    CallQuery,
    CallRecord,
    Histories,
    Listed,
    Lists,
    ReadsSchedules,
    Schedules,
)
from onward.backend.guard import call_backend
from onward.bridges.handing_over import hand_over
from onward.fault import Fault, Unknown, Unsupported

Kind: TypeAlias = Literal["delayed", "queued", "running", "sleeping", "waiting", "cancelling"]
"""What an open call does. One that is `waiting` waits for a signal."""

_OPEN: frozenset[Listed] = frozenset({"queued", "running", "waiting", "cancelling"})
_PAGE = 100

_LOOKED_AT = 500
"""Of how many calls it asks what they wait for; the others count as queued or waiting."""


class Left(Struct, frozen=True):
    """What is left on a backend.

    Args:
        calls: The open calls: for each flow, how many of each kind there are.
        schedules: The names of its schedules.
        handed_over: The names of the schedules that the other backend has got so far.
    """

    calls: dict[str, dict[Kind, int]]
    schedules: tuple[str, ...] = ()
    handed_over: tuple[str, ...] = ()

    @property
    def open(self) -> int:
        """How many calls are open."""
        return sum(number for kinds in self.calls.values() for number in kinds.values())

    @property
    def is_nothing(self) -> bool:
        """Whether nothing is left."""
        return not self.calls and not self.schedules


def drain(
    old: Backend, /, *, to: Backend | None = None, every: float = 1.0
) -> Iterator[Result[Left, Fault]]:
    """Says what is left on a backend, again and again until nothing is.

    It submits, cancels and moves nothing; `move` takes along what waits for long. With `to`, it
    hands the schedules over, one after the other. At no time do both backends run one. If it is
    interrupted, do it again: it goes on where it stopped.

    Args:
        old: The backend that nobody submits to any more, whose workers still run.
        to: The backend that gets the schedules; None leaves them, and then it is not drained
            before they are removed.
        every: The pause between two looks, in seconds.

    Returns:
        What is left, at each look. The last item is nothing, or the `Fault` that kept it from
        looking, or from handing a schedule over.

    Example:
        >>> from onward import local, result, submit, task
        >>> from onward.bridges import drain
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> old = local()
        >>> ref = submit(double(21), on=old, delay=0.2).unwrap()
        >>> for left in drain(old, every=0.3):
        ...     print(left.unwrap().calls)
        {'double': {'delayed': 1}}
        {}
    """
    if not isinstance(old, Lists):
        yield Failure(Unsupported("drain", f"{old!r} cannot list its calls"))
        return
    handed: list[str] = []
    while True:
        if to is not None:
            fault = _hand_over_all(old, to, handed)
            if fault is not None:
                yield Failure(fault)
                return
        left = left_on(old)
        if isinstance(left, Failure):
            yield left
            return
        found = left.unwrap()
        yield Success(Left(found.calls, found.schedules, tuple(handed)))
        if found.is_nothing:
            return
        time.sleep(every)


def _hand_over_all(old: Backend, to: Backend, handed: list[str]) -> Fault | None:
    """Hands all schedules over; gives the fault that kept it from that."""
    if not isinstance(old, Schedules):
        return None
    if not isinstance(old, ReadsSchedules) or not isinstance(to, Schedules):
        return Unsupported("drain", f"{old!r} cannot hand schedules over to {to!r}")
    listed = call_backend(old.schedules)
    if isinstance(listed, Failure):
        away: Fault = listed.failure()
        return away
    for schedule in listed.unwrap():
        made = hand_over(schedule.name, old, to)
        if isinstance(made, Success):
            handed.append(schedule.name)
        elif not isinstance(made.failure(), Unknown):  # somebody else has done it
            refused: Fault = made.failure()
            return refused
    return None


def left_on(old: Lists) -> Result[Left, Fault]:
    """What is open on a backend now, and its schedules."""
    calls: dict[str, Counter[Kind]] = {}
    asked, after = 0, ""
    while True:
        page = call_backend(old.calls, CallQuery(_OPEN, limit=_PAGE), after)
        if isinstance(page, Failure):
            return Failure(page.failure())
        for call in page.unwrap().calls:
            is_asked = call.state in ("queued", "waiting") and asked < _LOOKED_AT
            asked += is_asked
            kind = _asked(call, old) if is_asked else _kind_of(call)
            calls.setdefault(call.flow, Counter())[kind] += 1
        after = page.unwrap().next
        if not after:
            break
    names: tuple[str, ...] = ()
    if isinstance(old, Schedules):
        listed = call_backend(old.schedules)
        if isinstance(listed, Failure):
            return Failure(listed.failure())
        names = tuple(schedule.name for schedule in listed.unwrap())
    return Success(Left({flow: dict(kinds) for flow, kinds in sorted(calls.items())}, names))


def _kind_of(call: CallRecord) -> Kind:
    match call.state:
        case "running" | "cancelling" | "waiting":
            return call.state
        case _:
            is_delayed = call.starts is not None and call.starts > datetime.now(UTC)
            return "delayed" if is_delayed else "queued"


def _asked(call: CallRecord, old: Lists) -> Kind:
    """What a call does, by more than the list says."""
    if call.state == "waiting":
        status = call_backend(old.status, call.id)
        sleeps = isinstance(status, Success) and not status.unwrap().signal
        return "sleeping" if sleeps else "waiting"
    if call.starts is None and isinstance(old, Histories):
        page = call_backend(old.history, call.id, "", 1)
        return _kind_of(page.map(lambda page: page.call).value_or(call))
    return _kind_of(call)
