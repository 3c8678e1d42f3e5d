"""Due times follow the ledger's clock, even if the clocks of clients and workers are wrong."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from redis import Redis
from returns.result import Success

from onward import result, submit
from onward.backends.celery import celery, reconcile
from onward.backends.celery.backend import CeleryBackend
from onward.fault import Lost
from tests.engines.clocks import clocks_ahead, environment
from tests.engines.process import Process
from tests.faults.celery_storm import onward_workers
from tests.faults.served import step

pytestmark = pytest.mark.faults

OFF = 600
"""How wrong a clock is, in seconds."""


@pytest.fixture
def client(redis: str) -> Iterator[CeleryBackend]:
    with closing(celery(redis, lease=1.0)) as made:
        yield made


@pytest.mark.parametrize("off", [OFF, -OFF])
def test_wrong_clocks_of_clients_and_workers_neither_delay_nor_expire_calls(
    off: int, redis: str, client: CeleryBackend, tmp_path: Path
) -> None:
    """The client is ahead and the worker behind, which would delay; or the other way round."""
    program = f"""
from onward import submit
from onward.backends.celery import celery
from tests.faults.served import chain, step, stumble
backend = celery({redis!r}, lease=1.0)
print(submit(chain(1), on=backend).unwrap().id)
print(submit(step(3), on=backend, delay=1.0).unwrap().id)
print(submit(step(3), on=backend, deadline=60.0).unwrap().id)
print(submit((step >> stumble)(3), on=backend).unwrap().id)
backend.close()
"""
    try:
        wrong = environment(off)
        stack = ExitStack()
        stack.enter_context(clocks_ahead(-off))
    except FileNotFoundError as problem:
        pytest.skip(str(problem))
    with stack:
        start = time.monotonic()
        with Process(
            [sys.executable, "-c", program], log=tmp_path / "log", environment=wrong
        ) as process:
            assert process.wait(30) == 0, process.tail()
            ids = process.tail().split()
        with onward_workers(tmp_path, redis, workers=1) as workers:
            found = [result(step.ref(id), on=client, timeout=120) for id in ids]
            assert found == [Success(4)] * 4, workers.tail()
        assert time.monotonic() - start >= 1.0


def test_an_old_signed_plan_that_is_put_back_into_the_ledger_does_not_run(redis: str) -> None:
    with (
        closing(celery(redis, lease=1.0, signing_keys=[b"k" * 32])) as client,
        Redis.from_url(redis) as there,
    ):
        assert client.signer is not None
        client.signer.lifetime = 1.0
        id = submit(step(1), on=client).unwrap().id
        there.delete(*there.keys("onward\x06*"))
        time.sleep(2.1)  # it is about age
        assert reconcile(client, patience=0) == []
        found = result(step.ref(id), on=client, timeout=120).failure()
        assert isinstance(found, Lost)
        assert "signature" in found.message
