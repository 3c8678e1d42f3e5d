"""`task`, which makes a task of a plain function."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import (
    Any,
    Never,
    ParamSpec,
    Protocol,
    TypeAlias,
    TypeVar,
    Unpack,
    overload,
)

from returns.result import Result

from onward.flows.flow import Task
from onward.flows.options import policy_of
from onward.policy import PolicyOptions

Params = ParamSpec("Params")
Value = TypeVar("Value")
Error = TypeVar("Error")

Async: TypeAlias = Coroutine[Any, Any, Value]
"""What an async function returns."""


class Decorator(Protocol):
    """The decorator that `task(...)` gives."""

    # A type checker takes the first overload that fits. Never is also a Result, and a Result is
    # also a plain value, so the narrower overloads come first and overlap with those below them.
    @overload
    def __call__(self, fn: Callable[Params, Never], /) -> Task[Params, Never, Never, Never]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]  # on purpose: see above
        self, fn: Callable[Params, Async[Result[Value, Error]]], /
    ) -> Task[Params, Value, Error, Async[Result[Value, Error]]]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]  # on purpose: see above
        self, fn: Callable[Params, Result[Value, Error]], /
    ) -> Task[Params, Value, Error, Result[Value, Error]]: ...
    @overload
    def __call__(
        self, fn: Callable[Params, Async[Value]], /
    ) -> Task[Params, Value, Never, Async[Value]]: ...
    @overload
    def __call__(self, fn: Callable[Params, Value], /) -> Task[Params, Value, Never, Value]: ...


@overload
def task(
    fn: Callable[Params, Never],
    /,
    *,
    name: str | None = None,
    **options: Unpack[PolicyOptions],
) -> Task[Params, Never, Never, Never]: ...
@overload
def task(  # type: ignore[overload-overlap]  # on purpose: see Decorator
    fn: Callable[Params, Async[Result[Value, Error]]],
    /,
    *,
    name: str | None = None,
    **options: Unpack[PolicyOptions],
) -> Task[Params, Value, Error, Async[Result[Value, Error]]]: ...
@overload
def task(  # type: ignore[overload-overlap]  # on purpose: see Decorator
    fn: Callable[Params, Result[Value, Error]],
    /,
    *,
    name: str | None = None,
    **options: Unpack[PolicyOptions],
) -> Task[Params, Value, Error, Result[Value, Error]]: ...
@overload
def task(
    fn: Callable[Params, Async[Value]],
    /,
    *,
    name: str | None = None,
    **options: Unpack[PolicyOptions],
) -> Task[Params, Value, Never, Async[Value]]: ...
@overload
def task(
    fn: Callable[Params, Value],
    /,
    *,
    name: str | None = None,
    **options: Unpack[PolicyOptions],
) -> Task[Params, Value, Never, Value]: ...
@overload
def task(*, name: str | None = None, **options: Unpack[PolicyOptions]) -> Decorator: ...
def task(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    **options: Unpack[PolicyOptions],
) -> Any:
    """Makes a task of a function: a value that composes, and that any backend can run.

    The unchanged function is the task's `fn`. Nothing is registered anywhere.

    Args:
        fn: A plain function, sync or async, with annotations for its parameters and its value. One
            that returns `Result[R, E]` may return domain errors of type E.
        name: The name that workers find it by; the function's own name if not given.
        options: The fields of its `Policy`: `retry`, `timeout` and so on.

    Returns:
        The task; without `fn`, a decorator that makes one.

    Raises:
        TypeError: If the function cannot be a task, an annotation cannot travel as JSON, or there
            is no such option.
        ValueError: If the name or an option is out of bounds.

    Example:
        >>> from onward import Retry, local, run, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> @task(retry=Retry(attempts=5), timeout=30)
        ... async def show(n: int, unit: str = "m") -> str:
        ...     return f"{n} {unit}"
        >>> run((double >> show)(21), on=local())
        <Success: 42 m>
        >>> double.fn(4)
        8
    """
    policy = policy_of("task", options, "name")

    def decorate(fn: Callable[..., Any]) -> Task[..., Any, Any]:
        known_as = str(getattr(fn, "__name__", "")) if name is None else name
        return Task(known_as, fn, policy)

    return decorate if fn is None else decorate(fn)
