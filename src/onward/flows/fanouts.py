"""The combinators that run branches side by side: together and each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ParamSpec, Protocol, TypeVar, overload

from onward.flows import nodes
from onward.flows.fits import check_branches, check_fused
from onward.flows.flow import AnyFlow, Error_co, Flow, Step, Value_co, as_step
from onward.plan import OnFailure

Params = ParamSpec("Params")
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


class Together(Flow[Params, Value_co, Error_co], nodes.Together):
    """Several flows on the same value."""

    __slots__ = ()


class Each(Flow[Params, Value_co, Error_co], nodes.Each):
    """A flow that runs on every item of a list."""

    __slots__ = ()


# pyright infers Unknown from `Never | Never`, so each number of branches has an overload without
# errors and one with them.
@overload
def together(
    a: Step[Taken, Value1, Error1], /, *, on_failure: OnFailure = ...
) -> Flow[[Taken], tuple[Value1], Error1]: ...
@overload
def together(
    a: Step[Taken, Value1], b: Step[Taken, Value2], /, *, on_failure: OnFailure = ...
) -> Flow[[Taken], tuple[Value1, Value2]]: ...
@overload
def together(
    a: Step[Taken, Value1, Error1],
    b: Step[Taken, Value2, Error2],
    /,
    *,
    on_failure: OnFailure = ...,
) -> Flow[[Taken], tuple[Value1, Value2], Error1 | Error2]: ...
@overload
def together(
    a: Step[Taken, Value1],
    b: Step[Taken, Value2],
    c: Step[Taken, Value3],
    /,
    *,
    on_failure: OnFailure = ...,
) -> Flow[[Taken], tuple[Value1, Value2, Value3]]: ...
@overload
def together(
    a: Step[Taken, Value1, Error1],
    b: Step[Taken, Value2, Error2],
    c: Step[Taken, Value3, Error3],
    /,
    *,
    on_failure: OnFailure = ...,
) -> Flow[[Taken], tuple[Value1, Value2, Value3], Error1 | Error2 | Error3]: ...
@overload
def together(
    a: Step[Taken, Value1],
    b: Step[Taken, Value2],
    c: Step[Taken, Value3],
    d: Step[Taken, Value4],
    /,
    *,
    on_failure: OnFailure = ...,
) -> Flow[[Taken], tuple[Value1, Value2, Value3, Value4]]: ...
@overload
def together(
    a: Step[Taken, Value1, Error1],
    b: Step[Taken, Value2, Error2],
    c: Step[Taken, Value3, Error3],
    d: Step[Taken, Value4, Error4],
    /,
    *,
    on_failure: OnFailure = ...,
) -> Flow[[Taken], tuple[Value1, Value2, Value3, Value4], Error1 | Error2 | Error3 | Error4]: ...
@overload
def together(
    a: Step[Taken, Value1],
    b: Step[Taken, Value2],
    c: Step[Taken, Value3],
    d: Step[Taken, Value4],
    e: Step[Taken, Value5],
    /,
    *,
    on_failure: OnFailure = ...,
) -> Flow[[Taken], tuple[Value1, Value2, Value3, Value4, Value5]]: ...
@overload
def together(
    a: Step[Taken, Value1, Error1],
    b: Step[Taken, Value2, Error2],
    c: Step[Taken, Value3, Error3],
    d: Step[Taken, Value4, Error4],
    e: Step[Taken, Value5, Error5],
    /,
    *,
    on_failure: OnFailure = ...,
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
    *,
    on_failure: OnFailure = ...,
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
    *,
    on_failure: OnFailure = ...,
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
    *,
    on_failure: OnFailure = ...,
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
    *,
    on_failure: OnFailure = ...,
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
    *,
    on_failure: OnFailure = ...,
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
    *,
    on_failure: OnFailure = ...,
) -> Flow[
    [Taken],
    tuple[Value1, Value2, Value3, Value4, Value5, Value6, Value7, Value8],
    Error1 | Error2 | Error3 | Error4 | Error5 | Error6 | Error7 | Error8,
]: ...
def together(*steps: object, on_failure: OnFailure = "settle") -> AnyFlow:
    """Runs several steps on the same value, side by side, and gives a tuple of their values.

    Args:
        steps: From one to eight steps that take the same type of value.
        on_failure: What happens at the first failure. With `settle`, all steps finish, and the
            failure of the leftmost one is the outcome. With `cancel`, the other steps are
            cancelled, as `onward.cancel` does it, and this failure is the outcome.

    Returns:
        A flow that gives a tuple: `together(f, g)(x)` is `(f(x), g(x))`.

    Raises:
        TypeError: If there are no steps or more than eight, if a step takes more than one value, or
            if no value can have the types that two of the steps take.
        ValueError: If `on_failure` is neither `settle` nor `cancel`.

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
        >>> @task
        ... def refuse(n: int) -> int:
        ...     raise ValueError(n)
        >>> run(together(half, refuse, on_failure="cancel")(8), on=local()).failure().task
        'refuse'
    """
    if not 1 <= len(steps) <= 8:
        raise TypeError(
            f"together takes from one to eight steps, not {len(steps)}: nest another together, or "
            "use each for a list of values"
        )
    branches = tuple(map(as_step, steps))
    check_branches(branches)
    _check_on_failure(on_failure)
    return Together(branches, on_failure)


def _check_on_failure(on_failure: str) -> None:
    if on_failure not in ("settle", "cancel"):
        raise ValueError(f"on_failure is 'settle' or 'cancel', not {on_failure!r}")


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
    step: Step[Taken, Value, Error],
    /,
    *,
    limit: int | None = None,
    chunk: int | None = None,
    on_failure: OnFailure = "settle",
) -> Flow[[Items[Taken]], list[Value], Error]:
    """Runs a step on every item of a list, and gives the list of values in the same order.

    Args:
        step: A step that takes one item.
        limit: How many items, or chunks of them, run at a time; None leaves it to the backend.
        chunk: How many items one delivery to a worker has; None means one. Celery's workers run
            the items of a chunk one after the other, other workers run them side by side.
        on_failure: What happens at the first failure. With `settle`, all items finish, and the
            failure of the first one in the list is the outcome. With `cancel`, no further item
            begins, the running ones are cancelled, and this failure is the outcome.

    Returns:
        A flow that gives a list: `each(f)([x, y])` is `[f(x), f(y)]`.

    Raises:
        TypeError: If limit or chunk is not a whole number; or if there is a chunk, and the step
            has a cleanup.
        ValueError: If it is less than 1, or `on_failure` is neither `settle` nor `cancel`.

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
    _check_on_failure(on_failure)
    body = as_step(step)
    if chunk is not None:
        check_fused(body)
    return Each(body, limit, chunk, on_failure)
