"""A server that keeps its connections open but does not answer."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from returns.result import Success

from onward import Catalog, current, progress, result, submit, task
from onward.backends.celery import celery
from tests.engines.rabbitmq import RabbitMQ
from tests.engines.valkey import Valkey

pytestmark = pytest.mark.faults

SAID = threading.Event()
BEGUN = threading.Event()
ASKED = threading.Event()
TICKED = threading.Event()
FROZEN = threading.Event()
THAWED = threading.Event()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey.start(tmp_path, append_only=False) as started:
        yield started


@task
async def talker(n: int) -> int:
    while not THAWED.is_set():
        progress(n, 10, "talking")
        _ = current().cancelled
        if FROZEN.is_set():
            ASKED.set()
        SAID.set()
        await asyncio.sleep(0.01)
    progress(n + 1, 10, "done")
    return n


@task
async def ticker() -> None:
    BEGUN.set()
    while not TICKED.is_set():
        if ASKED.is_set():  # so this step runs although the other one talks to a frozen server
            TICKED.set()
        await asyncio.sleep(0.01)


def test_an_async_step_that_reports_progress_does_not_block_another_one(server: Valkey) -> None:
    with closing(celery(server.url, lease=2.0)) as backend:
        worker = backend.serve(Catalog(talker, ticker)).unwrap()
        refs = submit(talker(3), on=backend).unwrap(), submit(ticker(), on=backend).unwrap()
        assert SAID.wait(30)
        assert BEGUN.wait(30)
        server.pause()
        try:
            FROZEN.set()
            assert TICKED.wait(30), "the loop of the async steps waits for Redis"
        finally:
            server.resume()
            THAWED.set()
        assert result(refs[0], on=backend, timeout=120) == Success(3)
        assert result(refs[1], on=backend, timeout=120) == Success(None)
        worker.stop()


@task
def double(n: int) -> int:
    return 2 * n


@pytest.mark.long
@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_after_40_s_without_an_answer_all_is_settled_soon(
    broker: str, valkey: Valkey, tmp_path: Path
) -> None:
    """Within two leases and ten seconds, with the default timeouts."""
    lease = 2.0
    frozen: Valkey | RabbitMQ = (Valkey if broker == "redis" else RabbitMQ).start(tmp_path / "it")
    ledger = frozen.url if broker == "redis" else valkey.url
    queue = uuid4().hex
    with frozen, closing(celery(frozen.url, ledger, queue=queue, lease=lease)) as backend:
        worker = backend.serve(Catalog(double), concurrency=4).unwrap()
        flow = double >> double >> double
        refs = [submit(flow(n), on=backend).unwrap() for n in range(50)]
        frozen.pause()
        time.sleep(40)
        frozen.resume()
        thawed = time.monotonic()
        for n, ref in enumerate(refs):
            left = thawed + 2 * lease + 10 - time.monotonic()
            assert result(ref, on=backend, timeout=max(left, 0.1)) == Success(8 * n)
        worker.stop()
