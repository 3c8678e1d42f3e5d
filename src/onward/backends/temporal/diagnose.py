"""Diagnoses the server, its task queues and their workers."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from datetime import timedelta
from importlib.metadata import version

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
    GetSystemInfoRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode, TLSConfig

from onward.backend import Diagnosis, Finding, SeenWorker
from onward.backends.temporal.client import PROMPT, Address
from onward.backends.temporal.probe import WorkerProbe

_GONE = 90.0
"""A worker that has not polled for so long is gone, in seconds."""


async def make_diagnosis(
    client: Client, address: Address, queues: Collection[str], probe: WorkerProbe
) -> Diagnosis:
    """Makes a diagnosis; raises RPCError.

    Args:
        client: The connection.
        address: The backend's address.
        queues: Further queues to inspect.
        probe: Asks the workers, and remembers their answers.
    """
    service = client.workflow_service
    system = await service.get_system_info(GetSystemInfoRequest(), timeout=PROMPT)
    namespace = await service.describe_namespace(
        DescribeNamespaceRequest(namespace=address.namespace), timeout=PROMPT
    )
    kept = namespace.config.workflow_execution_retention_ttl.ToTimedelta()
    findings = (
        Finding("SDK", f"temporalio {version('temporalio')}"),
        Finding("server", f"Temporal {system.server_version}"),
        Finding("namespace", f"{address.namespace}, which keeps outcomes for {_span(kept)}"),
        _credentials(address),
    )
    queues_of: dict[str, set[str]] = {}
    waiting: dict[str, int] = {}
    oldest: dict[str, float] = {}
    for queue in sorted({address.task_queue, *queues}):
        steps = await _queue(client, queue, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)
        waiting[queue] = steps.stats.approximate_backlog_count
        found = [steps]
        ages = [steps.stats.approximate_backlog_age.ToTimedelta()]
        if queue == address.task_queue:
            found.append(await _queue(client, queue, TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW))
            waiting[queue] += found[-1].stats.approximate_backlog_count
            ages.append(found[-1].stats.approximate_backlog_age.ToTimedelta())
        if waiting[queue]:
            oldest[queue] = max(ages).total_seconds()
        for poller in (poller for each in found for poller in each.pollers):
            if time.time() - poller.last_access_time.seconds < _GONE:
                queues_of.setdefault(poller.identity, set()).add(queue)
    if namespace.namespace_info.capabilities.standalone_activities:
        await _ask(probe, client, address.task_queue, queues_of)
    workers = tuple(
        SeenWorker(name, frozenset(queues_of[name]), probe.tasks.get(name))
        for name in sorted(queues_of)
    )
    return Diagnosis(
        address.task_queue,
        findings,
        workers,
        waiting,
        probe.clock,
        oldest=oldest,
        keeps=kept.total_seconds(),
    )


async def _ask(
    probe: WorkerProbe, client: Client, queue: str, workers: Mapping[str, Collection[str]]
) -> None:
    try:
        await probe.ask(client, queue, workers)
    except RPCError as problem:
        if problem.status != RPCStatusCode.PERMISSION_DENIED:  # the API key may only read
            raise


async def _queue(
    client: Client, queue: str, kind: TaskQueueType.ValueType
) -> DescribeTaskQueueResponse:
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=queue),
        task_queue_type=kind,
        report_stats=True,
    )
    return await client.workflow_service.describe_task_queue(request, timeout=PROMPT)


def _span(kept: timedelta) -> str:
    days, rest = divmod(kept, timedelta(days=1))
    if rest:
        return f"{kept / timedelta(hours=1):g} hours"
    return "1 day" if days == 1 else f"{days} days"


def _credentials(address: Address) -> Finding:
    key = "an API key" if address.api_key else "no API key"
    is_tls = bool(address.tls) or (address.tls is None and address.api_key is not None)
    tls = "TLS" if is_tls else "no TLS"
    if isinstance(address.tls, TLSConfig) and address.tls.client_cert:
        tls = "TLS, with a client's certificate"
    return Finding("credentials", f"{key}; {tls}")
