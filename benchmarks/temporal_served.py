"""The timed workers on Temporal: `python -m benchmarks.temporal_served NAME URL`.

All of them run their steps in the threads of one process.
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from benchmarks.temporal_plain import One, Signalled, Sleeping, Three, pass_on
from onward import Catalog, task, unwrap, work
from onward.backends.temporal import TemporalBackend, temporal

ONWARD = "Onward"
THREADS = 16

SETUPS: dict[str, type[WorkflowRunner]] = {
    "temporalio": SandboxedWorkflowRunner,
    "temporalio, unsandboxed": UnsandboxedWorkflowRunner,
}
"""The SDK by default, and without its sandbox for workflows."""


@task
def step(n: int) -> int:
    return n


flow = (step >> step >> step).named("three")


def backend_at(url: str) -> TemporalBackend:
    """The server at a URL, with a task queue of our own."""
    at = urlsplit(url)
    assert at.hostname
    assert at.port
    return temporal(at.hostname, at.port, task_queue=ONWARD)


async def serve(name: str, address: str) -> None:
    """Serves the workflows by hand until it is stopped."""
    with ThreadPoolExecutor(THREADS) as threads:
        worker = Worker(
            await Client.connect(address),
            task_queue=name,
            workflows=[One, Three, Sleeping, Signalled],
            activities=[pass_on],
            activity_executor=threads,
            max_concurrent_activities=THREADS,
            workflow_runner=SETUPS[name](),
        )
        await worker.run()


def main(name: str, url: str) -> None:
    """Serves Onward's tasks until it is stopped."""
    if name in SETUPS:
        asyncio.run(serve(name, urlsplit(url).netloc))
    else:
        unwrap(work(Catalog(step), on=backend_at(url), concurrency=THREADS))


if __name__ == "__main__":
    main(*sys.argv[1:])
