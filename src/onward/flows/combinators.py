"""What composes flows besides `>>` and `.rescue`: given, together, each, fused, identity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec, Protocol, TypeVar, Unpack, overload

from onward.codec import Refused
from onward.flows import values
from onward.flows.fits import check_branches
from onward.flows.flow import (
    AnyFlow,
    Call,
    Each,
    Flow,
    Fused,
    Given,
    Identity,
    Keep,
    Step,
    Tee,
    Together,
    as_flow,
    as_step,
)
from onward.flows.options import policy_of
from onward.policy import PolicyOptions

Params = ParamSpec("Params")
More = ParamSpec("More")
Taken = TypeVar("Taken")
Value = TypeVar("Value")
Error = TypeVar("Error")
Item_co = TypeVar("Item_co", covariant=True)
Value1 = TypeVar("Value1")
Value2 = TypeVar("Value2")
Value3 = TypeVar("Value3")
Value4 = TypeVar("Value4")
Value5 = TypeVar("Value5")
Value6 = TypeVar("Value6")
Value7 = TypeVar("Value7")
Value8 = TypeVar("Value8")
Error1 = TypeVar("Error1")
Error2 = TypeVar("Error2")
Error3 = TypeVar("Error3")
Error4 = TypeVar("Error4")
Error5 = TypeVar("Error5")
Error6 = TypeVar("Error6")
Error7 = TypeVar("Error7")
Error8 = TypeVar("Error8")

identity: Identity = Identity()
"""The flow that gives what it takes: `together(identity, parse)` keeps the value beside its parse.

Example:
    >>> from onward import identity, local, run, task, together
    >>> @task
    ... def double(n: int) -> int:
    ...     return 2 * n
    >>> run((double >> together(identity, double))(1), on=local())
    <Success: (2, 4)>
