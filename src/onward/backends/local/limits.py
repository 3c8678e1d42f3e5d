"""The places of limits in this process."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from onward.backend.limiter import Limiter
from onward.limit import StepLimit


class Limits:
    """Hands out the places of limits on one event loop. What waits holds nothing else."""

    def __init__(self) -> None:
        self._limiter = Limiter()
        self._turns: dict[str, asyncio.Future[None]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._numbers = itertools.count()

    @asynccontextmanager
    async def place(self, limit: StepLimit, key: str) -> AsyncGenerator[Callable[[], None]]:
        """Waits for a place, and holds it; gives what to call when the attempt begins."""
        loop, limiter, holder = asyncio.get_running_loop(), self._limiter, str(next(self._numbers))
        turn = self._turns[holder] = loop.create_future()
        pool = limiter.request(holder, limit, key, loop.time())
        try:
            self._hand_out(pool)
            await turn
            yield lambda: limiter.begin(holder, loop.time())
        finally:
            self._turns.pop(holder, None)
            limiter.leave(holder)
            self._hand_out(pool)

    def _hand_out(self, pool: str) -> None:
        loop = asyncio.get_running_loop()
        for holder in self._limiter.hand_out(pool, loop.time()):
            turn = self._turns.pop(holder)
            if not turn.done():
                turn.set_result(None)
        timer = self._timers.pop(pool, None)
        if timer is not None:
            timer.cancel()
        at = self._limiter.opens_at(pool, loop.time())
        if at is not None:
            self._timers[pool] = loop.call_at(at, self._hand_out, pool)
