"""Somebody's own workflow calls Onward's flows as children."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import CancelledError
from temporalio.worker import Replayer, Worker

from tests.engines.process import until
from tests.engines.temporal import Temporal
from tests.temporal.native_flows import Caller, Hasty, Waiter
from tests.temporal.served import noted

T = TypeVar("T")
WORKFLOWS = [Caller, Hasty, Waiter]

pytestmark = pytest.mark.usefixtures("backend")  # which has a worker of Onward's


def on_worker(server: Temporal, use: Callable[[Client, str], Awaitable[T]]) -> T:
    """Uses a client, and the task queue of a worker that serves these workflows."""

    async def served() -> T:
        client, queue = await Client.connect(server.address), uuid4().hex
        async with Worker(client, task_queue=queue, workflows=WORKFLOWS):
            return await use(client, queue)

    return asyncio.run(served())


@pytest.mark.parametrize(
    ("number", "said"),
    [(1, "value 1"), (2, "odd 3"), (0, "Raised")],
)
def test_a_workflow_gets_the_result_of_a_call(temporal: Temporal, number: int, said: str) -> None:
    async def use(client: Client, queue: str) -> str:
        found: str = await client.execute_workflow(
            "Caller", number, id=uuid4().hex, task_queue=queue
        )
        return found

    assert on_worker(temporal, use).startswith(said)


def test_it_replays(temporal: Temporal) -> None:
    async def use(client: Client, queue: str) -> BaseException | None:
        id = uuid4().hex
        await client.execute_workflow("Caller", 1, id=id, task_queue=queue)
        history = await client.get_workflow_handle(id).fetch_history()
        found = await Replayer(workflows=WORKFLOWS).replay_workflow(history)
        return found.replay_failure

    assert on_worker(temporal, use) is None


def test_the_time_limit_of_a_call_is_a_fault(temporal: Temporal) -> None:
    async def use(client: Client, queue: str) -> str:
        found: str = await client.execute_workflow("Hasty", 1, id=uuid4().hex, task_queue=queue)
        return found

    assert "its deadline passed" in on_worker(temporal, use)


def test_who_cancels_the_workflow_cancels_the_call(temporal: Temporal, tmp_path: Path) -> None:
    def is_held() -> bool:
        return len(noted(tmp_path)) == 1

    async def use(client: Client, queue: str) -> None:
        id = uuid4().hex
        handle: WorkflowHandle[object, object] = await client.start_workflow(
            "Waiter", str(tmp_path), id=id, task_queue=queue
        )
        await asyncio.to_thread(until, is_held, within=120, otherwise=lambda: "it is not run")
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as ended:
            await handle.result()
        assert isinstance(ended.value.cause, CancelledError)

    on_worker(temporal, use)
    until(lambda: "cancelled" in noted(tmp_path), within=120, otherwise=lambda: "it runs on")