"""


def flow(step: Step[Taken, Value, Error], /) -> Flow[[Taken], Value, Error]:
    """A step as a flow, for a function that takes any step and goes on with it.

    To type checkers, a `Step` is all that takes one value, and so has no `>>`, `rescue` or `named`
    of its own.

    Args:
        step: What takes exactly one value.

    Returns:
        The same step.

    Raises:
        TypeError: If it is no flow, or takes more than one value.

    Example:
        >>> from onward import Flow, Step, flow, local, run, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> def twice(step: Step[int, int]) -> Flow[[int], int]:
        ...     return flow(step) >> step
        >>> run(twice(double)(1), on=local())
        <Success: 4>
    """
    return as_step(step)


def given(
    step: Callable[Concatenate[Taken, More], Call[Value, Error]],
    /,
    *args: More.args,
    **kwargs: More.kwargs,
) -> Flow[[Taken], Value, Error]:
    """All of a step's arguments but the first, so that it fits into a chain.

    Args:
        step: The flow that takes more than one argument.
        args: Its second argument and those after it.
        kwargs: Its further arguments by name.

    Returns:
        A flow that takes the first argument alone.

    Raises:
        TypeError: If the step takes no such arguments.
        ValueError: If a value is not what its annotation says.

    Example:
        >>> from onward import given, local, run, task
        >>> @task
        ... def split(text: str, sep: str) -> list[str]:
        ...     return text.split(sep)
        >>> run(given(split, sep=";")("a;b"), on=local())
        <Success: ['a', 'b']>
    """
    flow = as_flow(step)
    try:
        rest = values.encode(flow, args, kwargs, 1)
    except Refused as refused:
        raise ValueError(f"given({flow.name}, ...): {refused.reason} - at {refused.path}") from None
    except TypeError as problem:
        raise TypeError(f"given({flow.name}, ...): {problem}") from None
    return Given(flow, rest)


# Where no branch has errors, pyright makes Unknown of `Never | Never`; hence two for each number.
@overload
def together(a: Step[Taken, Value1, Error1], /) -> Flow[[Taken], tuple[Value1], Error1]: ...
@overload
def together(
    a: Step[Taken, Value1], b: Step[Taken, Value2], /
) -> Flow[[Taken], tuple[Value1, Value2]]: ...
@overload
def together(
    a: Step[Taken, Value1, Error1], b: Step[Taken, Value2, Error2], /
) -> Flow[[Taken], tuple[Value1, Value2], Error1 | Error2]: ...
@overload
def together(
    a: Step[Taken, Value1], b: Step[Taken, Value2], c: Step[Taken, Value3], /
) -> Flow[[Taken], tuple[Value1, Value2, Value3]]: ...
@overload
def together(
    a: Step[Taken, Value1, Error1],
    b: Step[Taken, Value2, Error2],
    c: Step[Taken, Value3, Error3],
    /,
) -> Flow[[Taken], tuple[Value1, Value2, Value3], Error1 | Error2 | Error3]: ...
@overload
def together(
    a: Step[Taken, Value1],
    b: Step[Taken, Value2],
    c: Step[Taken, Value3],
    d: Step[Taken, Value4],
    /,
) -> Flow[[Taken], tuple[Value1, Value2, Value3, Value4]]: ...
@overload
def together(
    a: Step[Taken, Value1, Error1],
    b: Step[Taken, Value2, Error2],
    c: Step[Taken, Value3, Error3],
    d: Step[Taken, Value4, Error4],
    /,
) -> Flow[[Taken], tuple[Value1, Value2, Value3, Value4], Error1 | Error2 | Error3 | Error4]: ...
@overload
def together(
    a: Step[Taken, Value1],
    b: Step[Taken, Value2],
    c: Step[Taken, Value3],
    d: Step[Taken, Value4],
    e: Step[Taken, Value5],
    /,
) -> Flow[[Taken], tuple[Value1, Value2, Value3, Value4, Value5]]: ...
@overload
def together(
    a: Step[Taken, Value1, Error1],
    b: Step[Taken, Value2, Error2],
    c: Step[Taken, Value3, Error3],
    d: Step[Taken, Value4, Error4],
    e: Step[Taken, Value5, Error5],
    /,
) -> Flow[
    [Taken],
    tuple[Value1, Value2, Value3, Value4, Value5],
    Error1 | Error2 | Error3 | Error4 | Error5,
]: ...
@overload
def together(
    a: Step[Taken, Value1],
    b: Step[Taken, Value2],
    c: Step[Taken, Value3],
    d: Step[Taken, Value4],
    e: Step[Taken, Value5],
    f: Step[Taken, Value6],
    /,
) -> Flow[[Taken], tuple[Value1, Value2, Value3, Value4, Value5, Value6]]: ...
@overload
def together(
    a: Step[Taken, Value1, Error1],
    b: Step[Taken, Value2, Error2],
    c: Step[Taken, Value3, Error3],
    d: Step[Taken, Value4, Error4],
    e: Step[Taken, Value5, Error5],
    f: Step[Taken, Value6, Error6],
    /,
) -> Flow[
    [Taken],
    tuple[Value1, Value2, Value3, Value4, Value5, Value6],
    Error1 | Error2 | Error3 | Error4 | Error5 | Error6,
]: ...
@overload
def together(
    a: Step[Taken, Value1],
    b: Step[Taken, Value2],
    c: Step[Taken, Value3],
    d: Step[Taken, Value4],
    e: Step[Taken, Value5],
    f: Step[Taken, Value6],
    g: Step[Taken, Value7],
    /,
) -> Flow[[Taken], tuple[Value1, Value2, Value3, Value4, Value5, Value6, Value7]]: ...
@overload
def together(
    a: Step[Taken, Value1, Error1],
    b: Step[Taken, Value2, Error2],
    c: Step[Taken, Value3, Error3],
    d: Step[Taken, Value4, Error4],
    e: Step[Taken, Value5, Error5],
    f: Step[Taken, Value6, Error6],
    g: Step[Taken, Value7, Error7],
    /,
) -> Flow[
    [Taken],
    tuple[Value1, Value2, Value3, Value4, Value5, Value6, Value7],
    Error1 | Error2 | Error3 | Error4 | Error5 | Error6 | Error7,
]: ...
@overload
def together(
    a: Step[Taken, Value1],
    b: Step[Taken, Value2],
    c: Step[Taken, Value3],
    d: Step[Taken, Value4],
    e: Step[Taken, Value5],
    f: Step[Taken, Value6],
    g: Step[Taken, Value7],
    h: Step[Taken, Value8],
    /,
) -> Flow[[Taken], tuple[Value1, Value2, Value3, Value4, Value5, Value6, Value7, Value8]]: ...
@overload
def together(
    a: Step[Taken, Value1, Error1],
    b: Step[Taken, Value2, Error2],
    c: Step[Taken, Value3, Error3],
    d: Step[Taken, Value4, Error4],
    e: Step[Taken, Value5, Error5],
    f: Step[Taken, Value6, Error6],
    g: Step[Taken, Value7, Error7],
    h: Step[Taken, Value8, Error8],
    /,
) -> Flow[
    [Taken],
    tuple[Value1, Value2, Value3, Value4, Value5, Value6, Value7, Value8],
    Error1 | Error2 | Error3 | Error4 | Error5 | Error6 | Error7 | Error8,
]: ...
def together(*steps: object) -> AnyFlow:
    """Several steps on the same value, side by side; their values as a tuple.

    All of them settle. If any fails, the failure of the leftmost that failed is the outcome.

    Args:
        steps: From one to eight steps that take the same kind of value.

    Raises:
        TypeError: If there is none, or more than eight, one takes more than a value, or two take
            types that no value can have both.

    Example:
        >>> from onward import local, run, task, together
        >>> @task
        ... def half(n: int) -> int:
        ...     return n // 2
        >>> @task
        ... def text(n: int) -> str:
        ...     return str(n)
        >>> run(together(half, text)(8), on=local())
        <Success: (4, '8')>
    """
    if not 1 <= len(steps) <= 8:
        raise TypeError(
            f"together takes from one to eight steps, not {len(steps)}: nest another together, or "
            "use each for many values"
        )
    branches = tuple(map(as_step, steps))
    check_branches(branches)
    return Together(branches)


class Items(Protocol[Item_co]):
    """A list, a tuple or the like: what `each` takes. A str or bytes is none.

    Example:
        >>> from onward import Call, Items, each, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> def doubled(numbers: Items[int]) -> Call[list[int]]:
        ...     return each(double)(numbers)
        >>> doubled((1, 2))
        each(double)([1, 2])
    """

    # To a str and bytes, `in` cannot be said of any object.

    def __len__(self) -> int: ...
    def __contains__(self, value: object, /) -> bool: ...
    def __getitem__(self, index: slice, /) -> Sequence[Item_co]: ...


def each(
    step: Step[Taken, Value, Error], /, *, limit: int | None = None, chunk: int | None = None
) -> Flow[[Items[Taken]], list[Value], Error]:
    """A step on every item of a list; the list of its values, in the same order.

    All items settle. If any fails, the failure of the first that failed is the outcome.

    Args:
        step: Takes one item.
        limit: How many deliveries are in flight at a time, of an item or of a chunk each; None
            leaves it to the backend.
        chunk: How many items go to a worker as one delivery; None for one. Celery's workers run
            these one after the other, the others side by side.

    Raises:
        TypeError, ValueError: If limit or chunk is no whole number from 1 up.

    Example:
        >>> from onward import each, local, run, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> run(each(double)([1, 2, 3]), on=local())
        <Success: [2, 4, 6]>
    """
    for what, count in (("limit", limit), ("chunk", chunk)):
        if count is not None and (isinstance(count, bool) or not isinstance(count, int)):
            raise TypeError(f"{what} is a whole number of items, not {count!r}")
        if count is not None and not 1 <= count <= 1_000_000_000:
            raise ValueError(f"{what} is 1 item or more, not {count}: leave it out for no {what}")
    return Each(as_step(step), limit, chunk)


def keep(step: Step[Taken, Value, Error], /) -> Flow[[Taken], tuple[Taken, Value], Error]:
    """A step, and the value that goes into it beside the step's own.

    Args:
        step: Takes one value.

    Returns:
        A flow that gives the pair of both: `keep(f)(x)` is `(x, f(x))`.

    Raises:
        TypeError: If the step takes more than a value.

    Example:
        >>> from onward import keep, local, run, task
        >>> @task
        ... def length(text: str) -> int:
        ...     return len(text)
        >>> run(keep(length)("four"), on=local())
        <Success: ('four', 4)>
    """
    return Keep(as_step(step))


def tee(step: Step[Taken, object, Error], /) -> Flow[[Taken], Taken, Error]:
    """A step that is run for what it does; the value that goes into it goes on.

    What comes next waits for the step, and does not run where it fails.

    Args:
        step: Takes one value. What it gives is dropped.

    Returns:
        A flow that gives what it takes: `tee(f)(x)` is `x`.

    Raises:
        TypeError: If the step takes more than a value.

    Example:
        >>> from onward import local, run, task, tee
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> @task
        ... def announce(n: int) -> None:
        ...     print("n is", n)
        >>> run((tee(announce) >> double)(21), on=local())
        n is 21
        <Success: 42>
    """
    return Tee(as_step(step))


def fused(
    flow: Callable[Params, Call[Value, Error]], /, **options: Unpack[PolicyOptions]
) -> Flow[Params, Value, Error]:
    """A whole flow as one step: one delivery instead of many, and retried as a whole.

    The steps inside keep their own retries and timeouts, within that one delivery. Should the
    worker die, all of them run again.

    Args:
        flow: What to run in one go.
        options: The fields of the whole's `Policy`: `retry`, `timeout` and so on.

    Raises:
        TypeError, ValueError: If an option does not exist, or its value is out of bounds.

    Example:
        >>> from onward import fused, local, run, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> run(fused(double >> double)(1), on=local())
        <Success: 4>
    """
    return Fused(as_flow(flow), policy_of("fused", options))
