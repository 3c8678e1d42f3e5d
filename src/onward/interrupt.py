"""Ends one attempt early, whose outcome nobody needs any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")
AsyncWork: TypeAlias = Callable[[], Coroutine[Any, Any, T]]


class Interrupted(BaseException):
    """Ends an attempt whose call has ended meanwhile, so that nobody needs its outcome."""


class Interrupt:
    """Ends one attempt of a `ThreadExecutor` early, where its async task awaits."""

    def __init__(self) -> None:
        self.is_set: bool = False
        self._cancel: Callable[[], object] = lambda: None

    def set(self) -> None:
        """Cancels the async task that runs, and each later one. Any thread may call it."""
        self.is_set = True
        self._cancel()

    def within(self, work: Callable[[], T]) -> T:
        """Runs work in this thread, and lets `set` end its attempts.

        Raises:
            Interrupted: If `set` was called.
        """
        variables = copy_context()
        variables.run(INTERRUPT.set, self)
        return variables.run(work)

    async def over(self, work: AsyncWork[T]) -> T:
        """Runs an async function on this event loop, until it ends or `set` is called."""
        job, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert job is not None
        self._cancel = lambda: loop.call_soon_threadsafe(job.cancel)
        try:
            if self.is_set:
                raise asyncio.CancelledError
            return await work()
        finally:
            self._cancel = lambda: None


INTERRUPT: ContextVar[Interrupt | None] = ContextVar("onward_interrupt", default=None)
