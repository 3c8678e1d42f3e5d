"""The combinators that choose a step's input and what it passes on: keep, tee, spread, fixed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast, overload

from onward.codec import Refused
from onward.flows import nodes, values
from onward.flows.flow import AnyFlow, Call, Error_co, Flow, Step, Value_co, as_flow, as_step
from onward.flows.node import Node
from onward.flows.values import head, is_single
from onward.flows.waiting import Awaits

Params = ParamSpec("Params")
Taken = TypeVar("Taken")
Value = TypeVar("Value")
Error = TypeVar("Error")
Next = TypeVar("Next")
NextError = TypeVar("NextError")
Taken1 = TypeVar("Taken1")
Taken2 = TypeVar("Taken2")
Taken3 = TypeVar("Taken3")
Taken4 = TypeVar("Taken4")
Taken5 = TypeVar("Taken5")
Taken6 = TypeVar("Taken6")
Taken7 = TypeVar("Taken7")
Taken8 = TypeVar("Taken8")


class Keep(Flow[Params, Value_co, Error_co], nodes.Keep):
    """A flow that gives its input together with the step's value."""

    __slots__ = ()


class KeepAnything(Flow[[Any], tuple[Any, Value_co], Error_co], nodes.Keep):
    """The `Keep` of an `awaits`, which takes anything: its own input has any type."""

    __slots__ = ()

    def __call__(self, value: Taken, /) -> Call[tuple[Taken, Value_co], Error_co]:
        return super().__call__(value)

    def __rshift__(
        self, other: Step[tuple[Taken, Value_co], Next, NextError], /
    ) -> Flow[[Taken], Next, Error_co | NextError]:
        then = super().__rshift__(as_step(other))
        return cast(Flow[[Taken], Next, Error_co | NextError], then)


class Tee(Flow[Params, Value_co, Error_co], nodes.Tee):
    """A flow that runs a step and gives its own input."""

    __slots__ = ()


class Spread(Flow[Params, Value_co, Error_co], nodes.Spread):
    """A flow that takes the items of a tuple as its arguments."""

    __slots__ = ()


class Fixed(Flow[Params, Value_co, Error_co], nodes.Fixed):
    """A flow with all of its arguments, whatever value comes."""

    __slots__ = ()

    # Equal by values and not by bytes, as `Given`.

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Fixed):
            return NotImplemented
        mine, its = (values.decode(each.flow, each.args) for each in (self, other))
        return self.flow == other.flow and mine == its

    def __hash__(self) -> int:
        return hash((Fixed, self.flow, len(self.args.positional), *sorted(self.args.keyword)))


@overload
def keep(step: Awaits[Value, Error], /) -> KeepAnything[Value, Error]: ...
@overload
def keep(step: Step[Taken, Value, Error], /) -> Flow[[Taken], tuple[Taken, Value], Error]: ...
def keep(step: object, /) -> AnyFlow:
    """Runs a step, and gives its input together with its value.

    Args:
        step: A step, which takes one value.

    Returns:
        A flow that gives a pair: `keep(f)(x)` is `(x, f(x))`.

    Raises:
        TypeError: If the step takes more than one value.

    Example:
        >>> from onward import keep, local, run, task
        >>> @task
        ... def length(text: str) -> int:
        ...     return len(text)
        >>> run(keep(length)("four"), on=local())
        <Success: ('four', 4)>
    """
    flow = as_step(step)
    return KeepAnything(flow) if isinstance(flow, Awaits) else Keep(flow)


