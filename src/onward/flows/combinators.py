"""The combinators besides `>>` and `.rescue`: given, together, each, keep, tee, fused, identity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec, Protocol, TypeVar, Unpack, overload

from onward.codec import Refused
from onward.flows import nodes, values
from onward.flows.fits import check_branches, check_fused
from onward.flows.flow import (
    AnyFlow,
    Call,
    Error_co,
    Flow,
    Identity,
    Step,
    Value_co,
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
"""A flow that gives its input, for instance to keep it: `together(identity, parse)`.

Example:
    >>> from onward import identity, local, run, task, together
    >>> @task
    ... def double(n: int) -> int:
    ...     return 2 * n
    >>> run((double >> together(identity, double))(1), on=local())
    <Success: (2, 4)>
"""


class Given(Flow[Params, Value_co, Error_co], nodes.Given):
    """A flow whose arguments after the first are bound."""

    __slots__ = ()

    # Equal by values and not by bytes: 1 and 1.0 may be the same float, and sets have no order.

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Given):
            return NotImplemented
        mine, its = (values.decode(each.flow, each.rest, 1) for each in (self, other))
        return self.flow == other.flow and mine == its

    def __hash__(self) -> int:
        return hash((Given, self.flow, len(self.rest.positional), *sorted(self.rest.keyword)))


class Together(Flow[Params, Value_co, Error_co], nodes.Together):
    """Several flows on the same value."""

    __slots__ = ()


class Each(Flow[Params, Value_co, Error_co], nodes.Each):
    """A flow that runs on every item of a list."""

    __slots__ = ()


class Fused(Flow[Params, Value_co, Error_co], nodes.Fused):
    """A flow that is delivered and retried as one step."""

    __slots__ = ()


def flow(step: Step[Taken, Value, Error], /) -> Flow[[Taken], Value, Error]:
    """Makes a typed `Flow` of any step, so that a function that takes a step can compose it.

    To type checkers, a `Step` has no `>>`, `rescue` or `named`. A `Flow` has them.

    Args:
        step: A step, which takes exactly one value.

    Returns:
        The same object.

    Raises:
        TypeError: If it is not a flow, or takes more than one value.

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
    """Binds all arguments of a step except the first, so that it fits into a chain.

    Args:
        step: A flow that takes more than one argument.
        args: Its second argument and those after it.
        kwargs: Further arguments by name.

    Returns:
        A flow that takes only the first argument.

    Raises:
        TypeError: If the step does not take these arguments.
        ValueError: If a value does not fit its annotation.

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


# pyright infers Unknown from `Never | Never`, so each number of branches has an overload without
# errors and one with them.
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
    """Runs several steps on the same value, side by side, and gives a tuple of their values.

    All steps finish. If some fail, the failure of the leftmost one is the outcome.

    Args:
        steps: From one to eight steps that take the same type of value.

    Returns:
        A flow that gives a tuple: `together(f, g)(x)` is `(f(x), g(x))`.

    Raises:
        TypeError: If there are no steps or more than eight, if a step takes more than one value, or
            if no value can have the types that two of the steps take.

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
            "use each for a list of values"
        )
    branches = tuple(map(as_step, steps))
    check_branches(branches)
    return Together(branches)


class Items(Protocol[Item_co]):
    """The type of what `each` takes: a list, a tuple or another sequence, but not str or bytes.

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

    # `__contains__` of str and bytes does not take any object, so they do not match.

    def __len__(self) -> int: ...
    def __contains__(self, value: object, /) -> bool: ...
    def __getitem__(self, index: slice, /) -> Sequence[Item_co]: ...


def each(
    step: Step[Taken, Value, Error], /, *, limit: int | None = None, chunk: int | None = None
) -> Flow[[Items[Taken]], list[Value], Error]:
    """Runs a step on every item of a list, and gives the list of values in the same order.

    All items finish. If some fail, the failure of the first one in the list is the outcome.

    Args:
        step: A step that takes one item.
        limit: How many items, or chunks of them, run at a time; None leaves it to the backend.
        chunk: How many items one delivery to a worker has; None means one. Celery's workers run
            the items of a chunk one after the other, other workers run them side by side.

    Returns:
        A flow that gives a list: `each(f)([x, y])` is `[f(x), f(y)]`.

    Raises:
        TypeError: If limit or chunk is not a whole number; or if there is a chunk, and the step
            has a cleanup.
        ValueError: If it is less than 1.

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
            raise ValueError(
                f"{what} is from 1 to 1,000,000,000 items, not {count}: leave it out for no {what}"
            )
    body = as_step(step)
    if chunk is not None:
        check_fused(body)
    return Each(body, limit, chunk)


def fused(
    flow: Callable[Params, Call[Value, Error]], /, **options: Unpack[PolicyOptions]
) -> Flow[Params, Value, Error]:
    """Makes one step of a whole flow: one delivery instead of many, retried as a whole.

    The steps inside keep their own retries and timeouts, within that one delivery. If the worker
    dies, all of them run again.

    Args:
        flow: The flow to run in one delivery.
        options: The fields of the new step's `Policy`: `retry`, `timeout` and so on.

    Returns:
        A flow that gives the same value as the given flow.

    Raises:
        TypeError, ValueError: If an option does not exist, or its value is out of bounds.
        TypeError: If the flow has a cleanup, a `sleep` or an `awaits`, which one delivery cannot
            hold: `fused(f).finally_(g)` and `fused(f) >> sleep(60)` are what works.

    Example:
        >>> from onward import fused, local, run, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> run(fused(double >> double)(1), on=local())
        <Success: 4>
    """
    whole = as_flow(flow)
    check_fused(whole)
    return Fused(whole, policy_of("fused", options))
