"""After `keep`, Redis has no key of Onward's calls, however they ended and were waited for."""

from __future__ import annotations

import asyncio
import json
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis
from returns.result import Failure, Result

from onward import (
    Call,
    Catalog,
    Constant,
    Fault,
    Ref,
    Retry,
    Signal,
    aio,
    awaits,
    cancel,
    each,
    fused,
    result,
    results,
    send,
    sleep,
    status,
    submit,
    submit_all,
    task,
    together,
)
from onward.backends.celery import celery
from onward.backends.celery.backend import CeleryBackend
from onward.backends.celery.cells import LEADER
from tests.engines.process import until
from tests.engines.valkey import Valkey

KEEP = 2.0
GO = Signal("go", int)


@task
def inc(n: int) -> int:
    return n + 1


@task
def breaks(n: int) -> int:
    raise ValueError(n)


@task
def refuses(n: int) -> Result[int, str]:
    return Failure(str(n))


@task(timeout=0.1)
def sleeps(n: int) -> int:
    threading.Event().wait(0.3)
    return n


@task(retry=Retry(attempts=2, backoff=Constant(0.1)))
def stumbles(n: int) -> int:
    raise OSError(n)


@task
def mends(fault: Fault) -> int:
    return 0


@task
def dawdles(n: int) -> int:
    threading.Event().wait(0.5)
    return n


@task
def unserved(n: int) -> int:
    return n


@task
def first(pair: tuple[int, int]) -> int:
    return pair[0]


@task
def add_up(ns: list[int]) -> int:
    return sum(ns)


CATALOG = Catalog(inc, breaks, refuses, sleeps, stumbles, mends, dawdles, first, add_up)

CALLS: dict[str, Call[Any, Any]] = {
    "one": inc(1),
    "chain": (inc >> inc >> inc)(1),
    "together": (together(inc, inc >> inc) >> first)(1),
    "each": (each(inc) >> add_up)([1, 2, 3]),
    "each of none": (each(inc) >> add_up)([]),
    "each with a limit": (each(inc, limit=2) >> add_up)([1, 2, 3, 4, 5]),
    "chunks": (each(inc, chunk=2) >> add_up)([1, 2, 3]),
    "nested": (each(each(inc) >> add_up) >> add_up)([[1], [2, 3]]),
    "rescue": (breaks.rescue(mends) >> inc)(1),
    "rescue of a fan-out": ((each(breaks) >> add_up).rescue(mends) >> inc)([1, 2]),
    "fused": fused(inc >> inc)(1),
    "raised": (inc >> breaks >> inc)(1),
    "raised in a fan-out": (each(inc >> breaks >> inc) >> add_up)([1, 2]),
    "refused": (refuses >> inc)(1),
    "timed out": (sleeps >> inc)(1),
    "retried": (stumbles >> inc)(1),
    "a sleep": (inc >> sleep(0.1) >> inc)(1),
    "sleeps in a fan-out": (each(sleep(0.1) >> inc) >> add_up)([1, 2]),
    "a wait that times out": (inc >> awaits(GO, timeout=0.1) >> inc)(1),
    "unknown": (inc >> unserved)(1),
}


@pytest.fixture(scope="module")
def redis(valkey: Valkey) -> Iterator[Any]:
    with Redis.from_url(f"{valkey.url.rpartition('/')[0]}/12") as redis:
        redis.flushdb()
        yield redis


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def backend(request: pytest.FixtureRequest, valkey: Valkey, redis: Any) -> Iterator[CeleryBackend]:
    ledger = f"{valkey.url.rpartition('/')[0]}/12"
    broker = ledger if request.param == "redis" else request.getfixturevalue("rabbitmq").url
    backend = celery(broker, ledger, queue=uuid4().hex, keep=KEEP, lease=1, dead_letters=10)
    with closing(backend):
        worker = backend.serve(CATALOG, concurrency=6).unwrap()
        yield backend
        worker.stop()


OTHERS = ("_kombu.", "unacked_mutex", "onward:looks", LEADER)


