"""Gives a flow that only waits back to the engine, so that it holds no slot and no memory.

The engine keeps an evicted task until something restores it: the worker that delivers a signal, or
a run that the engine starts when the wait is due. Then a worker evaluates the flow again; its
finished steps keep their outcomes, and its waits their due times.
"""

from __future__ import annotations

import asyncio
import time

from onward.backends.hatchet.assignment import Assignment
from onward.backends.hatchet.connection import Connection
from onward.backends.hatchet.errors import RpcError, with_retries
from onward.backends.hatchet.waiting import Waits
from onward.plan import Plan

_SHORTEST = 20.0
"""The shortest time to its due moment for which a flow is evicted, in seconds.

The engine looks for runs to start every five seconds.
"""

_PATIENCE = 60.0
"""How long the check after an eviction is retried while the engine is away, in seconds."""


async def evict_later(
    connection: Connection, assignment: Assignment, plan: Plan, waits: Waits
) -> None:
    """Evicts a flow that does nothing but wait for some time, if its wait may take long.

    Args:
        connection: The connections to the engine.
        assignment: The flow's assignment.
        plan: The flow.
        waits: The flow's waits.
    """
    version = waits.version
    await asyncio.wait([assignment.task], timeout=connection.settings.holds)
    first = _first_moment(plan, waits)
    if waits.version != version or assignment.task.done() or first - time.time() < _SHORTEST:
        return
    task = assignment.action.task_run_external_id
    try:
        if first < float("inf"):
            await connection.signals.wake_at(task, first)
        if waits.version != version or assignment.task.done():
            return
        assignment.is_evicting = True
        is_evicted = await connection.client.evict(task)
    except (RpcError, asyncio.InvalidStateError):
        is_evicted = False  # the worker holds it, as before
    if not is_evicted:
        assignment.is_evicting = False
        return
    assignment.is_cancelled.set()
    assignment.task.cancel()
    # A signal that came between the last look and the eviction found nothing to restore.
    if waits.version != version or await waits.any_ended():
        await with_retries(lambda: connection.client.restore(task), _PATIENCE)


def _first_moment(plan: Plan, waits: Waits) -> float:
    moments = [until for _, until in waits.active.values() if until is not None]
    if plan.deadline is not None:
        moments.append(plan.deadline)
    return min(moments, default=float("inf"))
