"""Asks workers which tasks they serve, and the server what time it is there.

Temporal keeps neither. So an activity of a name of our own is put where workers take steps from;
who takes it answers with its tasks, the server notes who that was and when it came, and then it is
deleted.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta
from uuid import uuid4

import msgspec
from msgspec import Struct
from temporalio.api.workflowservice.v1 import DeleteActivityExecutionRequest
from temporalio.client import ActivityFailureError, ActivityHandle, Client
from temporalio.common import RawValue, RetryPolicy
from temporalio.service import RPCError

from onward.backends.temporal.client import PROMPT
from onward.backends.temporal.converter import value

NAME = "onward.doctor"
"""The name of the activity. It has no arguments, unlike any step."""

_PATIENCE = timedelta(seconds=5)
"""How long a worker may take: one that has no slot free is not asked."""

_TRIES = 6
_AT_ONCE = 20
"""How often, and how many workers, are asked at a time.

A worker polls with five pollers, and the server takes the one that waits longest.
"""

_KEPT = 60.0
"""How long what was said holds, in seconds."""


class _Said(Struct, frozen=True):
    """What was said to one question.

    Args:
        ahead: How far the server's clock is ahead of ours, in seconds.
        worker: Who took it; empty if nobody did.
        tasks: What that one serves; None if it does not know what is meant.
    """

    ahead: float
    worker: str
    tasks: frozenset[str] | None


class Census:
    """What the workers and the server said when they were last asked, a minute ago at most."""

    def __init__(self) -> None:
        self.clock: float | None = None
        """How far the server's clock is ahead of ours, in seconds."""
        self.tasks: dict[str, frozenset[str] | None] = {}
        """What each worker serves, by its identity; None for one that did not answer."""
        self._taken_at = -math.inf

    async def take(self, client: Client, queue: str, taken: Mapping[str, Collection[str]]) -> None:
        """Asks, unless all of these were asked just now; raises RPCError.

        Args:
            client: The connection.
            queue: The queue of steps that name none.
            taken: The workers' identities, each with the queues that it takes steps from.
        """
        now = time.monotonic()
        if now - self._taken_at < _KEPT and taken.keys() <= self.tasks.keys():
            return
        self._taken_at = -math.inf  # in case that it fails
        self.tasks = dict.fromkeys(taken)
        if not taken:
            self.clock = (await _ask(client, queue, waits=False)).ahead
        there: dict[str, set[str]] = {}
        for worker, queues in taken.items():
            for each in queues:
                there.setdefault(each, set()).add(worker)
        await asyncio.gather(*(self._ask_all(client, each, there[each]) for each in there))
        self._taken_at = now

    async def _ask_all(self, client: Client, queue: str, workers: set[str]) -> None:
        silent = set(workers)
        for _ in range(_TRIES):
            if not silent:
                return
            asking = (_ask(client, queue) for _ in range(min(len(workers), _AT_ONCE)))
            said = await asyncio.gather(*asking)
            self.clock = said[0].ahead
            self.tasks |= {each.worker: each.tasks for each in said if each.tasks is not None}
            heard = {each.worker for each in said if each.worker}
            if not heard:
                return
            silent -= heard


def answer(tasks: Iterable[str]) -> RawValue:
    """What a worker says that serves these."""
    return value(msgspec.json.encode(sorted(tasks)))


async def _ask(client: Client, queue: str, *, waits: bool = True) -> _Said:
    before = time.time()
    handle = await client.start_activity(
        NAME,
        id=f"{NAME}:{uuid4().hex}",
        task_queue=queue,
        schedule_to_close_timeout=_PATIENCE,
        retry_policy=RetryPolicy(maximum_attempts=1),
        result_type=RawValue,
        rpc_timeout=PROMPT,
    )
    middle = (before + time.time()) / 2
    try:
        tasks = await _tasks(handle) if waits else None
        found = await handle.describe(rpc_timeout=PROMPT)
    finally:
        with contextlib.suppress(RPCError):
            await client.workflow_service.delete_activity_execution(
                DeleteActivityExecutionRequest(namespace=client.namespace, activity_id=handle.id),
                timeout=PROMPT,
            )
    ahead = found.schedule_time.timestamp() - middle
    return _Said(ahead, found.last_worker_identity or "", tasks)


async def _tasks(handle: ActivityHandle[RawValue]) -> frozenset[str] | None:
    try:
        said = await handle.result(rpc_timeout=PROMPT)
        return msgspec.json.decode(said.payload.data, type=frozenset[str])
    except (ActivityFailureError, msgspec.MsgspecError):  # nobody's, or not one of ours
        return None
