"""Blocking waits, for callers that await and may give up."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import math
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from returns.result import Failure, Result

from onward.fault import Fault, Unavailable

T = TypeVar("T")

_SLICE = 1.5
"""How long a wait keeps its thread before others have their turn, in seconds.

A thread cannot be told that nobody waits any more. It is not less, as a backend that looks for
deadlines once a second would not come to it.
"""

_OUTAGE = 60.0
"""How long who waits puts up with a backend that is away, in seconds."""

_WAITS = 100
"""How many waits of an event loop have a thread at a time; more of them take turns."""

_WAITING: weakref.WeakKeyDictionary[
    asyncio.AbstractEventLoop, concurrent.futures.ThreadPoolExecutor
] = weakref.WeakKeyDictionary()
"""Where each event loop waits: not in its default executor, which is the program's own."""


async def waited(
    ask: Callable[[float], Result[T, Fault]], timeout: float | None
) -> Result[T, Fault]:
    """What a blocking wait answers, whose thread is free again soon after nobody awaits this."""
    loop = asyncio.get_running_loop()
    threads = _WAITING.get(loop)
    if threads is None:
        threads = concurrent.futures.ThreadPoolExecutor(_WAITS, "onward-wait")
        _WAITING[loop] = threads
    end = math.inf if timeout is None else time.monotonic() + timeout
    given_up = min(end, time.monotonic() + _OUTAGE)

    def asked() -> tuple[Result[T, Fault], bool]:
        began = time.monotonic()
        left = max(min(_SLICE, end - began), 0.0)
        answer = ask(left)
        return answer, time.monotonic() - began < left

    while True:
        variables = contextvars.copy_context()
        answer, is_early = await loop.run_in_executor(threads, partial(variables.run, asked))
        if isinstance(answer, Failure):
            # One that comes at the end of a slice may only be for want of patience.
            is_away = isinstance(answer.failure(), Unavailable) and not is_early
            if not is_away or time.monotonic() >= given_up:
                return answer
            continue
        if answer.unwrap() or time.monotonic() >= end:
            return answer
        given_up = min(end, time.monotonic() + _OUTAGE)
