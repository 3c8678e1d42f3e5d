"""Steps of tasks that workers once declared and none has any more: they end, and wait no longer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

_LOOKS = 15.0
"""How often it is looked for such steps, in seconds."""


class Unserved:
    """Watches for tasks that wait and that no worker serves.

    A worker of another program, or of a release that is just being started, may be about to serve
    them. So they are given a while.

    Args:
        bound: How long they are given, in seconds.
        find: Gives the actions that wait and that no worker serves; None if it cannot be told.
        take: Takes what waits for such actions.
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
        """Looks again and again."""
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
