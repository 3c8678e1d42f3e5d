"""Celery's remote `shutdown` stops a worker after its running steps have ended."""

import threading
from contextlib import closing
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis
from returns.result import Success

from onward import Catalog, result, submit, task, work
from onward.backends.celery import celery
from tests.engines.process import until
from tests.engines.valkey import Valkey

BEGUN, LET_GO = threading.Event(), threading.Event()


@task
def hold(n: int) -> int:
    BEGUN.set()
    LET_GO.wait(20)
    return n


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_a_worker_that_is_shut_down_first_ends_its_steps(
    broker: str, request: pytest.FixtureRequest, valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    server: Any = valkey if broker == "redis" else request.getfixturevalue("rabbitmq")
    BEGUN.clear()
    LET_GO.clear()
    ended: list[object] = []
    with closing(celery(server.url, valkey.url, queue=uuid4().hex)) as backend:
        serving = threading.Thread(
            target=lambda: ended.append(work(Catalog(hold), on=backend)), daemon=True
        )
        serving.start()
        ref = submit(hold(7), on=backend).unwrap()
        assert BEGUN.wait(20)
        [worker] = backend.diagnose().unwrap().workers
        backend.app.control.shutdown(destination=[worker.name])
        until(lambda: "shutdown" in caplog.text, within=120, otherwise=lambda: caplog.text)
        LET_GO.set()
        assert result(ref, on=backend, timeout=120) == Success(7)
        serving.join(20)
        assert ended == [Success(None)]
        assert backend.diagnose().unwrap().workers == ()


def test_a_worker_that_stops_waits_for_no_further_message(valkey: Valkey) -> None:
    """It has Redis answer at once, where that would tell a second later that none has come."""
    with Redis.from_url(valkey.url) as client:

        def unblocked() -> int:
            stats: Any = client.info("commandstats").get("cmdstat_client|unblock", {})
            return int(stats.get("calls", 0))

        def is_unblocked() -> bool:
            before = unblocked()
            with closing(celery(valkey.url, queue=uuid4().hex)) as backend:
                backend.serve(Catalog(hold)).unwrap().stop()
            return unblocked() > before

        # Stopped very soon, it does not wait for a message yet.
        assert any(is_unblocked() for _ in range(20))
