"""The messages that go to the broker, and the order in which workers receive them."""

import json
from base64 import b64decode
from collections.abc import Iterator

import pytest
from redis import Redis

from onward import Catalog, result, results, submit, submit_all, task
from onward.backends.celery import celery, lower
from onward.backends.celery.backend import CeleryBackend
from onward.backends.celery.message import Started
from onward.fault import Fault
from onward.interpret.prepare import prepare
from tests.engines.rabbitmq import RabbitMQ
from tests.engines.valkey import Valkey

ORDER: list[int] = []


@task
def note(n: int) -> int:
    ORDER.append(n)
    return n


@pytest.fixture(autouse=True)
def empty_order() -> None:
    ORDER.clear()


@pytest.fixture(params=["memory", "redis", "rabbitmq"])
def backend(request: pytest.FixtureRequest) -> Iterator[CeleryBackend]:
    if request.param == "memory":
        made = celery("memory://")
    else:
        valkey: Valkey = request.getfixturevalue("valkey")
        server: Valkey | RabbitMQ = valkey
        if request.param == "rabbitmq":
            server = request.getfixturevalue("rabbitmq")
        made = celery(server.url, valkey.url, queue=request.node.name)
    yield made
    made.close()


def test_a_worker_receives_many_calls_in_their_order(backend: CeleryBackend) -> None:
    refs = submit_all([note(n) for n in range(600)], on=backend).unwrap()
    worker = backend.serve(Catalog(note), concurrency=1).unwrap()
    found = {ref.id: found.unwrap() for ref, found in results(refs, on=backend, timeout=120)}
    worker.stop()
    assert [found[ref.id] for ref in refs] == ORDER == list(range(600))


@pytest.mark.parametrize("backend", ["redis", "rabbitmq"], indirect=True)
def test_a_worker_receives_the_most_urgent_call_first(backend: CeleryBackend) -> None:
    refs = [
        submit(note(n), on=backend, priority=priority).unwrap()
        for n, priority in enumerate([0, None, 3, 6, 9])
    ]
    worker = backend.serve(Catalog(note), concurrency=1).unwrap()
    assert [result(ref, on=backend, timeout=120).unwrap() for ref in refs] == [0, 1, 2, 3, 4]
    worker.stop()
    assert ORDER == [4, 3, 1, 2, 0]


def test_a_message_equals_the_one_that_celery_itself_sends(valkey: Valkey) -> None:
    backend = celery(valkey.url, queue="compared")
    prepared = prepare((note >> note)(1), None, 60.0, None, {"priority": 7})
    assert not isinstance(prepared, Fault)
    plan = prepared.plan
    line = backend.canvas.signature(lower.to_parts(plan), Started(plan.args))
    line.apply_async(root_id=plan.id, countdown=60.0)
    backend.publish([prepared])
    with Redis.from_url(valkey.url) as client:
        ours, celerys = map(decoded, client.lrange("compared\x06\x162", 0, -1))
    backend.close()
    assert ours == celerys


UNIQUE = {"id", "task_id", "correlation_id", "delivery_tag", "eta", "origin", "reply_to"}
EMPTY: tuple[object, ...] = (None, 0, {}, [None, None])


def decoded(raw: bytes) -> object:
    """A message without the fields that differ in every message, and without empty ones."""
    message = json.loads(raw)
    message["body"] = json.loads(b64decode(message["body"]))
    message["properties"].pop("kwargsrepr", None)  # Celery repeats it there
    return comparable(message)


def comparable(part: object) -> object:
    if isinstance(part, list):
        return [comparable(each) for each in part]
    if not isinstance(part, dict):
        return part
    return {
        key: comparable(value)
        for key, value in part.items()
        if key not in UNIQUE and value not in EMPTY
    }
