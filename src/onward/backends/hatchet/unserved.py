"""Ending steps whose task no worker serves any more, which would otherwise wait for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

_LOOKS = 15.0
"""How often to look for such steps, in seconds."""


class Unserved:
    """Watches for tasks with waiting steps that no worker serves.

    A worker of another program, or of a release that is starting, may be about to serve them. So
    they get some time first.

    Args:
        bound: How much time they get, in seconds.
        find: Gives the actions with waiting steps that no worker serves; None if unknown.
        take: Takes the waiting steps of such actions.
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
        """Looks at intervals, until it is cancelled."""
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
