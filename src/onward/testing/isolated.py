"""Tasks whose steps run in child processes. A backend's workers serve them too."""

from __future__ import annotations

import asyncio
import os
import signal
import time

from onward.context import current, progress
from onward.flows.define import task
from onward.policy import Constant, Retry
from onward.testing.traces import note


@task(isolate=True)
def apart(n: int) -> tuple[int, str]:
    """One more, and where its step is."""
    note(n)
    return n + 1, current().step


@task(isolate=True)
async def apart_async(n: int) -> int:
    """One more, asynchronously, after some progress."""
    note(n)
    progress(n, n + 1)
    await asyncio.sleep(0)
    return n + 1


@task(isolate=True, timeout=0.5)
def beat(n: int) -> int:
    """Writes for ever."""
    while True:
        note(os.getpid())
        time.sleep(0.01)


@task(isolate=True)
def sit(n: int) -> int:
    """Does nothing, for ever."""
    note(os.getpid())
    progress(1.0, 2.0)
    while True:
        time.sleep(60.0)


@task(isolate=True)
def die(n: int) -> int:
    """Has its process killed."""
    os.kill(os.getpid(), signal.SIGKILL)
    return n


@task(isolate=True, retry=Retry(attempts=2, backoff=Constant(0.0)))
def die_once(n: int) -> int:
    """Ends its process at the first attempt."""
    if current().attempt == 1:
        os._exit(3)
    return n
