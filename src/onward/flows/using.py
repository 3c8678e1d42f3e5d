"""`uses`, which makes a task that gets a resource of its worker as its first argument."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    Never,
    ParamSpec,
    Protocol,
    TypeVar,
    Unpack,
    overload,
)

from msgspec.structs import replace
from returns.result import Result

from onward.flows.define import Async
from onward.flows.flow import Call, Task
from onward.flows.functions import Parameters
from onward.flows.options import changes_of
from onward.flows.unfinished import Unfinished
from onward.policy import PLAIN, Policy, PolicyOptions
from onward.resource import Resource
from onward.signature import signature_of

P = ParamSpec("P")
T = TypeVar("T")
Value = TypeVar("Value")
Error = TypeVar("Error")
Returned = TypeVar("Returned")
Fn = TypeVar("Fn", bound=Callable[..., Any])
Fn_co = TypeVar("Fn_co", bound=Callable[..., Any], covariant=True)
Value_co = TypeVar("Value_co", covariant=True)
Error_co = TypeVar("Error_co", covariant=True)
Returned_co = TypeVar("Returned_co", covariant=True)


class Using(
    Task[P, Value_co, Error_co, Returned_co],
    Generic[Fn_co, P, Value_co, Error_co, Returned_co],
):
    """A task that uses resources. Its `fn` takes them, and its callers do not."""

    __slots__ = ()
    if TYPE_CHECKING:
        # A plain task's `fn` takes what its callers give, and this one takes the resources too.
        fn: Fn_co  # pyright: ignore[reportIncompatibleVariableOverride, reportIncompatibleMethodOverride]
    else:
        __signature__ = Parameters()


class Uses(Protocol[T]):
    """The decorator that `uses(...)` gives."""

    # See `Decorator`. The first two are for a task that uses another resource already.
    @overload
    def __call__(  # type: ignore[overload-overlap]  # on purpose: see Decorator
        self, fn: Using[Fn, Concatenate[T, P], Value, Error, Returned], /
    ) -> Using[Fn, P, Value, Error, Returned]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]  # on purpose: see Decorator
        self, fn: Callable[Concatenate[T, P], Call[Value, Error]], /
    ) -> Task[P, Value, Error]: ...
    @overload
    def __call__(
        self, fn: Callable[Concatenate[T, P], Never], /
    ) -> Using[Callable[Concatenate[T, P], Never], P, Never, Never, Never]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]  # on purpose: see Decorator
        self, fn: Callable[Concatenate[T, P], Async[Result[Value, Error]]], /
    ) -> Using[
        Callable[Concatenate[T, P], Async[Result[Value, Error]]],
        P,
        Value,
        Error,
        Async[Result[Value, Error]],
    ]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]  # on purpose: see Decorator
        self, fn: Callable[Concatenate[T, P], Result[Value, Error]], /
    ) -> Using[
        Callable[Concatenate[T, P], Result[Value, Error]], P, Value, Error, Result[Value, Error]
    ]: ...
    @overload
    def __call__(
        self, fn: Callable[Concatenate[T, P], Async[Value]], /
    ) -> Using[Callable[Concatenate[T, P], Async[Value]], P, Value, Never, Async[Value]]: ...
    @overload
    def __call__(
        self, fn: Callable[Concatenate[T, P], Value], /
    ) -> Using[Callable[Concatenate[T, P], Value], P, Value, Never, Value]: ...


def uses(
    resource: Resource[T], /, *, name: str | None = None, **options: Unpack[PolicyOptions]
) -> Uses[T]:
    """Makes a task of a function, as `task` does, and gives it a resource as its first argument.

    Callers do not pass it: the worker opens it. For several resources, write `uses` several times:
    the one next to the function gives its first argument.

    Args:
        resource: The resource.
        name: The name that workers find the task by; the function's own name if not given.
        options: The fields of its `Policy`, as for `task`.

    Returns:
        A decorator that makes the task.

    Raises:
        TypeError: If `resource` is not a `Resource`, the function has no parameter for it, or
            cannot be a task.
        ValueError: If the name or an option is out of bounds.

    Example:
        >>> from contextlib import nullcontext
        >>> from onward import Resource, local, run, task, uses
        >>> rates = Resource(lambda: nullcontext({"EUR": 2}))
        >>> @task
        ... def parse(text: str) -> int:
        ...     return int(text)
        >>> @uses(rates, timeout=30)
        ... def convert(rates: dict[str, int], amount: int) -> int:
        ...     return amount * rates["EUR"]
        >>> run((parse >> convert)("21"), on=local())
        <Success: 42>
        >>> convert.fn({"EUR": 3}, 7)
        21
    """
    if not isinstance(resource, Resource):
        raise TypeError(
            f"uses takes a Resource, not {resource!r}: write Resource(function) with a function "
            "that gives a context manager"
        )
    changes = changes_of("uses", options, "name")

    def decorate(fn: Callable[..., Any] | Task[..., Any, Any] | Unfinished) -> Any:
        if isinstance(fn, Task | Unfinished):
            inner, known_as, policy, resources = fn.fn, fn.name, fn.policy, fn.resources
        else:
            inner, policy, resources = fn, PLAIN, ()
            known_as = str(getattr(fn, "__name__", ""))
        known_as = known_as if name is None else name
        policy = replace(policy, **changes)
        return _task(known_as, inner, policy, (*resources, resource))

    return decorate


def _task(
    name: str, fn: Callable[..., Any], policy: Policy, resources: tuple[Resource[Any], ...]
) -> Using[Any, ..., Any, Any, Any] | Unfinished:
    try:
        return Using(name, fn, policy, None, resources)
    except TypeError as problem:
        # Another `uses`, written above this one, may give the parameter that cannot travel.
        for count in range(len(resources) + 1, _parameters(fn) + 1):
            try:
                signature_of(fn, name, count)
            except TypeError:
                continue
            advice = f"{problem}; if it is a resource, write one more @uses(...) above the others"
            return Unfinished(name, fn, policy, resources, TypeError(advice))
        raise


def _parameters(fn: object) -> int:
    return len(inspect.signature(fn).parameters) if inspect.isfunction(fn) else 0
