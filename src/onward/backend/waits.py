"""Blocking waits, for callers that await and may give up."""

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
"""How long a wait keeps its thread before others have their turn, in seconds.

A thread cannot be told that nobody waits any more. It is not less, as a backend that looks for
deadlines once a second would not come to it.
"""

_LONG_SLICE = 5.0
"""How often a wait asks again that is told when there is an outcome, in seconds."""

_WAITS = 100
"""How many waits of an event loop have a thread at a time; more of them take turns."""

_WAITING: weakref.WeakKeyDictionary[
    asyncio.AbstractEventLoop, concurrent.futures.ThreadPoolExecutor
] = weakref.WeakKeyDictionary()
"""Where each event loop waits: not in its default executor, which is the program's own."""


def _threads() -> concurrent.futures.ThreadPoolExecutor:
    """Where the running event loop waits."""
    loop = asyncio.get_running_loop()
    threads = _WAITING.get(loop)
    if threads is None:
        threads = concurrent.futures.ThreadPoolExecutor(_WAITS, "onward-wait")
        _WAITING[loop] = threads
    return threads


async def waited(
    backend: object,
    ids: Collection[str],
    ask: Callable[[float], Result[T, Fault]],
    timeout: float | None,
) -> Result[T, Fault]:
    """What a blocking wait answers, whose thread is free again soon after nobody awaits this.

    Args:
        backend: Who is asked; one that can say when there is an outcome takes no thread meanwhile.
        ids: The calls that it is asked about.
        ask: Asks it, and waits so many seconds.
        timeout: How long to wait in all, in seconds.
    """
    patience = Patience(timeout)
    if not isinstance(backend, Watches):
        return await _asked_again(ask, patience)
    loop, woken = asyncio.get_running_loop(), asyncio.Event()

    def notify() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(woken.set)

    stack = contextlib.ExitStack()
    watching = backend.watched(ids, notify)
    entering = loop.run_in_executor(_threads(), stack.enter_context, watching)
    try:
        is_watched = await asyncio.shield(entering)
        while is_watched:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(_LONG_SLICE, patience.left)):
                    await woken.wait()
            woken.clear()
            answer = await loop.run_in_executor(_threads(), ask, 0.0)
            if isinstance(answer, Failure):
                break
            if answer.unwrap() or patience.is_over:
                return answer
    finally:
        entering.add_done_callback(lambda _: stack.close())
    return await _asked_again(ask, patience)


async def _asked_again(
    ask: Callable[[float], Result[T, Fault]], patience: Patience
) -> Result[T, Fault]:
    """Like `waited`, by asking again and again."""
    loop = asyncio.get_running_loop()
    patience.answered()

    def asked() -> tuple[Result[T, Fault], bool]:
        began = time.monotonic()
        left = min(_SLICE, patience.left)
        answer = ask(left)
        return answer, time.monotonic() - began < left

    while True:
        variables = contextvars.copy_context()
        answer, is_early = await loop.run_in_executor(_threads(), partial(variables.run, asked))
        if isinstance(answer, Failure):
            # One that comes at the end of a slice may only be for want of patience.
            is_away = isinstance(answer.failure(), Unavailable) and not is_early
            if not is_away or patience.is_exhausted:
                return answer
            continue
        if answer.unwrap() or patience.is_over:
            return answer
        patience.answered()
