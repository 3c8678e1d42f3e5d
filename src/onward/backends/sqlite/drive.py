"""One coroutine, for callers that block and for callers that await.

What a client does is written once, as coroutines that wait for nothing but `Pending`. A caller that
blocks drives one in its own thread, and a caller that awaits on its own event loop: neither goes by
the other's way.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


class Pending:
    """Awaits a future that some thread sets.

    Args:
        future: The future.
        timeout: How long to wait, in seconds; None for as long as it takes.
    """

    def __init__(
        self, future: concurrent.futures.Future[Any], timeout: float | None = None
    ) -> None:
        self.future = future
        self.timeout = timeout

    def __await__(self) -> Generator[Pending, None, bool]:
        if not self.future.done():
            yield self
        return self.future.done()


async def answer(future: concurrent.futures.Future[T]) -> T:
    """What a thread answers."""
    await Pending(future)
    return future.result()


def drive(start: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What a coroutine gives, while this thread blocks."""
    coroutine = start()
    try:
        while True:
            pending: Pending = coroutine.send(None)
            concurrent.futures.wait([pending.future], pending.timeout)
    except StopIteration as end:
        value: T = end.value
        return value
    finally:
        coroutine.close()


async def drive_async(start: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What a coroutine gives, on the running event loop."""
    loop, coroutine = asyncio.get_running_loop(), start()
    try:
        while True:
            pending: Pending = coroutine.send(None)
            woken = asyncio.Event()

            def wake(_: object, woken: asyncio.Event = woken) -> None:
                with contextlib.suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(woken.set)

            pending.future.add_done_callback(wake)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pending.timeout):
                    await woken.wait()
    except StopIteration as end:
        value: T = end.value
        return value
    finally:
        coroutine.close()
