"""Declares the workflows of limits, before the first attempt that needs a place.

A caller's plan says what limits its steps have, so no worker can declare them when it starts.
"""

from __future__ import annotations

import asyncio
import random

from onward.backends.hatchet import declare
from onward.backends.hatchet.client import Client
from onward.backends.hatchet.errors import RpcError, is_temporary
from onward.backends.hatchet.settings import Settings
from onward.fault import Fault
from onward.limit import StepLimit

_TRIES = 8
_PAUSE = 0.5


class LimitWorkflows:
    """The workflows of limits.

    Args:
        client: The connection.
        settings: The backend's settings.
    """

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._declared: dict[str, StepLimit] = {}
        self._turn = asyncio.Lock()

    async def declare(self, limit: StepLimit) -> Fault | None:
        """Declares the workflow of a limit, unless this process has done so; or says why not."""
        async with self._turn:
            if self._declared.get(limit.name) == limit:
                return None
            tries = 0
            while True:
                try:
                    await self._client.put_workflow(declare.of_limit(limit, self._settings))
                except RpcError as problem:
                    # The engine fails if two workers declare a new workflow at once.
                    tries += 1
                    if not is_temporary(problem) or tries == _TRIES:
                        return self._client.fault(problem, limit.name)
                else:
                    self._declared[limit.name] = limit
                    return None
                await asyncio.sleep(_PAUSE * random.random())
