"""`answer` and `unwrap`, which take the value or the failure out of a Result."""

from __future__ import annotations

from typing import TypeVar

from returns.primitives.exceptions import UnwrapFailedError
from returns.result import Failure, Result, Success

from onward.fault import Fault, Raised

Value = TypeVar("Value")
Error = TypeVar("Error")


def answer(result: Result[Value, Error], /) -> Success[Value] | Failure[Error]:
    """Gives the same Result with a closed type, for a `match` that type checkers understand.

    To a type checker, a Result may have further subclasses. So mypy does not know the type of `x`
    in `case Success(x)`, and no checker notices a missing case. With `answer`, all of them do.

    Args:
        result: What `run` or `result` gave.

    Returns:
        The same object.

    Raises:
        TypeError: If it is not a Result.

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
        raise TypeError(f"{result!r} is not a Result: write answer(run(flow(...), on=backend))")
    return result


class UnwrapError(UnwrapFailedError):
    """The exception that `unwrap` raises, with the text of the fault or the domain error.

    Args:
        failure: The Failure that was unwrapped.
    """

    def __init__(self, failure: Failure[object]) -> None:
        super().__init__(failure)
        self.error: object = failure.failure()
        """The fault, or the domain error that a task returned."""

    def __str__(self) -> str:
        is_fault = isinstance(self.error, Fault)
        return str(self.error) if is_fault else f"a task returned the error {self.error!r}"


def unwrap(result: Result[Value, object], /) -> Value:
    """Gives the value of a Result, or raises, for programs that end after a failure.

    Args:
        result: What an interpreter or `connect` gave.

    Returns:
        The value.

    Raises:
        onward.answers.UnwrapError: With the text of the fault or of the domain error, and with the
            worker's traceback if a task raised. The `.unwrap()` method of Result shows neither.
        TypeError: If it is not a Result.

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
        raise TypeError(f"{result!r} is not a Result: write unwrap(run(flow(...), on=backend))")
    raised = UnwrapError(result)
    if isinstance(raised.error, Raised) and raised.error.traceback:
        raised.add_note(f"In the worker:\n{raised.error.traceback}")
    raise raised from raised.error if isinstance(raised.error, BaseException) else None
