"""Tasks that give or take one of several types, for `case`."""

from __future__ import annotations

from onward.fault import Fault
from onward.flows.define import task
from onward.testing.kinds import Even, Odd, Uneven
from onward.testing.traces import note


@task
def mend_odd(error: Odd) -> int:
    """A number that depends on the error."""
    note(type(error).__name__)
    return error.number + 1


@task
def mend_fault(error: Fault) -> int:
    """A number that depends on the fault."""
    note(type(error).__name__)
    return -len(error.task)


@task
def sift(n: int) -> Even | Uneven | None:
    """The number as one of two types, or nothing for zero."""
    note(n)
    return None if n == 0 else Uneven(n) if n % 2 else Even(n)


@task
def sort(n: int) -> int | str | None:
    """The number, or a text if it is odd, or nothing for zero."""
    note(n)
    return None if n == 0 else str(n) if n % 2 else n


@task
def of_even(value: Even) -> int:
    """The number within."""
    note(value)
    return value.number


@task
async def of_uneven(value: Uneven) -> int:
    """Minus the number within, asynchronously."""
    note(value)
    return -value.number


@task
def next_to_even(value: Even) -> Uneven:
    """The next number."""
    note(value)
    return Uneven(value.number + 1)


@task
def next_to_uneven(value: Uneven) -> Even:
    """The next number."""
    note(value)
    return Even(value.number + 1)


@task
def of_text(text: str) -> int:
    """The number that a text says, and a hundred."""
    note(text)
    return int(text) + 100


@task
def of_nothing(nothing: None) -> int:
    """A number for nothing."""
    note(nothing)
    return 1000
