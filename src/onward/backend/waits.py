"""Lets callers await a backend's blocking waits, and abandon them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import time
import weakref
from collections.abc import Callable, Collection
from functools import partial
from typing import TypeVar

from returns.result import Failure, Result

from onward.backend.protocols import Watches
from onward.backend.support import Patience
from onward.fault import Fault, Unavailable

T = TypeVar("T")

_SLICE = 1.5
"""How long a wait keeps its thread before other waits get it, in seconds.

A thread cannot notice that its caller gave up. It must be more than a second, because a backend
that checks deadlines once a second would never get to it otherwise.
"""

_POLL = 5.0
"""How often a wait that is notified of outcomes polls as well, in seconds."""

_MAX_THREADS = 100
"""How many waits of an event loop have a thread at the same time; the others take turns."""

_EXECUTORS: weakref.WeakKeyDictionary[
    asyncio.AbstractEventLoop, concurrent.futures.ThreadPoolExecutor
] = weakref.WeakKeyDictionary()
"""The threads for the waits of each event loop. Its default executor is left to the program."""


def _executor() -> concurrent.futures.ThreadPoolExecutor:
    """The threads for the waits of the running event loop."""
    loop = asyncio.get_running_loop()
    executor = _EXECUTORS.get(loop)
    if executor is None:
        executor = concurrent.futures.ThreadPoolExecutor(_MAX_THREADS, "onward-wait")
        _EXECUTORS[loop] = executor
    return executor


async def wait_async(
    backend: object,
    ids: Collection[str],
    wait: Callable[[float], Result[T, Fault]],
    timeout: float | None,
) -> Result[T, Fault]:
    """Awaits a blocking wait. If the caller gives up, the wait's thread is soon free again.

    Args:
        backend: The backend. One that implements `Watches` holds no thread meanwhile.
        ids: The calls to wait for.
        wait: The backend's blocking wait; takes the longest time in seconds.
        timeout: The longest wait in total, in seconds; None for no limit.
    """
    patience = Patience(timeout)
    if not isinstance(backend, Watches):
        return await _poll(wait, patience)
    loop, woken = asyncio.get_running_loop(), asyncio.Event()

    def notify() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(woken.set)

    stack = contextlib.ExitStack()
    watching = backend.watched(ids, notify)
    entering = loop.run_in_executor(_executor(), stack.enter_context, watching)
    try:
        is_watched = await asyncio.shield(entering)
        while is_watched:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(_POLL, patience.left)):
                    await woken.wait()
            woken.clear()
            answer = await loop.run_in_executor(_executor(), wait, 0.0)
            if isinstance(answer, Failure):
                break
            if answer.unwrap() or patience.is_over:
                return answer
    finally:
        entering.add_done_callback(lambda _: stack.close())
    return await _poll(wait, patience)


async def _poll(wait: Callable[[float], Result[T, Fault]], patience: Patience) -> Result[T, Fault]:
    """Waits in short slices, one after the other."""
    loop = asyncio.get_running_loop()
    patience.answered()

    def wait_a_slice() -> tuple[Result[T, Fault], bool]:
        began = time.monotonic()
        left = min(_SLICE, patience.left)
        answer = wait(left)
        return answer, time.monotonic() - began < left

    while True:
        variables = contextvars.copy_context()
        answer, is_early = await loop.run_in_executor(
            _executor(), partial(variables.run, wait_a_slice)
        )
        if isinstance(answer, Failure):
            # A failure at the end of a slice may only mean that the slice was too short.
            is_away = isinstance(answer.failure(), Unavailable) and not is_early
            if not is_away or patience.is_exhausted:
                return answer
            continue
        if answer.unwrap() or patience.is_over:
            return answer
        patience.answered()
