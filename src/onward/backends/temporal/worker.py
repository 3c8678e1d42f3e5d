"""Serving a catalog's steps and flows, and stopping."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from datetime import timedelta

from temporalio import activity
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.worker import (
    PollerBehaviorAutoscaling,
    PollerBehaviorSimpleMaximum,
    UnsandboxedWorkflowRunner,
    Worker,
)

from onward.backend.support import stop_on
from onward.backends.temporal.client import PROMPT
from onward.backends.temporal.converter import bounded
from onward.backends.temporal.errors import StepError
from onward.backends.temporal.steps import EVERY, StepRunner
from onward.backends.temporal.workflow import FlowWorkflow
from onward.catalog import Catalog

# Each poll that is open when the network goes takes one task with it, which the server hands out
# again after 10 s (a workflow's) or after a missed heartbeat (a step's). With the SDK's own five
# of each, calls submitted during an outage took up to a minute.
_WORKFLOW_POLLERS = PollerBehaviorSimpleMaximum(2)
_STEP_POLLERS = PollerBehaviorAutoscaling(minimum=1, maximum=100, initial=1)
"""How many polls for work a worker keeps open: few while it is idle."""

_PATIENCE = timedelta(days=1)
"""How long the SDK waits for steps when it stops; `stop` itself keeps to its grace."""

_STUCK = 60
"""How long a workflow may compute without a break, in seconds."""

_PARTING = 5.0
"""How long handing back the steps may take at the end, in seconds."""

_LOGGER = logging.getLogger("onward.temporal")


class _WithoutSteps(logging.Filter):
    """Drops the SDK's own records of failed steps, which are logged already."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], StepError))


_WITHOUT_STEPS = _WithoutSteps()


class TemporalWorker:
    """A worker on the backend's own event loop."""

    def __init__(
        self,
        client: Client,
        catalog: Catalog,
        task_queues: Sequence[str],
        flows: str,
        concurrency: int | None,
    ) -> None:
        self._runner = StepRunner(catalog)
        self._workers = [
            self._worker(client, queue, concurrency, has_flows=queue == flows)
            for queue in task_queues
        ]
        self._loop = asyncio.get_running_loop()
        self._ended = threading.Event()
        self._running = asyncio.create_task(self._run())

    def _worker(
        self, client: Client, task_queue: str, concurrency: int | None, *, has_flows: bool
    ) -> Worker:
        worker = Worker(
            client,
            task_queue=task_queue,
            activities=[self._runner.run],
            workflows=[FlowWorkflow] if has_flows else [],
            # The workflow has no user's code in it, so it needs no sandbox.
            workflow_runner=UnsandboxedWorkflowRunner(),
            max_concurrent_activities=concurrency,
            graceful_shutdown_timeout=_PATIENCE,
            max_heartbeat_throttle_interval=timedelta(seconds=EVERY),
            # Another worker need not wait long for one that died.
            sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
            workflow_task_poller_behavior=_WORKFLOW_POLLERS,
            activity_task_poller_behavior=_STEP_POLLERS,
        )
        if worker._workflow_worker is not None:
            # On a busy machine the SDK's own limit of two seconds passes soon, and a workflow that
            # the SDK considers stuck may stay so for ever.
            worker._workflow_worker._deadlock_timeout_seconds = _STUCK
        return worker

    async def _run(self) -> None:
        runs = [asyncio.create_task(worker.run()) for worker in self._workers]
        try:
            await asyncio.wait(runs, return_when=asyncio.FIRST_COMPLETED)
            await self._shut_down()
            for run in runs:
                if problem := run.exception():
                    _LOGGER.error("the worker ended: %s", problem)
        finally:
            self._ended.set()

    async def _shut_down(self) -> None:
        await asyncio.gather(*(worker.shutdown() for worker in self._workers))

    def stop(self, grace: float = 30.0) -> None:
        """See `Worker.stop`."""
        if not self._ended.is_set():
            stop_on(self._loop, lambda: self._leave(grace))

    async def _leave(self, grace: float) -> None:
        leaving = asyncio.create_task(self._shut_down())
        await asyncio.wait([leaving], timeout=grace)
        self._runner.give_back()
        await asyncio.wait([leaving, self._running], timeout=_PARTING)

    def wait(self, timeout: float | None = None) -> bool:
        """See `Worker.wait`."""
        return self._ended.wait(timeout)


async def start(
    client: Client,
    catalog: Catalog,
    task_queues: Sequence[str],
    flows: str,
    concurrency: int | None,
) -> TemporalWorker:
    """Starts a worker on this event loop; raises RPCError.

    Args:
        client: The connection.
        catalog: The tasks to run.
        task_queues: The task queues to take steps from.
        flows: The one among them to take workflows from too.
        concurrency: How many steps of each run at a time.
    """
    await client.workflow_service.describe_namespace(
        DescribeNamespaceRequest(namespace=client.namespace), timeout=PROMPT
    )
    activity.logger.base_logger.addFilter(_WITHOUT_STEPS)
    config = client.config()
    config["data_converter"] = bounded(client.data_converter)
    return TemporalWorker(Client(**config), catalog, task_queues, flows, concurrency)
