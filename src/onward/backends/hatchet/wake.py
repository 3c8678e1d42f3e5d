"""Reminding the engine of the steps that wait for their rate, which it forgets at a restart.

The engine (0.104) puts aside the steps that wait for their rate. It returns to them only once
another step of the same task has waited in the queue itself since the engine started. So after a
restart, steps that were put aside may wait for ever.
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
from onward.backends.hatchet.errors import Problem
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
"""The pauses between tries to wake a task, in seconds; the last depend on its rate."""

_SETTLES = 2.0
_LOOKS = 20.0
"""How soon the engine puts a run aside, and how often it checks its queue, in seconds."""

_SHARED = 10.0
"""How long workers share one run that wakes a task, in seconds."""

_NOWHERE = "onward.nowhere"
"""The queue of such runs, from which no worker takes steps."""


async def wake(connection: Connection, catalog: Catalog) -> None:
    """Has the engine look again at the steps it put aside, of a catalog's tasks with a rate.

    Args:
        connection: The connections to the engine.
        catalog: The tasks.
    """
    rated = [
        name
        for name, limit in connection.settings.limits.items()
        if limit.rate is not None and name in catalog.tasks
    ]
    await asyncio.gather(*(_wake(connection, name) for name in rated))


async def _wake(connection: Connection, name: str) -> None:
    action = f"{names.workflow(name, connection.settings.prefix)}{RUN}"
    for pause in (*_PAUSES, *[_WINDOWS[connection.settings.limits[name].per]] * 2):
        now = (await waiting(connection.rest, connection.settings.tenant)).get(action)
        if now is None or not now.aside or now.count > now.aside:
            return  # a step in the queue itself makes the engine look
        is_seen = await _look_aside(connection, name, action)
        if is_seen:
            return
        await asyncio.sleep(pause)


async def _look_aside(connection: Connection, name: str, action: str) -> bool:
    """Starts a run that no worker takes; gives whether the rate had room for it.

    If so, it waits in the queue itself, and the engine notices that the task has a rate. It takes
    room from other steps while it is there.
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
        now = (await waiting(connection.rest, connection.settings.tenant)).get(action)
        is_seen = now is not None and now.count > now.aside
        if is_seen:
            await asyncio.sleep(_LOOKS)
        return is_seen
    finally:
        with contextlib.suppress(Problem):
            await connection.client.cancel([started.unwrap()])
