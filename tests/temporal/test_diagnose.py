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
    """A worker that is none of Onward's, and knows no activity of ours."""
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
    """What each worker serves, once so many have been heard of."""
    until(
        lambda: len(look(backend).workers) == workers,
        within=30,
        otherwise=lambda: str(look(backend)),
    )
    return {worker.name: worker.tasks for worker in look(backend).workers}


def test_each_worker_tells_which_tasks_it_serves(lonely: TemporalBackend, tmp_path: Path) -> None:
    some = lonely.serve(Catalog(inc, place)).unwrap()
    with working(lonely, tmp_path) as other:
        seen = seen_on(lonely, workers=2)
    some.stop(0)
    assert seen == {
        f"{os.getpid()}@{platform.node()}": frozenset({"inc", "place"}),
        f"{other.pid}@{platform.node()}": frozenset({*catalog.tasks, "unserved"}),
    }


def test_who_looks_again_soon_does_not_ask_workers_again(lonely: TemporalBackend) -> None:
    worker = lonely.serve(Catalog(inc)).unwrap()
    seen = seen_on(lonely, workers=1)
    worker.stop(0)
    assert [each.tasks for each in look(lonely).workers] == list(seen.values())


def test_of_a_worker_that_is_none_of_ours_it_is_not_known(lonely: TemporalBackend) -> None:
    at = lonely._address
    worker = lonely.serve(Catalog(inc)).unwrap()
    with foreign_worker(at.target, at.task_queue):
        seen = seen_on(lonely, workers=2)
    worker.stop(0)
    assert seen == {f"{os.getpid()}@{platform.node()}": frozenset({"inc"}), "foreign": None}


def test_the_server_s_clock_is_told_even_if_nobody_works_there(lonely: TemporalBackend) -> None:
    seen = look(lonely)
    assert seen.workers == ()
    assert seen.clock is not None
    assert abs(seen.clock) < 1.0


def test_to_look_leaves_nothing_behind(lonely: TemporalBackend, sdk: Sdk) -> None:
    worker = lonely.serve(Catalog(inc)).unwrap()
    assert list(seen_on(lonely, workers=1).values()) == [frozenset({"inc"})]
    assert run(inc(1), on=lonely) == Success(2)
    worker.stop(0)

    async def left(client: Client) -> list[str]:
        query = f"TaskQueue = '{lonely._address.task_queue}'"
        return [each.activity_type async for each in client.list_activities(query)]

    until(lambda: sdk.ask(left) == ["inc"], within=30, otherwise=lambda: f"it has {sdk.ask(left)}")


def test_a_server_that_cannot_ask_workers_still_tells_who_they_are(older: Older) -> None:
    with closing(temporal_at(HOST, older.port, task_queue=uuid4().hex)) as backend:
        worker = backend.serve(Catalog(inc)).unwrap()
        seen = seen_on(backend, workers=1)
        clock = look(backend).clock
        worker.stop(0)
    assert list(seen.values()) == [None]
    assert clock is None
