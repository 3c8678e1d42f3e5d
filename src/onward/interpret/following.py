"""Follows calls that were moved to another backend."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from returns.result import Failure, Result

from onward.backend import Backend
from onward.backend.additions import additions_of
from onward.fault import Fault, Moved

T = TypeVar("T")


async def follow(
    on: Backend, moved: Moved, ask: Callable[[Backend], Awaitable[Result[T, Fault]]]
) -> Result[T, Fault]:
    """Asks the backend that a call was moved to.

    Args:
        on: The backend that it was moved from.
        moved: Where it went.
        ask: Asks a backend.

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
        return await ask(backend)
    finally:
        backend.close()
