"""The same work as hand-written workflows do it.

`python -m tests.faults.temporal_plain SETUP ADDRESS WORKERS` keeps so many workers going.
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

with workflow.unsafe.imports_passed_through():
    from tests.faults.served import THREADS, keep, note, take_time

QUEUE = "plain"


@dataclass(frozen=True)
class Setup:
    """A way to use the SDK.

    Args:
        heartbeat: How long an activity may be silent, in seconds; 0 where nobody says anything.
        sticky: How long a workflow's next task waits for the worker that has it, in seconds.
        is_sandboxed: Whether workflows run in the SDK's sandbox.
    """

    heartbeat: float = 0.0
    sticky: float = 10.0
    is_sandboxed: bool = True


SETUPS = {
    "temporalio, defaults": Setup(),
    "temporalio, best settings": Setup(heartbeat=2.0, sticky=1.0, is_sandboxed=False),
}


@activity.defn
def step(n: int, call: str) -> int:
    note(call, f"step {n}")
    activity.heartbeat()
    take_time()
    return n + 1


@activity.defn
def add_up(numbers: list[int], call: str) -> int:
    note(call, f"add_up {len(numbers)}")
    activity.heartbeat()
    take_time()
    return sum(numbers)


@workflow.defn
class Chain:
    @workflow.run
    async def run(self, n: int, call: str, heartbeat: float) -> int:
        for _ in range(3):
            n = await workflow.execute_activity(
                step,
                args=[n, call],
                start_to_close_timeout=timedelta(seconds=10),
                heartbeat_timeout=timedelta(seconds=heartbeat) if heartbeat else None,
            )
        return n


@workflow.defn
class FanOut:
    @workflow.run
    async def run(self, numbers: list[int], call: str, heartbeat: float) -> int:
        silence = timedelta(seconds=heartbeat) if heartbeat else None
        branches = [
            workflow.execute_activity(
                step,
                args=[n, call],
                start_to_close_timeout=timedelta(seconds=10),
                heartbeat_timeout=silence,
            )
            for n in numbers
        ]
        return await workflow.execute_activity(
            add_up,
            args=[await asyncio.gather(*branches), call],
            start_to_close_timeout=timedelta(seconds=10),
            heartbeat_timeout=silence,
        )


async def serve(setup: Setup, address: str) -> None:
    """Works until it is stopped."""
    client = await Client.connect(address)
    with ThreadPoolExecutor(THREADS) as threads:
        worker = Worker(
            client,
            task_queue=QUEUE,
            workflows=[Chain, FanOut],
            activities=[step, add_up],
            activity_executor=threads,
            max_concurrent_activities=THREADS,
            sticky_queue_schedule_to_start_timeout=timedelta(seconds=setup.sticky),
            workflow_runner=SandboxedWorkflowRunner()
            if setup.is_sandboxed
            else UnsandboxedWorkflowRunner(),
        )
        async with worker:
            print("started", flush=True)
            await asyncio.Event().wait()


def main(setup: str, address: str, workers: str) -> NoReturn:
    """Keeps so many workers going."""
    keep(int(workers), lambda: asyncio.run(serve(SETUPS[setup], address)))


if __name__ == "__main__":
    main(*sys.argv[1:])
