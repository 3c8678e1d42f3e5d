"""Reminds the engine of steps that wait for their rate limit, which it forgets at a restart.

The engine (0.104) puts aside steps that wait for their rate limit. After a restart it checks them
only when another step of the same task waits in the queue itself. So without a reminder, steps that
were put aside may wait forever.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

from msgspec import Raw
from returns.result import Failure

from onward.backends.hatchet import names
from onward.backends.hatchet.backlog import RUN, waiting
from onward.backends.hatchet.connection import Connection
from onward.backends.hatchet.errors import RpcError
from onward.backends.hatchet.message import input_of
from onward.catalog import Catalog
from onward.plan import VERSION, Args, ChainNode, FusedNode, Plan

_PATIENCE = 60.0
_PAUSES = (15.0, 30.0, 60.0)
_WINDOWS = {
    "second": 5.0,
    "minute": 60.0,
    "hour": 3_600.0,
    "day": 86_400.0,
    "week": 604_800.0,
    "month": 2_678_400.0,
    "year": 31_622_400.0,
}
"""The pauses between reminders of a task, in seconds. The last ones depend on its rate."""

_SETTLES = 2.0
_LOOKS = 20.0
"""How soon the engine puts a run aside, and how often it checks its queue, in seconds."""

_SHARED = 10.0
"""How long workers share one reminder, in seconds."""

_NOWHERE = "onward.nowhere"
"""The queue of reminders. No worker takes steps from it."""


async def remind(connection: Connection, catalog: Catalog) -> None:
    """Makes the engine check the steps that it put aside, of a catalog's tasks with a rate limit.

    Args:
        connection: The connections to the engine.
        catalog: The tasks.
    """
    rated = [
        name
        for name, limit in connection.settings.limits.items()
        if limit.rate is not None and name in catalog.tasks
    ]
    await asyncio.gather(*(_remind(connection, name) for name in rated))


async def _remind(connection: Connection, name: str) -> None:
    action = f"{names.workflow(name, connection.settings.prefix)}{RUN}"
    for pause in (*_PAUSES, *[_WINDOWS[connection.settings.limits[name].per]] * 2):
        now = (await waiting(connection.http, connection.settings.tenant)).get(action)
        if now is None or not now.aside or now.count > now.aside:
            return  # because of a step in the queue itself, the engine checks them anyway
        is_seen = await _send_reminder(connection, name, action)
        if is_seen:
            return
        await asyncio.sleep(pause)


async def _send_reminder(connection: Connection, name: str, action: str) -> bool:
    """Starts a run that no worker takes, and cancels it later.

    Returns:
        Whether the rate limit had room for the run. If so, it waited in the queue itself, and the
        engine checked the steps that it put aside. Meanwhile the run takes room from other steps.
    """
    root = FusedNode(ChainNode(()), queue=_NOWHERE)
    plan = Plan(v=VERSION, flow=f"wake {name}", root=root, args=Args((Raw(b"null"),)))
    key = f"wake {name} {time.time() // _SHARED:.0f}"
    started = await connection.submitter.start(
        plan, input_of(plan), key, workflow=name, patience=_PATIENCE
    )
    if isinstance(started, Failure):
        return False
    try:
        await asyncio.sleep(_SETTLES)
        now = (await waiting(connection.http, connection.settings.tenant)).get(action)
        is_seen = now is not None and now.count > now.aside
        if is_seen:
            await asyncio.sleep(_LOOKS)
        return is_seen
    finally:
        with contextlib.suppress(RpcError):
            await connection.client.cancel([started.unwrap()])