def left(redis: Any) -> set[str]:
    """The keys of calls, without kombu's of queues, `onward:looks`, and the leader's name."""
    keys = {key.decode(errors="replace") for key in redis.scan_iter()}
    return {key for key in keys if not key.startswith(OTHERS)}


def assert_none_left(redis: Any) -> None:
    def ttls() -> str:
        return str({key: redis.ttl(key) for key in left(redis)})

    until(lambda: not left(redis), within=120, otherwise=ttls)


def test_no_key_is_left_of_calls_that_were_waited_for(backend: CeleryBackend, redis: Any) -> None:
    calls = list(CALLS.values())
    for call in calls:
        result(submit(call, on=backend).unwrap(), on=backend, timeout=30)
    refs = submit_all([call for call in calls for _ in range(2)], on=backend).unwrap()
    assert len(list(results(refs, on=backend, timeout=120))) == len(refs)
    alone = [submit(call, on=backend).unwrap() for call in calls]
    for ref in alone:
        list(results([ref], on=backend, timeout=120))

    async def wait(refs: list[Ref[Any]]) -> None:
        await asyncio.gather(*(aio.result(ref, on=backend, timeout=120) for ref in refs))

    asyncio.run(wait([submit(call, on=backend).unwrap() for call in calls]))
    assert_none_left(redis)


def test_no_key_is_left_of_calls_that_end_in_other_ways(backend: CeleryBackend, redis: Any) -> None:
    slow = (each(dawdles) >> add_up)([1, 2, 3])
    refs = [submit(slow, on=backend).unwrap() for _ in range(2)]
    refs.append(submit(slow, on=backend, deadline=0.1).unwrap())
    refs.append(submit(inc(1), on=backend, delay=3).unwrap())
    refs.append(submit(inc(1), on=backend, key="same").unwrap())
    refs.append(submit(inc(1), on=backend, key="same").unwrap())
    for n in range(3):
        refs.append(submit(slow, on=backend, unique="u").unwrap())
        refs.append(submit(slow, on=backend, unique="u", debounce=0, deadline=60).unwrap())
        refs.append(submit(inc(n), on=backend, unique="u", debounce=0.1).unwrap())
    list(results(refs, on=backend, timeout=0.1))
    approved = submit((inc >> awaits(GO) >> inc)(1), on=backend).unwrap()
    send(approved, GO, 1, on=backend).unwrap()
    refs.append(submit((each(awaits(GO)) >> add_up)([1, 2]), on=backend).unwrap())
    refs.append(submit((inc >> sleep(60))(1), on=backend).unwrap())
    for ref in (refs[0], refs[3], *refs[-2:]):
        cancel(ref, on=backend).unwrap()
    refs.append(approved)
    for ref in refs:
        status(ref, on=backend)
        result(ref, on=backend, timeout=120)
    backend.app.control.revoke(refs[0].id)
    gone = [submit(inc(1), on=backend).unwrap() for _ in range(2)]
    assert len(list(results(gone, on=backend, timeout=120))) == 2
    threading.Event().wait(KEEP + 1)
    for ref in gone:  # their records have expired
        result(ref, on=backend, timeout=0.1)
        cancel(ref, on=backend)
    assert_none_left(redis)


def test_refused_messages_are_kept_as_long_as_outcomes(backend: CeleryBackend, redis: Any) -> None:
    if not backend.app.conf.broker_url.startswith("redis"):
        pytest.skip("the same for both")
    for number in range(30):
        redis.lpush(backend.queue, f"nonsense {number}")
    until(
        lambda: b'"size": 11' in (redis.lindex("onward:dead_letters", 0) or b""),
        within=120,
        otherwise=lambda: str(left(redis)),
    )
    until(
        lambda: "bm9uc2Vuc2UgMjk=" in str(redis.lindex("onward:dead_letters", 0)),
        within=120,
        otherwise=lambda: str(redis.lrange("onward:dead_letters", 0, -1)),
    )
    kept = [json.loads(each) for each in redis.lrange("onward:dead_letters", 0, -1)]
    assert [b64decode(each["message"]) for each in kept] == [
        b"nonsense %d" % number for number in range(29, 19, -1)
    ]
    assert {each["queue"] for each in kept} == {backend.queue}
    assert_none_left(redis)
