"""Calls of flows from the Hatchet tasks of others: `child`."""

from __future__ import annotations

import asyncio
from typing import Protocol, TypeVar

from returns.result import Failure, Result

from onward import aio
from onward.backend import Backend, Cancels
from onward.fault import Fault
from onward.flows.flow import Call

__all__ = ["HatchetContext", "child"]

Value = TypeVar("Value")
Error = TypeVar("Error")


class HatchetContext(Protocol):
    """What a Hatchet task gets as its second argument, as far as `child` needs it."""

    @property
    def task_run_id(self) -> str: ...
    @property
    def attempt_number(self) -> int: ...


async def child(
    call: Call[Value, Error], context: HatchetContext, /, *, on: Backend, name: str = ""
) -> Result[Value, Error | Fault]:
    """Runs a call for the Hatchet task that awaits this, and cancels it with the task.

    If the task's worker dies, its next attempt waits for the same call. If the call failed, the
    next attempt makes a new one.

    Args:
        call: The call.
        context: The task's context.
        on: The backend that the call runs on, which may be the same Hatchet.
        name: Tells calls of one flow apart that one task makes.

    Returns:
        The value, the domain error or the fault of the call.

    Raises:
        TypeError: If it is not a call.
        asyncio.CancelledError: If the task is cancelled.

    Example:
        ```python
        @hatchet.task(name="order")
        async def order(input: Order, context: Context) -> Shipped:
            return Shipped(text=unwrap(await child(ship(input.item), context, on=backend)))
        ```
    """
    last = max(1, context.attempt_number)
    for attempt in range(1, last + 1):
        key = f"{context.task_run_id}/{name}/{attempt}"
        submitted = await aio.submit(call, on=on, key=key)
        if isinstance(submitted, Failure):
            return Failure(submitted.failure())
        ref = submitted.unwrap()
        if attempt < last:
            ended = await aio.status(ref, on=on)
            if isinstance(ended, Failure) or ended.unwrap().state in ("failed", "cancelled"):
                continue
        try:
            return await aio.result(ref, on=on)
        except asyncio.CancelledError:
            if isinstance(on, Cancels):
                await aio.cancel(ref, on=on)
            raise
    raise AssertionError  # the last attempt returns
