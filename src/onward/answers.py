"""`answer`: a Result as the closed union that it is."""

from __future__ import annotations

from typing import TypeVar, cast

from returns.result import Failure, Result, Success

Value = TypeVar("Value")
Error = TypeVar("Error")


def answer(result: Result[Value, Error], /) -> Success[Value] | Failure[Error]:
    """The same Result, for a `match` that type checkers can see through.

    To a type checker, a Result may have further subclasses. So mypy knows nothing of the `x` in
    `case Success(x)`, and no checker sees that a case is missing. After `answer` all of them do.

    Args:
        result: What `run` or `result` gave.

    Returns:
        The same object.

    Raises:
        TypeError: If it is no Result.

    Example:
        >>> from returns.result import Failure, Success
        >>> from onward import answer, local, run, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> match answer(run(double(21), on=local())):
        ...     case Success(n):
        ...         print(n + 1)
        ...     case Failure(fault):
        ...         print(fault.message)
        43
    """
    if not isinstance(result, Success | Failure):
        raise TypeError(f"{result!r} is no Result: write answer(run(flow(...), on=backend))")
    return cast("Success[Value] | Failure[Error]", result)
