"""What the tests of `local()` share."""

import asyncio
import threading
import time
from collections.abc import Callable

from returns.result import Success

from onward import (
    Cancelled,
    Ref,
    cancel,
    result,
    status,
    task,
)
from onward.backends.local import Local

PATIENCE = 120.0
"""How long to wait for what has to come, in seconds."""


def until(condition: Callable[[], bool]) -> None:
    """Waits for what has to come to be true, and fails if it does not."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came to be true"
        time.sleep(0.002)


class Gate:
    """A sync step that waits until it is let through, so that a test knows where it is."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()

        @task
        def wait_at_gate(n: int) -> int:
            self.entered.release()
            assert self.open.wait(PATIENCE)
            return n

        self.step = wait_at_gate

    def await_entry(self) -> None:
        assert self.entered.acquire(timeout=PATIENCE)


@task
def inc(n: int) -> int:
    return n + 1


@task
async def inc_later(n: int) -> int:
    await asyncio.sleep(0)
    return n + 1


@task
async def never(n: int) -> int:
    return await asyncio.Future()


def is_cancelled(ref: Ref[int], backend: Local) -> bool:
    assert cancel(ref, on=backend) == Success(None)
    assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Cancelled)
    return status(ref, on=backend).unwrap().state == "cancelled"
