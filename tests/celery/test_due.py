"""Delayed calls and long backoffs wait in the ledger: no worker and no queue holds a message."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import Any
from uuid import uuid4

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
from onward.fault import Cancelled, Expired, TimedOut
from tests.celery.making import Make, wait_for_due, wait_for_end, working
from tests.engines.process import until
from tests.engines.valkey import Valkey

RUNS: list[str] = []


@task
def inc(n: int) -> int:
    return n + 1


@task
def add_up(ns: list[int]) -> int:
    return sum(ns)


@task(retry=Retry(attempts=2, backoff=Constant(60.0)))
def stumbles(name: str) -> int:
    RUNS.append(name)
    if RUNS.count(name) == 1:
        raise OSError(name)
    return 41


@task
def notes(name: str) -> int:
    RUNS.append(name)
    return 41


@task
def shout(text: str) -> str:
    return text.upper()


CATALOG = Catalog(inc, add_up, notes, stumbles, shout)


def test_a_delayed_call_waits_in_the_ledger_alone(
    make: Make, client: CeleryBackend, ledger: Any
) -> None:
    one = submit(inc(1), on=client, delay=0.3).unwrap()
    chain = submit((inc >> inc)(1), on=client, delay=0.3).unwrap()
    fan = submit((each(inc) >> add_up)([1, 2]), on=client, delay=0.3).unwrap()
    assert ledger.zcard("onward:due") == 3
    assert ledger.keys("onward:sent:*") == []
    with working(make, CATALOG):
        assert result(one, on=client, timeout=120) == Success(2)
        assert result(chain, on=client, timeout=120) == Success(3)
        assert result(fan, on=client, timeout=120) == Success(5)
    assert ledger.zcard("onward:due") == 0


def test_nothing_is_left_of_a_call_that_was_cancelled_during_its_delay(
    client: CeleryBackend, ledger: Any
) -> None:
    ref = submit(inc(1), on=client, delay=60).unwrap()
    cancel(ref, on=client).unwrap()
    assert isinstance(result(ref, on=client, timeout=120).failure(), Cancelled)
    assert ledger.zcard("onward:due") == 0


def test_a_delayed_call_expires_without_a_client(
    make: Make, client: CeleryBackend, ledger: Any
) -> None:
    with working(make, CATALOG):
        ref = submit(inc(1), on=client, delay=60, deadline=0.2).unwrap()
        wait_for_end(ledger, ref.id, "expired")
    assert isinstance(result(ref, on=client, timeout=120).failure(), Expired)
    assert ledger.zcard("onward:due") == 0


def test_a_worker_wakes_up_for_a_call_that_is_due_before_all_others(valkey: Valkey) -> None:
    # So that a worker looks by itself only after 30 s.
    make = partial(celery, valkey.url, queue=uuid4().hex, socket_timeout=60)
    with closing(make()) as client, working(make, CATALOG):
        later = submit(inc(1), on=client, delay=60).unwrap()
        assert isinstance(result(later, on=client, timeout=0.3).failure(), TimedOut)
        soon = submit(inc(1), on=client, delay=0.1).unwrap()
        assert result(soon, on=client, timeout=120) == Success(2)
        cancel(later, on=client).unwrap()


def test_a_call_whose_worker_died_with_it_is_sent_by_another_one(
    make: Make, client: CeleryBackend, ledger: Any
) -> None:
    ref = submit(inc(1), on=client, delay=0.01).unwrap()

    def claim() -> bool:
        return [each.call for each in client.ledger.due.claim(0.3).entries] == [ref.id]

    until(claim, within=120, otherwise=lambda: "it was not due")
    with working(make, CATALOG):
        assert result(ref, on=client, timeout=120) == Success(2)
    wait_for_due(ledger, 0)


def test_a_call_that_was_sent_by_a_worker_which_then_died_runs_once(
    make: Make, client: CeleryBackend, ledger: Any
) -> None:
    name = uuid4().hex
    ref = submit((notes >> inc)(name), on=client, delay=0.01).unwrap()
    released = client.ledger.due.release
    client.ledger.due.release = lambda entries: None  # type: ignore[method-assign]  # it dies there
    until(lambda: send_due(client) == 0.0, within=120, otherwise=lambda: "it was not due")
    client.ledger.due.release = released  # type: ignore[method-assign]
    with working(make, CATALOG):
        assert result(ref, on=client, timeout=120) == Success(42)
    assert RUNS.count(name) == 1
    wait_for_due(ledger, 0)


def test_a_long_backoff_outlives_the_worker(make: Make, client: CeleryBackend, ledger: Any) -> None:
    name = uuid4().hex
    ref = submit((stumbles >> inc)(name), on=client).unwrap()
    with working(make, CATALOG):
        wait_for_due(ledger, 1)
    assert ledger.hlen("unacked") == 0
    assert ledger.keys("onward:sent:*") == []
    ledger.zadd("onward:due", {f"0 {ref.id}": 0.0})  # a minute later
    with working(make, CATALOG):
        assert result(ref, on=client, timeout=120) == Success(42)
    assert RUNS.count(name) == 2
    wait_for_due(ledger, 0)


def test_a_call_with_a_held_message_is_not_lost(
    make: Make, client: CeleryBackend, ledger: Any
) -> None:
    name = uuid4().hex
    ref = submit(stumbles(name), on=client).unwrap()
    with working(make, CATALOG):
        wait_for_due(ledger, 1)
    assert reconcile(client, patience=0) == []
    cancel(ref, on=client).unwrap()
    assert ledger.zcard("onward:due") == 0
    assert ledger.keys(f"onward:{ref.id}:*") == []


def test_a_message_that_is_lost_beside_a_held_one_is_sent_again(
    make: Make, client: CeleryBackend, ledger: Any
) -> None:
    name, queue = uuid4().hex, uuid4().hex
    ref = submit(together(stumbles, shout.with_(queue=queue))(name), on=client).unwrap()
    with working(make, CATALOG):
        wait_for_due(ledger, 1)
    with client.app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        channel.queue_purge(queue)
    assert reconcile(client, patience=0) == [ref.id]
    with working(make, CATALOG, queue):
        until(
            lambda: ledger.hexists(f"onward:{ref.id}", "o:[1]"),
            within=120,
            otherwise=lambda: str(ledger.hgetall(f"onward:{ref.id}")),
        )
    assert RUNS.count(name) == 1
    cancel(ref, on=client).unwrap()
