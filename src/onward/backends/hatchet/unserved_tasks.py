"""Ends steps whose task no worker serves any more. Otherwise they would wait forever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

_LOOKS = 15.0
"""The interval of checks for such steps, in seconds."""


class UnservedTasks:
    """Watches for tasks that have waiting steps but no worker.

    The steps get some time first, because a worker that serves them may be starting.

    Args:
        bound: How long the steps may wait without a worker, in seconds.
        find: Returns the actions with waiting steps that no worker serves; None if unknown.
        take: Takes the waiting steps of such actions, and ends them.
    """

    def __init__(
        self,
        bound: float,
        find: Callable[[], Awaitable[set[str] | None]],
        take: Callable[[list[str]], Awaitable[None]],
    ) -> None:
        self._bound = bound
        self._find = find
        self._take = take
        self._since: dict[str, float] = {}

    async def watch(self) -> None:
        """Checks at intervals, until it is cancelled."""
        while True:
            await asyncio.sleep(min(_LOOKS, max(self._bound / 4, 0.5)))
            found = await self._find()
            if found is None:
                continue
            now = time.monotonic()
            self._since = {action: self._since.get(action, now) for action in found}
            over = sorted(a for a, since in self._since.items() if now - since >= self._bound)
            if over:
                await self._take(over)
                for action in over:
                    del self._since[action]
