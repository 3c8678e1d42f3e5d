"""Notices when a worker's server goes silent, or hears the worker no more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError

from onward.backend import Hearing
from onward.backend.outage import Outage

_INTERVAL = 3.0
"""The interval of the checks, in seconds."""

_PROMPT = timedelta(seconds=4)
"""How long an answer may take."""

_LIMIT = 2 * _INTERVAL + _PROMPT.total_seconds()
"""How long the server may be silent, in seconds: a check that fails is followed by another one."""

_POLL = 90.0
"""How long after its last poll the server may not have seen another one, in seconds.

A poll takes a minute at most.
"""


class ServerWatch:
    """Asks the server, over its connection, when it last saw the worker poll.

    Args:
        client: The worker's connection.
        task_queues: The task queues that the worker takes steps from.
        workflow_queue: The task queue among them from which it also takes workflows.
        is_full: Says whether so many steps run that the worker may not ask for more.
    """

    def __init__(
        self,
        client: Client,
        task_queues: Sequence[str],
        workflow_queue: str,
        is_full: Callable[[], bool],
    ) -> None:
        self._client = client
        self._kinds = {
            queue: TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
            if queue == workflow_queue
            else TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
            for queue in task_queues
        }
        self._is_full = is_full
        self._heard = now = time.monotonic()
        self._polls: dict[str, tuple[int, float]] = dict.fromkeys(task_queues, (0, now))
        """What the server says of when the worker last polled, and when it first said so."""
        self._outage = Outage(
            "onward.temporal",
            f"the server at {client.service_client.config.target_host}",
            "this worker takes up no steps until it is",
        )

    def hearing(self) -> Hearing:
        """Says how long the server has been silent, or has not seen the worker poll."""
        now = time.monotonic()
        polled = min(since for _, since in self._polls.values())
        heard = (Hearing(now - self._heard, _LIMIT), Hearing(now - polled, _POLL))
        return max(heard, key=lambda each: each.silent - each.limit)

    async def run(self) -> None:
        """Checks at intervals, until it is cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL)
            try:
                for queue in self._kinds:
                    await self._look(queue)
            except RPCError as problem:
                self._outage.fails(problem.message, since=self._heard)
                continue
            self._heard = time.monotonic()
            self._outage.works()

    async def _look(self, queue: str) -> None:
        request = DescribeTaskQueueRequest(
            namespace=self._client.namespace,
            task_queue=TaskQueue(name=queue),
            task_queue_type=self._kinds[queue],
        )
        found = await self._client.workflow_service.describe_task_queue(request, timeout=_PROMPT)
        identity = self._client.identity
        times = [each.last_access_time for each in found.pollers if each.identity == identity]
        polled = max((each.ToNanoseconds() for each in times), default=0)
        # A worker that is full does not poll for steps, and is not deaf.
        if polled > self._polls[queue][0] or self._is_full():
            self._polls[queue] = polled, time.monotonic()
