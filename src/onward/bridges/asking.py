"""How a bridge asks its backends: as its own caller does, blocking or awaiting."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

from returns.result import Failure, Result, Success

from onward.backend import Backend, Finds
from onward.fault import Fault, Unknown
from onward.interpret.callers import BLOCKS, Caller

P = ParamSpec("P")
T = TypeVar("T")

CALLER: ContextVar[Caller] = ContextVar("onward_bridge_caller", default=BLOCKS)
"""Who asks the bridge at the moment."""


async def ask(
    method: Callable[P, Result[T, Fault]], /, *args: P.args, **kwargs: P.kwargs
) -> Result[T, Fault]:
    """Calls a method of a backend. An exception becomes a fault."""
    return await CALLER.get().ask(method, *args, **kwargs)


async def find(backend: Backend, id: str, timeout: float = 0.0) -> Result[str | None, Fault]:
    """Finds the call that was submitted with a plan.

    Args:
        backend: The backend.
        id: The plan's id.
        timeout: How long to wait until a backend with ids of its own knows it, in seconds.

    Returns:
        The call's id; None if the backend has no such call.
    """
    if isinstance(backend, Finds):
        found = await ask(backend.find, id, timeout)
    else:
        found = (await ask(backend.status, id)).map(lambda _: id)
    if isinstance(found, Failure) and isinstance(found.failure(), Unknown):
        return Success(None)
    return found
