"""Declares the workflows of limits, before the first attempt that needs a place.

A caller's plan says what limits its steps have, so no worker can declare them when it starts.
"""

from __future__ import annotations

import asyncio
import random
import time

from onward.backends.hatchet import declare, names
from onward.backends.hatchet.client import Client
from onward.backends.hatchet.diagnose import workflows_in
from onward.backends.hatchet.errors import RpcError, is_temporary
from onward.backends.hatchet.http_api import HttpApi
from onward.backends.hatchet.settings import Settings
from onward.fault import Fault
from onward.limit import StepLimit

_TRIES = 8
_PAUSE = 0.5


class LimitWorkflows:
    """The workflows of limits.

    Args:
        client: The connection.
        http: The HTTP API.
        settings: The backend's settings.
    """

    def __init__(self, client: Client, http: HttpApi, settings: Settings) -> None:
        self._client = client
        self._http = http
        self._settings = settings
        self._served: set[str] = set()
        self._declared: dict[tuple[str, bool], StepLimit] = {}
        self._turn = asyncio.Lock()

    async def declare(self, limit: StepLimit, *, of_calls: bool = False) -> Fault | None:
        """Declares the workflow of a limit, unless this process has done so; or says why not.

        Args:
            limit: The limit.
            of_calls: Whether it is a limit of the calls of a flow, and not of the steps of a task.
        """
        key = limit.name, of_calls
        request = declare.of_limit(limit, self._settings, of_calls=of_calls)
        async with self._turn:
            if self._declared.get(key) == limit:
                return None
            tries = 0
            while True:
                try:
                    await self._client.put_workflow(request)
                except RpcError as problem:
                    # The engine fails if two workers declare a new workflow at once.
                    tries += 1
                    if not is_temporary(problem) or tries == _TRIES:
                        return self._client.fault(problem, limit.name)
                else:
                    self._declared[key] = limit
                    return None
                await asyncio.sleep(_PAUSE * random.random())

    async def is_served(self, task: str) -> bool:
        """Whether a worker has declared a task, or may have: without the HTTP API nobody knows.

        Nothing else tells, because the steps of all tasks with a limit have one action.
        """
        end = time.monotonic() + self._settings.undeclared
        name = names.workflow(task, self._settings.prefix)
        while name not in self._served:
            found = await workflows_in(self._http, f"tenants/{self._settings.tenant}")
            self._served |= found.keys()
            if not found:
                return True
            if name not in found and time.monotonic() >= end:
                return False
            await asyncio.sleep(self._settings.undeclared / _TRIES)  # its worker may be starting
        return True
