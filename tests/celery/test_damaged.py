"""If another program damages a call's record in the ledger, the interpreters return faults."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from uuid import uuid4

import pytest
from redis import Redis
from returns.result import Result

from onward import Fault, TimedOut, aio, cancel, result, results, status, submit, task
from onward.backends.celery import celery
from onward.backends.celery.backend import CeleryBackend
from tests.engines.valkey import Valkey

Spoil = Callable[["Redis", str], object]


@task
def double(n: int) -> int:
    return 2 * n


@pytest.fixture
def backend(valkey: Valkey) -> Iterator[CeleryBackend]:
    with closing(celery(valkey.url, queue=uuid4().hex)) as made:
        yield made


def field(**fields: bytes) -> Spoil:
    return lambda redis, key: [redis.hset(key, name, value) for name, value in fields.items()]


ENDS: dict[str, Spoil] = {
    "an end without an outcome": field(end=b"done"),
    "an end that is not a text, without an outcome": field(end=b"\xff\xfe"),
    "an invalid outcome": field(end=b"done", outcome=b"{"),
    "an outcome that is not a text": field(end=b"done", outcome=b"\xff\xfe\x00"),
    "another type": lambda redis, key: redis.delete(key) and redis.set(key, "text"),
    "a list": lambda redis, key: redis.delete(key) and redis.rpush(key, "text"),
    "no plan": lambda redis, key: redis.hdel(key, "plan") and redis.hset(key, "task", "double"),
}
"""Damage that ends a wait with a fault."""

GOES_ON: dict[str, Spoil] = {
    "an invalid progress": field(progress=b"much"),
    "a progress without numbers": field(progress=b"a b c"),
    "a progress that is not a text": field(progress=b"1 2 \xff"),
    "an invalid attempt": field(task=b"double", attempt=b"first"),
    "a task that is not a text": field(task=b"\xff\xfe"),
    "a field that is not a text": lambda redis, key: redis.hset(key, b"\xff\xfe", b"\xff"),
    "an invalid plan": field(plan=b"{"),
    "a plan that is not a text": field(plan=b"\xff\xfe"),
}
"""Damage during which a wait goes on until its timeout."""


@pytest.mark.parametrize("damage", [*ENDS, *GOES_ON])
def test_a_damaged_record_is_a_fault_and_not_an_exception(
    damage: str, backend: CeleryBackend, valkey: Valkey
) -> None:
    key = uuid4().hex
    ref = submit(double(1), on=backend, key=key).unwrap()
    with Redis.from_url(valkey.url) as client:
        (ENDS | GOES_ON)[damage](client, f"onward:{ref.id}")
    ends: list[Result[object, object]] = [
        result(ref, on=backend, timeout=0.2),
        asyncio.run(aio.result(ref, on=backend, timeout=0.2)),
        *(found for _, found in results([ref], on=backend, timeout=0.2)),
    ]
    for end in ends:
        fault = end.failure()
        assert isinstance(fault, Fault)
        assert isinstance(fault, TimedOut) == (damage in GOES_ON), fault
    answers: list[Result[object, object]] = [
        submit(double(1), on=backend, key=key),
        status(ref, on=backend),
        cancel(ref, on=backend),
        asyncio.run(aio.status(ref, on=backend)),
        status(ref, on=backend),
    ]
    assert all(isinstance(answer, Result) for answer in answers)


def test_a_damaged_call_does_not_disturb_a_wait_for_another_call(
    backend: CeleryBackend, valkey: Valkey
) -> None:
    one, other = (submit(double(n), on=backend).unwrap() for n in range(2))
    with Redis.from_url(valkey.url) as client:
        client.delete(f"onward:{one.id}")
        client.set(f"onward:{one.id}", "text")
    cancel(other, on=backend).unwrap()
    found = dict(results([one, other], on=backend, timeout=120))
    assert "damaged" in str(found[one].failure())
    assert "annotation" not in str(found[one].failure())
    assert "it was cancelled" in str(found[other].failure())
