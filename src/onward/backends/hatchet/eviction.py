"""Gives a flow that only waits back to the engine, so that it holds no slot and no memory.

The engine keeps an evicted task until something restores it: the worker that delivers a signal, or
a run that the engine starts when the wait is due. Then a worker evaluates the flow again; its
finished steps keep their outcomes, and its waits their due times. Nothing restores a flow for
which a step runs, or whose signal has come before, so such a flow must not be evicted.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Collection
from functools import partial

from onward.backends.hatchet.assignment import Assignment
from onward.backends.hatchet.connection import Connection
from onward.backends.hatchet.errors import RpcError, with_retries
from onward.backends.hatchet.waiting import Waits
from onward.plan import Plan

_SHORTEST = 20.0
"""The shortest time to its due moment for which a flow is evicted, in seconds.

The engine looks for runs to start every five seconds.
"""


async def evict_later(
    connection: Connection, assignment: Assignment, plan: Plan, waits: Waits, version: int
) -> None:
    """Evicts a flow that does nothing but wait for some time, if its wait may take long.

    Args:
        connection: The connections to the engine.
        assignment: The flow's assignment.
        plan: The flow.
        waits: The flow's waits.
        version: Their version when the flow began to do nothing else.
    """

    def is_over() -> bool:
        return waits.version != version or assignment.task.done()

    while True:
        await asyncio.wait([assignment.task], timeout=connection.settings.holds)
        if is_over():
            return
        if waits.are_known:
            break
    first = _first_moment(plan, waits)
    if first - time.time() < _SHORTEST:
        return
    task = assignment.action.task_run_external_id
    try:
        if first < math.inf:
            await connection.signals.wake_at(task, first)
        # Whoever delivers a signal restores a flow that is evicted within the next two seconds. A
        # signal that came earlier is looked for here, because this worker may die after the next
        # request.
        if await _any_ended(connection, waits.mailboxes) or is_over():
            return
    except RpcError:
        return  # the worker holds it, as before
    assignment.is_evicting = True
    if not await _evict(connection, task):
        assignment.is_evicting = False
        return
    has_gone_on, mailboxes = waits.version != version, waits.mailboxes
    assignment.is_cancelled.set()
    assignment.task.cancel()
    # A signal that came between the last look and the eviction found nothing to restore.
    if has_gone_on or await _any_ended(connection, mailboxes, math.inf):
        await connection.signals.restore(task)


async def _evict(connection: Connection, task: str) -> bool:
    """Evicts a task; False if the worker has it, as before."""
    try:
        return await connection.client.evict(task)
    except (RpcError, asyncio.InvalidStateError):
        # The engine may have done it. To restore a task that is not evicted changes nothing.
        await with_retries(lambda: connection.client.restore(task), math.inf)
        return False


async def _any_ended(
    connection: Connection, mailboxes: Collection[str], patience: float = 0.0
) -> bool:
    """Whether a signal has come for which a flow waits."""
    for mailbox in mailboxes:
        details = await with_retries(partial(connection.client.details, mailbox), patience)
        if details is None or details.done:
            return True
    return False


def _first_moment(plan: Plan, waits: Waits) -> float:
    moments = [until for _, until in waits.active.values() if until is not None]
    if plan.deadline is not None:
        moments.append(plan.deadline)
    return min(moments, default=math.inf)
