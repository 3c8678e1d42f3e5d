"""Delayed calls and long backoffs wait in the ledger: no worker and no queue holds a message."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis
from returns.result import Success

from onward import (
    Catalog,
    Constant,
    Retry,
    cancel,
    each,
    result,
    submit,
    task,
    together,
)
from onward.backends.celery import celery
from onward.backends.celery.backend import CeleryBackend
from onward.backends.celery.publisher import send_due
from onward.backends.celery.reconciler import reconcile
from onward.fault import Cancelled, Expired
from tests.engines.process import until
from tests.engines.valkey import Valkey

RUNS: list[str] = []


@task
def inc(n: int) -> int:
    return n + 1


@task
def add_up(ns: list[int]) -> int:
    return sum(ns)


@task(retry=Retry(attempts=2, backoff=Constant(1.1)))
def stumbles(name: str) -> int:
    RUNS.append(name)
    if RUNS.count(name) == 1:
        raise OSError(name)
    return 41


@task(retry=Retry(attempts=2, backoff=Constant(60.0)))
def gives_up(name: str) -> int:
    RUNS.append(name)
    raise OSError(name)


@task
def shout(text: str) -> str:
    return text.upper()


CATALOG = Catalog(inc, add_up, stumbles, gives_up, shout)


Make = Callable[[], CeleryBackend]


@pytest.fixture(params=["redis", "rabbitmq"])
def make(request: pytest.FixtureRequest, valkey: Valkey) -> Make:
    """Makes a backend, as each process does."""
    ledger = f"{valkey.url.rpartition('/')[0]}/11"
    with Redis.from_url(ledger) as redis:
        redis.flushdb()
    broker = ledger if request.param == "redis" else request.getfixturevalue("rabbitmq").url
    return partial(celery, broker, ledger, queue=uuid4().hex, lease=1.0)


@pytest.fixture
def backend(make: Make) -> Iterator[CeleryBackend]:
    with closing(make()) as made:
        yield made


@pytest.fixture
def redis(backend: CeleryBackend) -> Iterator[Any]:
    """A client of the ledger."""
    with Redis.from_url(backend.app.conf.result_backend) as client:
        yield client


@contextmanager
def working(make: Make, *queues: str) -> Iterator[None]:
    with closing(make()) as backend:
        worker = backend.serve(CATALOG, queues=[backend.queue, *queues]).unwrap()
        try:
            yield
        finally:
            worker.stop()


def waits(redis: Any, count: int) -> None:
    """Waits until so many entries are due later."""
    until(
        lambda: redis.zcard("onward:due") == count,
        within=20,
        otherwise=lambda: str(redis.zrange("onward:due", 0, -1, withscores=True)),
    )


def ended(redis: Any, id: str, end: str) -> None:
    """Waits until the ledger says that a call has ended so, without asking as a client does."""
    until(
        lambda: (redis.hget(f"onward:{id}", "end") or b"").decode() == end,
        within=20,
        otherwise=lambda: str(redis.hgetall(f"onward:{id}")),
    )


def test_a_delayed_call_waits_in_the_ledger_alone(
    make: Make, backend: CeleryBackend, redis: Any
) -> None:
    one = submit(inc(1), on=backend, delay=0.3).unwrap()
    chain = submit((inc >> inc)(1), on=backend, delay=0.3).unwrap()
    fan = submit((each(inc) >> add_up)([1, 2]), on=backend, delay=0.3).unwrap()
    assert redis.zcard("onward:due") == 3
    assert redis.keys("onward:sent:*") == []
    with working(make):
        assert result(one, on=backend, timeout=20) == Success(2)
        assert result(chain, on=backend, timeout=20) == Success(3)
        assert result(fan, on=backend, timeout=20) == Success(5)
    assert redis.zcard("onward:due") == 0


def test_nothing_is_left_of_a_call_that_was_cancelled_during_its_delay(
    backend: CeleryBackend, redis: Any
) -> None:
    ref = submit(inc(1), on=backend, delay=60).unwrap()
    cancel(ref, on=backend).unwrap()
    assert isinstance(result(ref, on=backend, timeout=20).failure(), Cancelled)
    assert redis.zcard("onward:due") == 0


def test_a_delayed_call_expires_without_a_client(
    make: Make, backend: CeleryBackend, redis: Any
) -> None:
    with working(make):
        ref = submit(inc(1), on=backend, delay=60, deadline=0.2).unwrap()
        ended(redis, ref.id, "expired")
    assert isinstance(result(ref, on=backend, timeout=20).failure(), Expired)
    assert redis.zcard("onward:due") == 0


def test_a_worker_wakes_up_for_a_call_that_is_due_before_all_others(valkey: Valkey) -> None:
    # So that a worker looks by itself only after 30 s.
    make = partial(celery, valkey.url, queue=uuid4().hex, socket_timeout=60)
    with closing(make()) as backend, working(make):
        later = submit(inc(1), on=backend, delay=60).unwrap()
        assert result(later, on=backend, timeout=0.3) == Success(None)
        soon = submit(inc(1), on=backend, delay=0.1).unwrap()
        assert result(soon, on=backend, timeout=20) == Success(2)
        cancel(later, on=backend).unwrap()


def test_a_call_whose_worker_died_with_it_is_sent_by_another_one(
    make: Make, backend: CeleryBackend, redis: Any
) -> None:
    ref = submit(inc(1), on=backend, delay=0.01).unwrap()

    def claim() -> bool:
        return [each.call for each in backend.ledger.due.claim(0.3).entries] == [ref.id]

    until(claim, within=5, otherwise=lambda: "it was not due")
    with working(make):
        assert result(ref, on=backend, timeout=20) == Success(2)
    waits(redis, 0)


def test_a_call_that_was_sent_by_a_worker_which_then_died_runs_once(
    make: Make, backend: CeleryBackend, redis: Any
) -> None:
    name = uuid4().hex
    ref = submit((stumbles >> inc)(name), on=backend, delay=0.01).unwrap()
    released = backend.ledger.due.release
    backend.ledger.due.release = lambda entries: None  # type: ignore[method-assign]  # it dies there
    until(lambda: send_due(backend) == 0.0, within=5, otherwise=lambda: "it was not due")
    backend.ledger.due.release = released  # type: ignore[method-assign]
    with working(make):
        assert result(ref, on=backend, timeout=20) == Success(42)
    assert RUNS.count(name) == 2
    waits(redis, 0)


def test_a_long_backoff_outlives_the_worker(make: Make, backend: CeleryBackend, redis: Any) -> None:
    name = uuid4().hex
    ref = submit((stumbles >> inc)(name), on=backend).unwrap()
    with working(make):
        waits(redis, 1)
    assert redis.hlen("unacked") == 0
    assert redis.keys("onward:sent:*") == []
    with working(make):
        assert result(ref, on=backend, timeout=20) == Success(42)
    assert RUNS.count(name) == 2
    waits(redis, 0)


def test_a_call_with_a_held_message_is_not_lost(
    make: Make, backend: CeleryBackend, redis: Any
) -> None:
    name = uuid4().hex
    ref = submit(gives_up(name), on=backend).unwrap()
    with working(make):
        waits(redis, 1)
    assert reconcile(backend, patience=0) == []
    cancel(ref, on=backend).unwrap()
    assert redis.zcard("onward:due") == 0
    assert redis.keys(f"onward:{ref.id}:*") == []


def test_a_message_that_is_lost_beside_a_held_one_is_sent_again(
    make: Make, backend: CeleryBackend, redis: Any
) -> None:
    name, queue = uuid4().hex, uuid4().hex
    ref = submit(together(gives_up, shout.with_(queue=queue))(name), on=backend).unwrap()
    with working(make):
        waits(redis, 1)
    with backend.app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        channel.queue_purge(queue)
    assert reconcile(backend, patience=0) == [ref.id]
    with working(make, queue):
        until(
            lambda: redis.hexists(f"onward:{ref.id}", "o:[1]"),
            within=20,
            otherwise=lambda: str(redis.hgetall(f"onward:{ref.id}")),
        )
    assert RUNS.count(name) == 1
    assert reconcile(backend, patience=0) in ([], [ref.id])
    assert reconcile(backend, patience=0) == []
    cancel(ref, on=backend).unwrap()
