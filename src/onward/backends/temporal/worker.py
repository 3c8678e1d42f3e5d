"""A Temporal worker in this process: starting, serving a catalog, and stopping."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from datetime import timedelta

from msgspec.structs import replace
from temporalio import activity
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.worker import (
    PollerBehaviorAutoscaling,
    PollerBehaviorSimpleMaximum,
    UnsandboxedWorkflowRunner,
    Worker,
)

from onward.backend import Hearing
from onward.backend.support import stop_on
from onward.backends.temporal.client import PROMPT
from onward.backends.temporal.converter import with_size_limit
from onward.backends.temporal.errors import StepError
from onward.backends.temporal.limit_workflow import LimitWorkflow
from onward.backends.temporal.places import PlaceKeeper
from onward.backends.temporal.server_watch import ServerWatch
from onward.backends.temporal.steps import EVERY, StepRunner
from onward.backends.temporal.unique_workflow import UniqueWorkflow
from onward.backends.temporal.workflow import FlowWorkflow
from onward.catalog import Catalog

# If the network fails, the server may give one task to each open poll, and the task gets lost. The
# server sends it again after 10 s (a workflow's) or after a missed heartbeat (a step's). With the
# SDK's five polls of each kind, calls submitted during an outage took up to a minute.
_WORKFLOW_POLLERS = PollerBehaviorSimpleMaximum(2)
_STEP_POLLERS = PollerBehaviorAutoscaling(minimum=1, maximum=100, initial=1)
"""How many polls a worker keeps open: few while it is idle."""

_SLOTS = 100
"""How many steps of a task queue the SDK runs at a time by default."""

_PATIENCE = timedelta(days=1)
"""How long the SDK waits for steps when it shuts down. `stop` has its own grace period."""

_STUCK = 60
"""How long a workflow may compute without a pause, in seconds."""

_PARTING = 5.0
"""How long the end of given-up steps may take, in seconds."""

_LOGGER = logging.getLogger("onward.temporal")


class _StepErrorFilter(logging.Filter):
    """Drops the SDK's log records of failed steps, because Onward has logged them."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], StepError))


_STEP_ERROR_FILTER = _StepErrorFilter()


class TemporalWorker:
    """A worker on the backend's own event loop."""

    def __init__(
        self,
        client: Client,
        catalog: Catalog,
        task_queues: Sequence[str],
        workflow_queue: str,
        concurrency: int | None,
    ) -> None:
        self._runner = StepRunner(catalog, PlaceKeeper(client, catalog.tasks, workflow_queue))
        self._workers = [
            self._worker(client, queue, concurrency, has_flows=queue == workflow_queue)
            for queue in task_queues
        ]
        slots = concurrency or _SLOTS
        self._slots = slots * len(task_queues)
        self._watch = ServerWatch(
            client, task_queues, workflow_queue, lambda: self._runner.running >= slots
        )
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
            workflows=[FlowWorkflow, UniqueWorkflow, LimitWorkflow] if has_flows else [],
            # The workflow contains no user code, so it needs no sandbox.
            workflow_runner=UnsandboxedWorkflowRunner(),
            max_concurrent_activities=concurrency,
            graceful_shutdown_timeout=_PATIENCE,
            max_heartbeat_throttle_interval=timedelta(seconds=EVERY),
            # If the worker of a workflow died, another one takes it soon.
            sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
            workflow_task_poller_behavior=_WORKFLOW_POLLERS,
            activity_task_poller_behavior=_STEP_POLLERS,
        )
        if worker._workflow_worker is not None:
            # The SDK's own limit is two seconds, too short for a busy machine. A workflow that
            # exceeds it may hang forever.
            worker._workflow_worker._deadlock_timeout_seconds = _STUCK
        return worker

    async def _run(self) -> None:
        runs = [asyncio.create_task(worker.run()) for worker in self._workers]
        watching = asyncio.create_task(self._watch.run())
        try:
            await asyncio.wait(runs, return_when=asyncio.FIRST_COMPLETED)
            await self._shut_down()
            for run in runs:
                if problem := run.exception():
                    _LOGGER.error("the worker ended: %s", problem)
        finally:
            watching.cancel()
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
        self._runner.give_up()
        await asyncio.wait([leaving, self._running], timeout=_PARTING)

    def wait(self, timeout: float | None = None) -> bool:
        """See `Worker.wait`."""
        return self._ended.wait(timeout)

    def hearing(self) -> Hearing:
        """See `Hears.hearing`."""
        return replace(self._watch.hearing(), slots=self._slots)


async def start(
    client: Client,
    catalog: Catalog,
    task_queues: Sequence[str],
    workflow_queue: str,
    concurrency: int | None,
) -> TemporalWorker:
    """Starts a worker on this event loop; raises RPCError.

    Args:
        client: The connection.
        catalog: The tasks to run.
        task_queues: The task queues to take steps from.
        workflow_queue: The task queue among them from which it also takes workflows.
        concurrency: How many steps of each task queue run at the same time.
    """
    await client.workflow_service.describe_namespace(
        DescribeNamespaceRequest(namespace=client.namespace), timeout=PROMPT
    )
    activity.logger.base_logger.addFilter(_STEP_ERROR_FILTER)
    config = client.config()
    config["data_converter"] = with_size_limit(client.data_converter)
    return TemporalWorker(Client(**config), catalog, task_queues, workflow_queue, concurrency)
