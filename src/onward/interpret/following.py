"""Follows calls that were moved to another backend."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from returns.result import Failure, Result

from onward.backend import Backend, Finds
from onward.backend.additions import additions_of
from onward.fault import Fault, Moved
from onward.interpret.callers import Caller

T = TypeVar("T")

_APPEARS = 10.0
"""How long it may take until an engine finds a call that was just submitted, in seconds."""


async def follow(
    caller: Caller,
    on: Backend,
    moved: Moved,
    ask: Callable[[str, Backend], Awaitable[Result[T, Fault]]],
) -> Result[T, Fault]:
    """Asks the backend that a call was moved to.

    Args:
        caller: Who asks.
        on: The backend that it was moved from.
        moved: Where it went.
        ask: Asks a backend about the call of an id.

    Returns:
        Its answer.
    """
    reach = additions_of(on).reach
    if reach is None:
        return Failure(moved)
    connected = reach(moved.to)
    if isinstance(connected, Failure):
        return Failure(connected.failure())
    backend = connected.unwrap()
    try:
        id = moved.id
        if isinstance(backend, Finds):
            found = await caller.ask(backend.find, id, _APPEARS)
            if isinstance(found, Failure):
                return Failure(found.failure())
            id = found.unwrap()
        return await ask(id, backend)
    finally:
        backend.close()
