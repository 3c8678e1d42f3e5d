"""Asks workers which tasks they serve, and finds out the server's time.

Temporal has no request for either. So the probe starts an activity with a special name on a task
queue. The worker that takes it answers with its tasks. The server records that worker and the time,
and then the activity is deleted.
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
from onward.backends.temporal.converter import raw_value

NAME = "onward.doctor"
"""The name of the activity. Unlike a step, it has no arguments."""

_PATIENCE = timedelta(seconds=5)
"""How long an answer may take. A worker without a free slot does not answer."""

_TRIES = 6
_AT_ONCE = 20
"""How often the workers of a queue are asked, and by how many probes at the same time.

The server chooses the worker that takes a probe, so some workers may get several.
"""

_KEPT = 60.0
"""How long answers are remembered, in seconds."""


class _Answer(Struct, frozen=True):
    """The answer to one probe.

    Args:
        ahead: How far the server's clock is ahead of this machine's, in seconds.
        worker: The identity of the worker that took the probe; empty if none did.
        tasks: The tasks that it serves; None if it does not know the probe.
    """

    ahead: float
    worker: str
    tasks: frozenset[str] | None


class WorkerProbe:
    """Asks the workers and the server, and remembers their answers for a minute."""

    def __init__(self) -> None:
        self.clock: float | None = None
        """How far the server's clock is ahead of this machine's, in seconds."""
        self.tasks: dict[str, frozenset[str] | None] = {}
        """The tasks that each worker serves, by its identity; None if it did not answer."""
        self._asked_at = -math.inf

    async def ask(self, client: Client, queue: str, workers: Mapping[str, Collection[str]]) -> None:
        """Asks the workers, unless all of them have answered recently; raises RPCError.

        Args:
            client: The connection.
            queue: The default queue, for steps that name none.
            workers: The workers' identities, each with the queues that it takes steps from.
        """
        now = time.monotonic()
        if now - self._asked_at < _KEPT and workers.keys() <= self.tasks.keys():
            return
        self._asked_at = -math.inf  # so that a failure is not remembered
        self.tasks = dict.fromkeys(workers)
        if not workers:
            self.clock = (await _ask(client, queue, waits=False)).ahead
        by_queue: dict[str, set[str]] = {}
        for worker, queues in workers.items():
            for each in queues:
                by_queue.setdefault(each, set()).add(worker)
        await asyncio.gather(*(self._ask_all(client, *each) for each in by_queue.items()))
        self._asked_at = now

    async def _ask_all(self, client: Client, queue: str, workers: set[str]) -> None:
        silent = set(workers)
        for _ in range(_TRIES):
            if not silent:
                return
            asking = (_ask(client, queue) for _ in range(min(len(workers), _AT_ONCE)))
            answers = await asyncio.gather(*asking)
            self.clock = answers[0].ahead
            self.tasks |= {each.worker: each.tasks for each in answers if each.tasks is not None}
            answered = {each.worker for each in answers if each.worker}
            if not answered:
                return
            silent -= answered


def answer(tasks: Iterable[str]) -> RawValue:
    """Makes the answer of a worker that serves these tasks."""
    return raw_value(msgspec.json.encode(sorted(tasks)))


async def _ask(client: Client, queue: str, *, waits: bool = True) -> _Answer:
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
    return _Answer(ahead, found.last_worker_identity or "", tasks)


async def _tasks(handle: ActivityHandle[RawValue]) -> frozenset[str] | None:
    try:
        answer = await handle.result(rpc_timeout=PROMPT)
        return msgspec.json.decode(answer.payload.data, type=frozenset[str])
    except (ActivityFailureError, msgspec.MsgspecError):  # no worker, or not one of Onward's
        return None
