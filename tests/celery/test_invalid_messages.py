"""After an invalid message in the queue, a worker runs the calls that follow."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis
from returns.result import Success

from onward import Catalog, run, submit, task
from onward.backends.celery import celery
from onward.backends.celery.backend import CeleryBackend
from tests.engines.valkey import Valkey

QUEUE = "nonsense"


@task
def double(n: int) -> int:
    return 2 * n


@pytest.fixture
def backend(valkey: Valkey) -> Iterator[CeleryBackend]:
    backend = celery(valkey.url, queue=QUEUE)
    yield backend
    backend.close()


def header(name: str, value: object) -> Callable[[Any], object]:
    return lambda message: message | {"headers": message["headers"] | {name: value}}


def field(name: str, value: object) -> Callable[[Any], object]:
    return lambda message: message | {name: value}


@pytest.mark.parametrize(
    "spoil",
    [
        header("task", 5),
        header("task", None),
        header("task", ["double"]),
        header("task", {"name": "double"}),
        header("timelimit", "long"),
        header("retries", "many"),
        header("eta", 7),
        header("id", None),
        field("headers", "none"),
        field("headers", {}),
        field("body", "???"),
        field("body", 7),
        field("content-type", "application/x-unheard-of"),
        field("content-encoding", "unheard-of"),
        lambda _: [],
        lambda _: "a text",
    ],
)
def test_an_invalid_message_does_not_block_the_calls_after_it(
    spoil: Callable[[Any], object], backend: CeleryBackend, valkey: Valkey
) -> None:
    submit(double(1), on=backend).unwrap()
    redis: Any = Redis.from_url(valkey.url)
    queue = f"{QUEUE}\x06\x165"  # Celery's name for the queue of priority 5
    redis.lpush(queue, json.dumps(spoil(json.loads(redis.lpop(queue)))))
    redis.close()
    worker = backend.serve(Catalog(double)).unwrap()
    try:
        assert run(double(21), on=backend, timeout=120) == Success(42)
    finally:
        worker.stop()
