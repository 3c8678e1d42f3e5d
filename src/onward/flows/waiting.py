"""The combinators that wait without a slot: sleep and awaits."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Never, TypeVar, cast, overload

from onward.flows import nodes
from onward.flows.flow import Call, Error_co, Flow, Step, Value_co, as_step
from onward.flows.signals import Signal
from onward.plan import LONGEST_WAIT
from onward.unanswered import Unanswered

S = TypeVar("S")
Taken = TypeVar("Taken")
Next = TypeVar("Next")
NextError = TypeVar("NextError")


class Sleep(Flow[[Any], Any, Never], nodes.Sleep):
    """A wait that gives its input. Its type fits everywhere, as that of `identity`."""

    __slots__ = ()

    def __call__(self, value: Taken, /) -> Call[Taken]:
        return super().__call__(value)

    def __rshift__(self, other: Step[Taken, Next, NextError], /) -> Flow[[Taken], Next, NextError]:
        return cast(Flow[[Taken], Next, NextError], super().__rshift__(as_step(other)))


class Awaits(Flow[[object], Value_co, Error_co], nodes.Awaits):
    """A wait for a signal. Of this type, `keep` knows that its own input may have any type."""

    __slots__ = ()


def sleep(delay: float | timedelta, /) -> Sleep:
    """Waits, and passes its input on.

    The wait is durable: it holds no slot, no thread and no message, and it goes on if every process
    of the workers dies. It begins when the step before it has a value.

    Args:
        delay: How long to wait at least, in seconds or as a timedelta, up to ten years.

    Returns:
        A flow that gives its input: `sleep(d)(x)` is `x`.

    Raises:
        TypeError: If the delay is not a number or a timedelta.
        ValueError: If it is negative, or more than ten years.

    Example:
        >>> from datetime import timedelta
        >>> from onward import local, run, sleep, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> run((double >> sleep(timedelta(milliseconds=1)) >> double)(1), on=local())
        <Success: 4>
    """
    return Sleep(_seconds("a sleep's delay", delay))


@overload
def awaits(signal: Signal[S], /, *, timeout: None = None) -> Awaits[S]: ...
@overload
def awaits(signal: Signal[S], /, *, timeout: float | timedelta) -> Awaits[S, Unanswered]: ...
def awaits(
    signal: Signal[S], /, *, timeout: float | timedelta | None = None
) -> Awaits[S, Unanswered] | Awaits[S]:
    """Waits for the value that `send` brings to the call.

    The wait is durable, as that of `sleep`. A value that was sent before the call waits for it is
    kept, and each `awaits` of the same signal gives it. `keep(awaits(signal))` carries the input
    past the wait.

    Args:
        signal: The signal.
        timeout: How long to wait at most, in seconds or as a timedelta; None waits as long as it
            takes. After that, the flow fails with `Unanswered`.

    Returns:
        A flow that takes anything, and gives the signal's value.

    Raises:
        TypeError: If it is no signal, or the timeout is not a number or a timedelta.
        ValueError: If the timeout is negative, or more than ten years.

    Example:
        >>> from onward import Signal, awaits, keep, local, result, send, submit, task
        >>> approved = Signal("approved", bool)
        >>> @task
        ... def order(amount: int) -> str:
        ...     return f"{amount} EUR"
        >>> flow = order >> keep(awaits(approved))
        >>> backend = local()
        >>> ref = submit(flow(5), on=backend).unwrap()
        >>> send(ref, approved, True, on=backend)
        <Success: None>
        >>> result(ref, on=backend)
        <Success: ('5 EUR', True)>
    """
    if not isinstance(signal, Signal):
        raise TypeError(f"awaits takes a Signal, not {signal!r}: write Signal(name, type)")
    seconds = None if timeout is None else _seconds("the timeout of awaits", timeout)
    return Awaits(signal, seconds)


def _seconds(what: str, value: float | timedelta) -> float:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"{what} is a number of seconds or a timedelta, not {value!r}")
    if not 0 <= seconds <= LONGEST_WAIT:
        raise ValueError(f"{what} is from 0 seconds to ten years, not {value!r}")
    return float(seconds)
