"""What can be found out about a server and its workers."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

from returns.result import Success
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from onward import Catalog, run
from onward.backend import Diagnosis
from onward.backend.loop import LoopThread
from onward.backends.temporal import TemporalBackend
from onward.backends.temporal import temporal as temporal_at
from tests.engines.process import until
from tests.engines.server import HOST
from tests.temporal.conftest import Older, working
from tests.temporal.sdk import Sdk
from tests.temporal.served import catalog, inc, place


@contextmanager
def foreign_worker(address: str, queue: str) -> Generator[None]:
    """A worker that is not Onward's, and knows none of its activities."""
    thread = LoopThread("foreign")

    async def start() -> tuple[Worker, asyncio.Task[None]]:
        client = await Client.connect(address, identity="foreign")
        worker = Worker(client, task_queue=queue, activities=[known])
        return worker, asyncio.create_task(worker.run())

    async def stop(worker: Worker, running: asyncio.Task[None]) -> None:
        await worker.shutdown()
        await running

    worker, running = thread.call(start)
    try:
        yield
    finally:
        thread.call(lambda: stop(worker, running))
        thread.close()


@activity.defn
async def known(of: str) -> str:
    return of


def look(backend: TemporalBackend) -> Diagnosis:
    return backend.diagnose().unwrap()


def seen_on(backend: TemporalBackend, *, workers: int) -> dict[str, frozenset[str] | None]:
    """Waits until so many workers are found; returns the tasks of each."""
    until(
        lambda: len(look(backend).workers) == workers,
        within=120,
        otherwise=lambda: str(look(backend)),
    )
    return {worker.name: worker.tasks for worker in look(backend).workers}


def test_the_diagnosis_has_the_tasks_of_each_worker(
    workerless: TemporalBackend, tmp_path: Path
) -> None:
    some = workerless.serve(Catalog(inc, place)).unwrap()
    with working(workerless, tmp_path) as other:
        seen = seen_on(workerless, workers=2)
    some.stop(0)
    assert seen == {
        f"{os.getpid()}@{platform.node()}": frozenset({"inc", "place"}),
        f"{other.pid}@{platform.node()}": frozenset({*catalog.tasks, "unserved"}),
    }


def test_a_second_diagnosis_soon_after_does_not_ask_the_workers_again(
    workerless: TemporalBackend,
) -> None:
    worker = workerless.serve(Catalog(inc)).unwrap()
    seen = seen_on(workerless, workers=1)
    worker.stop(0)
    assert [each.tasks for each in look(workerless).workers] == list(seen.values())


def test_the_tasks_of_a_foreign_worker_are_unknown(workerless: TemporalBackend) -> None:
    at = workerless.address
    worker = workerless.serve(Catalog(inc)).unwrap()
    with foreign_worker(at.target, at.task_queue):
        seen = seen_on(workerless, workers=2)
    worker.stop(0)
    assert seen == {f"{os.getpid()}@{platform.node()}": frozenset({"inc"}), "foreign": None}


def test_the_diagnosis_has_the_servers_clock_even_without_workers(
    workerless: TemporalBackend,
) -> None:
    seen = look(workerless)
    assert seen.workers == ()
    assert seen.clock is not None
    assert abs(seen.clock) < 1.0


def test_a_diagnosis_leaves_nothing_behind(workerless: TemporalBackend, sdk: Sdk) -> None:
    worker = workerless.serve(Catalog(inc)).unwrap()
    assert list(seen_on(workerless, workers=1).values()) == [frozenset({"inc"})]
    assert run(inc(1), on=workerless) == Success(2)
    worker.stop(0)

    async def left(client: Client) -> list[str]:
        query = f"TaskQueue = '{workerless.address.task_queue}'"
        return [each.activity_type async for each in client.list_activities(query)]

    until(lambda: sdk.run(left) == ["inc"], within=120, otherwise=lambda: f"it has {sdk.run(left)}")


def test_on_an_older_server_the_workers_are_known_without_their_tasks(older: Older) -> None:
    with closing(temporal_at(HOST, older.port, task_queue=uuid4().hex)) as backend:
        worker = backend.serve(Catalog(inc)).unwrap()
        seen = seen_on(backend, workers=1)
        clock = look(backend).clock
        worker.stop(0)
    assert list(seen.values()) == [None]
    assert clock is None
