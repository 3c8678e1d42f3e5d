"""`answer` and `unwrap`: what a Result holds, for a program that wants one or the other."""

from __future__ import annotations

from typing import TypeVar

from returns.primitives.exceptions import UnwrapFailedError
from returns.result import Failure, Result, Success

from onward.fault import Fault, Raised

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
    return result


class UnwrapError(UnwrapFailedError):
    """What `unwrap` raises: it says what the fault or the error says.

    Args:
        failure: The Failure.
    """

    def __init__(self, failure: Failure[object]) -> None:
        super().__init__(failure)
        self.error: object = failure.failure()
        """The fault, or the domain error that a task answered with."""

    def __str__(self) -> str:
        is_fault = isinstance(self.error, Fault)
        return str(self.error) if is_fault else f"a task answered with the error {self.error!r}"


def unwrap(result: Result[Value, object], /) -> Value:
    """The value that a Result holds, for a program that has no use for a failure but to end.

    Args:
        result: What an interpreter or `connect` gave.

    Returns:
        The value.

    Raises:
        onward.answers.UnwrapError: With the text of the fault or of the domain error, and with the
            worker's traceback where a task raised. The `.unwrap()` of Result says neither.
        TypeError: If it is no Result.

    Example:
        >>> from onward import local, run, task, unwrap
        >>> @task
        ... def divide(a: int, b: int) -> int:
        ...     return a // b
        >>> unwrap(run(divide(7, 2), on=local()))
        3
        >>> unwrap(run(divide("7", 2), on=local()))
        Traceback (most recent call last):
        onward.answers.UnwrapError: divide: Expected `int`, got `str`, at $.a. ...
    """
    if isinstance(result, Success):
        value: Value = result.unwrap()
        return value
    if not isinstance(result, Failure):
        raise TypeError(f"{result!r} is no Result: write unwrap(run(flow(...), on=backend))")
    raised = UnwrapError(result)
    if isinstance(raised.error, Raised) and raised.error.traceback:
        raised.add_note(f"In the worker:\n{raised.error.traceback}")
    raise raised from raised.error if isinstance(raised.error, BaseException) else None
