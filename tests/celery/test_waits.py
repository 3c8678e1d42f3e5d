"""Any number of waits for outcomes share few connections, and leave some for other requests."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from redis import Redis
from returns.result import Success

from onward import (
    Catalog,
    Unavailable,
    aio,
    cancel,
    result,
    results,
    run,
    status,
    submit,
    submit_all,
    task,
)
from onward.backends.celery import celery
from onward.backends.celery.backend import CeleryBackend
from tests.engines.process import until
from tests.engines.valkey import Valkey

FEW = 40
"""More connections than a client and a worker with few threads need."""


@task
def hold(gate: str) -> int:
    while not Path(gate).exists():
        time.sleep(0.01)
    return 1


@task
def double(n: int) -> int:
    return 2 * n


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey.start(tmp_path / "server", append_only=False) as started:
        yield started


@pytest.fixture
def backend(server: Valkey) -> Iterator[CeleryBackend]:
    with closing(celery(server.url, queue=uuid4().hex)) as made:
        yield made


COUNT = 1200


def connections(server: Valkey) -> int:
    with Redis.from_url(server.url) as client:
        return len(client.client_list())


def works_meanwhile(backend: CeleryBackend, server: Valkey) -> None:
    other = submit(double(1), on=backend).unwrap()
    assert status(other, on=backend).unwrap().state == "queued"
    assert cancel(other, on=backend) == Success(None)
    assert connections(server) < FEW


def test_thousands_of_waits_share_few_connections(backend: CeleryBackend, server: Valkey) -> None:
    refs = submit_all([double(n) for n in range(COUNT)], on=backend).unwrap()

    def all_of_them() -> list[int]:
        return sorted(found.unwrap() for _, found in results(refs, on=backend, timeout=120))

    async def each_by_a_task() -> list[int]:
        waits = [aio.result(ref, on=backend, timeout=120) for ref in refs[: COUNT // 2]]
        return [found.unwrap() for found in await asyncio.gather(*waits)]

    with ThreadPoolExecutor(202) as pool:
        by_results = pool.submit(all_of_them)
        by_tasks = pool.submit(lambda: asyncio.run(each_by_a_task()))
        by_threads = [pool.submit(result, ref, on=backend, timeout=120) for ref in refs[:200]]
        until(
            lambda: len(backend.ledger._waiters._by_id) == COUNT,  # type: ignore[attr-defined]  # ours
            within=120,
            otherwise=lambda: "not all wait",
        )
        works_meanwhile(backend, server)
        worker = backend.serve(Catalog(double), concurrency=4).unwrap()
        assert by_results.result(120) == [2 * n for n in range(COUNT)]
        assert by_tasks.result(120) == [2 * n for n in range(COUNT // 2)]
        assert [each.result(120) for each in by_threads] == [Success(2 * n) for n in range(200)]
    worker.stop()


def test_a_wait_finds_an_outcome_that_was_not_published(
    backend: CeleryBackend, server: Valkey
) -> None:
    """A worker may be older, or may lack the permission to publish."""
    ref = submit(double(1), on=backend).unwrap()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(result, ref, on=backend, timeout=60)
        with Redis.from_url(server.url) as client:
            until(
                lambda: client.hdel(f"onward:{ref.id}", "listeners") == 1,
                within=120,
                otherwise=lambda: "nobody listens",
            )
        cancel(ref, on=backend).unwrap()
        assert "it was cancelled" in str(waiting.result(60).failure())


def test_a_wait_ends_when_the_backend_is_closed(server: Valkey) -> None:
    backend = celery(server.url, queue=uuid4().hex)
    ref = submit(double(1), on=backend).unwrap()
    waits = [
        lambda: result(ref, on=backend),
        lambda: result(ref, on=backend, timeout=120),
        lambda: next(iter(results([ref, double.ref("1" * 32)], on=backend)))[1],
        lambda: asyncio.run(aio.result(ref, on=backend)),
    ]
    with ThreadPoolExecutor(len(waits)) as pool:
        waiting = [pool.submit(wait) for wait in waits]
        until(
            lambda: len(backend.ledger._waiters._by_id.get(ref.id, ())) >= 3,  # type: ignore[attr-defined]  # ours
            within=120,
            otherwise=lambda: "not all wait",
        )
        backend.close()
        for each in waiting:
            found = each.result(30)
            assert found.failure() is not None
    for answer in (submit(double(1), on=backend), status(ref, on=backend), cancel(ref, on=backend)):
        assert isinstance(answer.failure(), Unavailable)
        assert "the backend was closed. Connect again" in str(answer.failure())


def test_the_thread_that_listens_ends_with_the_backend(server: Valkey) -> None:
    with closing(celery(server.url, queue=uuid4().hex)) as backend:
        worker = backend.serve(Catalog(double)).unwrap()
        assert run(double(1), on=backend, timeout=120) == Success(2)
        assert any(thread.name == "onward-outcomes" for thread in threading.enumerate())
        worker.stop()
    until(
        lambda: not any(thread.name == "onward-outcomes" for thread in threading.enumerate()),
        within=120,
        otherwise=lambda: "the thread is still alive",
    )