def tee(step: Step[Taken, object, Error], /) -> Flow[[Taken], Taken, Error]:
    """Runs a step for its effect, and passes its input on.

    The next step waits for this one, and does not run if it fails.

    Args:
        step: A step, which takes one value. Its own value is dropped.

    Returns:
        A flow that gives its input: `tee(f)(x)` is `x`.

    Raises:
        TypeError: If the step takes more than one value.

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


@overload
def spread(
    step: Callable[[Taken1, Taken2], Call[Value, Error]], /
) -> Flow[[tuple[Taken1, Taken2]], Value, Error]: ...
@overload
def spread(
    step: Callable[[Taken1, Taken2, Taken3], Call[Value, Error]], /
) -> Flow[[tuple[Taken1, Taken2, Taken3]], Value, Error]: ...
@overload
def spread(
    step: Callable[[Taken1, Taken2, Taken3, Taken4], Call[Value, Error]], /
) -> Flow[[tuple[Taken1, Taken2, Taken3, Taken4]], Value, Error]: ...
@overload
def spread(
    step: Callable[[Taken1, Taken2, Taken3, Taken4, Taken5], Call[Value, Error]], /
) -> Flow[[tuple[Taken1, Taken2, Taken3, Taken4, Taken5]], Value, Error]: ...
@overload
def spread(
    step: Callable[[Taken1, Taken2, Taken3, Taken4, Taken5, Taken6], Call[Value, Error]], /
) -> Flow[[tuple[Taken1, Taken2, Taken3, Taken4, Taken5, Taken6]], Value, Error]: ...
@overload
def spread(
    step: Callable[[Taken1, Taken2, Taken3, Taken4, Taken5, Taken6, Taken7], Call[Value, Error]], /
) -> Flow[[tuple[Taken1, Taken2, Taken3, Taken4, Taken5, Taken6, Taken7]], Value, Error]: ...
@overload
def spread(
    step: Callable[
        [Taken1, Taken2, Taken3, Taken4, Taken5, Taken6, Taken7, Taken8], Call[Value, Error]
    ],
    /,
) -> Flow[
    [tuple[Taken1, Taken2, Taken3, Taken4, Taken5, Taken6, Taken7, Taken8]], Value, Error
]: ...
def spread(step: object, /) -> AnyFlow:
    """Gives the items of a tuple to a step as its arguments.

    It fits after `keep` and `together`: `keep(parse) >> spread(store)`.

    Args:
        step: A step that takes from two to eight arguments by position. The tuple may omit those
            with a default, but a type checker then expects it to.

    Returns:
        A flow that takes one tuple: `spread(f)((x, y))` is `f(x, y)`.

    Raises:
        TypeError: If it is not a flow, takes only one value, or needs a value by name.

    Example:
        >>> from onward import keep, local, run, spread, task
        >>> @task
        ... def length(text: str) -> int:
        ...     return len(text)
        >>> @task
        ... def line(text: str, size: int) -> str:
        ...     return f"{text} has {size}"
        >>> run((keep(length) >> spread(line))("four"), on=local())
        <Success: four has 4>
    """
    flow = as_flow(step)
    inner: Node = flow
    while not (isinstance(inner, nodes.Task) or is_single(inner)):
        inner = head(inner)
    signature = inner.signature if isinstance(inner, nodes.Task) else None
    if signature is None or (signature.rest is None and len(signature.positional) < 2):
        raise TypeError(
            f"{flow.name} takes one value, so it takes the tuple itself: leave out spread"
        )
    misfit = signature.misfit_of(max(2, signature.required))
    if misfit is not None:
        raise TypeError(
            f"spread({flow.name}) cannot fill all parameters of {flow.name} ({misfit}): take "
            "them by position, or give them defaults"
        )
    return Spread(flow)


def fixed(
    step: Callable[Params, Call[Value, Error]], /, *args: Params.args, **kwargs: Params.kwargs
) -> Flow[[object], Value, Error]:
    """Binds all arguments of a step, which then ignores its input.

    It runs after the step before it, and only if that succeeds, as Celery's `.si()` does.

    Args:
        step: The flow to run.
        args: Its arguments by position.
        kwargs: Its arguments by name.

    Returns:
        A flow that takes anything: `fixed(f, x)(y)` is `f(x)`.

    Raises:
        TypeError: If the step does not take these arguments.
        ValueError: If a value does not fit its annotation.

    Example:
        >>> from onward import fixed, local, run, task
        >>> @task
        ... def load(path: str) -> int:
        ...     return len(path)
        >>> @task
        ... def announce(room: str) -> str:
        ...     return f"{room} knows"
        >>> run((load >> fixed(announce, "ops"))("a.csv"), on=local())
        <Success: ops knows>
    """
    flow = as_flow(step)
    try:
        return Fixed(flow, values.encode(flow, args, kwargs))
    except Refused as refused:
        raise ValueError(f"fixed({flow.name}, ...): {refused.reason} - at {refused.path}") from None
    except TypeError as problem:
        raise TypeError(f"fixed({flow.name}, ...): {problem}") from None
