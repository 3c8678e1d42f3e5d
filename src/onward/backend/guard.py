"""Calls a backend's methods, and turns what they raise into faults."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from returns.result import Failure, Result

from onward.fault import Fault, Unavailable

P = ParamSpec("P")
T = TypeVar("T")


def call_backend(
    method: Callable[P, Result[T, Fault]], /, *args: P.args, **kwargs: P.kwargs
) -> Result[T, Fault]:
    """Calls a backend's method. An exception, which it should not raise, becomes a fault.

    Args:
        method: The bound method, such as `backend.submit`.
        args: Its arguments.
        kwargs: Its keyword arguments.
    """
    try:
        return method(*args, **kwargs)
    except Exception as problem:
        return Failure(fault_of(method, problem))


def fault_of(method: Callable[..., object], problem: Exception) -> Fault:
    """The fault for an exception that a backend's method raised."""
    owner = type(getattr(method, "__self__", method)).__name__
    name = getattr(method, "__name__", "it")
    import logging  # a program that only imports Onward does not pay for it

    logging.getLogger("onward").debug("%s.%s raised", owner, name, exc_info=problem)
    # The message leaves out the exception's text, which may hold a secret.
    message = f"{owner}.{name} raised {type(problem).__name__} instead of returning a Result"
    return Unavailable("", message)
