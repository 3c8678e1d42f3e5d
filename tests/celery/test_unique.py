"""Calls that share a key, where workers and submitters die, and with signed records."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from returns.result import Success

from onward import Catalog, result, status, submit, task
from onward.backends.celery import celery
from onward.backends.celery.backend import CeleryBackend
from tests.engines.valkey import Valkey
from tests.faults import unique

PATIENCE = 120.0


@task
def inc(n: int) -> int:
    return n + 1


CATALOG = Catalog(inc)


@pytest.fixture
def url(valkey: Valkey, ledger: Any) -> str:
    return f"{valkey.url.rpartition('/')[0]}/14"


@pytest.mark.parametrize("kind", ["redis", pytest.param("rabbitmq", marks=pytest.mark.long)])
def test_submitters_and_workers_that_are_killed_lose_nothing(
    kind: str, request: pytest.FixtureRequest, url: str, tmp_path: Path
) -> None:
    queue = uuid4().hex
    broker = url if kind == "redis" else request.getfixturevalue("rabbitmq").url
    with closing(celery(broker, url, queue=queue, lease=1.0)) as backend:
        program = (
            "from onward.backends.celery import celery; "
            f"backend = celery({broker!r}, {url!r}, queue={queue!r}, lease=1.0)"
        )
        unique.storm(tmp_path, program, backend)


@pytest.mark.long
def test_the_last_arguments_run_whoever_submits_at_once(client: CeleryBackend) -> None:
    worker = client.serve(Catalog(unique.lasting)).unwrap()
    unique.contend(client, seconds=10.0)
    worker.stop()


def test_a_call_whose_sender_died_is_sent_by_another_worker(client: CeleryBackend) -> None:
    first = submit(inc(1), on=client, unique="k", debounce=0).unwrap()
    assert submit(inc(2), on=client, unique="k", debounce=0).unwrap() == first
    [entry] = client.ledger.due.claim(1.0).entries  # as a worker does that then dies
    assert entry.call == first.id
    second = submit(inc(3), on=client, unique="k", debounce=0).unwrap()
    assert submit(inc(4), on=client, unique="k", debounce=0).unwrap() == second != first
    assert submit(inc(5), on=client, unique="k").unwrap() == first
    assert status(second, on=client).unwrap().state == "queued"
    worker = client.serve(CATALOG).unwrap()
    assert result(second, on=client, timeout=PATIENCE) == Success(5)
    assert result(first, on=client, timeout=PATIENCE) == Success(3)
    worker.stop()


def test_signed_calls_are_replaced(url: str) -> None:
    with closing(celery(url, queue=uuid4().hex, signing_keys=[b"k" * 32])) as backend:
        worker = backend.serve(CATALOG).unwrap()
        ref = submit(inc(1), on=backend, unique="k", debounce=600).unwrap()
        assert submit(inc(2), on=backend, unique="k", debounce=0).unwrap() == ref
        assert result(ref, on=backend, timeout=PATIENCE) == Success(3)
        worker.stop()
