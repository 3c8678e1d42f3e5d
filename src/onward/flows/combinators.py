"""Combinators of one flow: given, fused, identity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar, Unpack

from onward.codec import Refused
from onward.flows import nodes, values
from onward.flows.fits import check_fused
from onward.flows.flow import (
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
        mine, its = (values.decode(each.flow, each.args, 1) for each in (self, other))
        return self.flow == other.flow and mine == its

    def __hash__(self) -> int:
        return hash((Given, self.flow, len(self.args.positional), *sorted(self.args.keyword)))


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
