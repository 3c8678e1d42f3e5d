"""What a backend answers, where it raises, which it should not: a fault."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from returns.result import Failure, Result

from onward.fault import Fault, Unavailable

P = ParamSpec("P")
T = TypeVar("T")

_LOGGER = logging.getLogger("onward")


def asked(
    method: Callable[P, Result[T, Fault]], /, *args: P.args, **kwargs: P.kwargs
) -> Result[T, Fault]:
    """What a backend's method answers; what it raises is a fault.

    Args:
        method: The bound method, such as `backend.submit`.
        args: Its arguments.
        kwargs: Its arguments by name.
    """
    try:
        return method(*args, **kwargs)
    except Exception as problem:
        return Failure(raising(method, problem))


def raising(method: Callable[..., object], problem: Exception) -> Fault:
    """The fault that it is when a backend's method raises."""
    who = type(getattr(method, "__self__", method)).__name__
    name = getattr(method, "__name__", "it")
    _LOGGER.debug("%s.%s raised", who, name, exc_info=problem)
    # The exception's text may have anything in it, also what nobody should see.
    message = f"{who}.{name} raised {type(problem).__name__} in place of an answer"
    return Unavailable("", message)
