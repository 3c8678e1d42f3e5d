"""A call that sleeps or waits for a signal is held by the ledger, and no worker has to live."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from msgspec import Raw
from returns.result import Success

from onward import (
    Call,
    Cancelled,
    Catalog,
    Conflict,
    Expired,
    Fault,
    Signal,
    Unanswered,
    Unknown,
    awaits,
    cancel,
    each,
    keep,
    result,
    results,
    send,
    sleep,
    status,
    submit,
    submit_all,
    task,
    tee,
    together,
)
from onward.backends.celery import celery
from onward.backends.celery.backend import CeleryBackend
from onward.backends.celery.due import DueLedger, Wait
from onward.backends.celery.held import decode
from onward.backends.celery.ledger import Ledger, NewCall
from onward.backends.celery.memory_ledger import MemoryLedger
from onward.backends.celery.reconciler import reconcile
from onward.backends.celery.redis_ledger import RedisLedger
from onward.outcome import Value
from tests.celery.making import Make, wait_for_end, wait_for_held, working
from tests.engines.process import until
from tests.engines.valkey import Valkey

RUNS: list[str] = []


@task
def inc(n: int) -> int:
    return n + 1


@task
def breaks(n: int) -> int:
    raise ValueError(n)


@task
def mends(problem: Unanswered | Fault) -> int:
    return 50 if isinstance(problem, Unanswered) else 70


@task
def notes(name: str) -> str:
    RUNS.append(name)
    return name


@task
def add_up(ns: list[int]) -> int:
    return sum(ns)


@task
def add(pair: tuple[int, int]) -> int:
    return sum(pair)


GO = Signal("go", int)
CATALOG = Catalog(inc, breaks, mends, notes, add_up, add)
nap = sleep(0.1)

CALLS: dict[str, tuple[Call[Any, Any], int]] = {
    "between steps": ((inc >> nap >> inc)(1), 3),
    "first": ((nap >> inc)(1), 2),
    "last": ((inc >> nap)(1), 2),
    "twice": ((inc >> nap >> nap >> inc)(1), 3),
    "for no time": ((inc >> sleep(0) >> inc)(1), 3),
    "in together": ((inc >> together(nap >> inc, inc) >> add >> inc)(1), 7),
    "last in together": ((together(inc >> nap, inc) >> add)(1), 4),
    "in each": ((each(nap >> inc) >> add_up >> inc)([1, 2, 3]), 10),
    "last in each": ((each(inc >> nap) >> add_up)([1, 2, 3]), 9),
    "in each with a limit": ((each(inc >> nap >> inc, limit=2) >> add_up)([1, 2, 3]), 12),
    "in each in each": ((each(each(nap >> inc) >> add_up) >> add_up)([[1], [2, 3]]), 9),
    "in what is rescued": (((inc >> nap >> breaks >> inc).rescue(mends) >> inc)(1), 71),
    "in a handler": ((breaks.rescue(mends >> nap >> inc) >> inc)(1), 72),
    "first in a handler": ((breaks.rescue(nap >> mends) >> inc)(1), 71),
    "skipped in a handler": ((inc.rescue(mends >> nap) >> inc)(1), 3),
    "in keep and tee": ((keep(nap >> inc) >> add >> tee(nap >> inc))(1), 3),
    "a signal that does not come": ((awaits(GO, timeout=0.1).rescue(mends) >> inc)(1), 51),
    "a timeout in each": (
        (each(awaits(GO, timeout=0.1).rescue(mends)) >> add_up)([1, 2]),
        100,
    ),
}


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_a_call_can_sleep_everywhere(
    broker: str, valkey: Valkey, ledger: Any, request: pytest.FixtureRequest
) -> None:
    url = f"{valkey.url.rpartition('/')[0]}/14"
    at = url if broker == "redis" else request.getfixturevalue("rabbitmq").url
    make = partial(celery, at, url, queue=uuid4().hex, lease=1.0)
    with closing(make()) as client, working(make, CATALOG):
        refs = submit_all([call for call, _ in CALLS.values()], on=client).unwrap()
        found = dict(results(refs, on=client, timeout=120))
    values = {what: found[ref].value_or(None) for what, ref in zip(CALLS, refs, strict=True)}
    assert values == {what: value for what, (_, value) in CALLS.items()}


def test_a_call_that_waits_needs_no_worker(make: Make, client: CeleryBackend, ledger: Any) -> None:
    ref = submit((inc >> awaits(GO) >> inc)(1), on=client).unwrap()
    with working(make, CATALOG):
        wait_for_held(ledger, ref.id)
    assert ledger.keys("onward:sent:*") == []  # no message is on its way
    assert ledger.hlen("unacked") == 0
    assert send(ref, GO, 41, on=client) == Success(None)
    with working(make, CATALOG):
        assert result(ref, on=client, timeout=120) == Success(42)
    assert ledger.zcard("onward:due") == 0
    assert ledger.exists(f"onward:{ref.id}:held") == 0
    assert ledger.ttl(f"onward:{ref.id}:signals") > 0  # for its history


def test_a_signal_ends_the_wait_and_the_first_one_counts(
    make: Make, client: CeleryBackend, ledger: Any
) -> None:
    with working(make, CATALOG):
        ref = submit((inc >> awaits(GO) >> inc)(1), on=client).unwrap()
        wait_for_held(ledger, ref.id)
        assert ledger.ttl(f"onward:{ref.id}") == -1  # it may take longer than any record is kept
        assert send(ref, GO, 41, on=client) == Success(None)
        assert isinstance(send(ref, GO, 1, on=client).failure(), Conflict)
        assert result(ref, on=client, timeout=120) == Success(42)
        assert ledger.ttl(f"onward:{ref.id}") > 0
        assert isinstance(send(ref, GO, 1, on=client).failure(), Conflict)
    ledger.delete(f"onward:{ref.id}", f"onward:{ref.id}:signals")
    assert isinstance(send(ref, GO, 1, on=client).failure(), Unknown)
    until(  # the holders of the steps that have run expire with their leases
        lambda: ledger.keys(f"onward:{ref.id}*") == [],
        within=120,
        otherwise=lambda: str(ledger.keys(f"onward:{ref.id}*")),
    )


def test_an_early_signal_is_kept_and_all_waits_for_it_get_it(
    make: Make, client: CeleryBackend, ledger: Any
) -> None:
    both = together(awaits(GO), inc >> awaits(GO)) >> add
    early = submit(both(1), on=client).unwrap()
    assert send(early, GO, 4, on=client) == Success(None)
    with working(make, CATALOG):
        assert result(early, on=client, timeout=120) == Success(8)
        late = submit(both(1), on=client).unwrap()
        wait_for_held(ledger, late.id, 2)
        assert send(late, GO, 5, on=client) == Success(None)
        assert result(late, on=client, timeout=120) == Success(10)


def test_status_says_what_a_call_waits_for(make: Make, client: CeleryBackend, ledger: Any) -> None:
    with working(make, CATALOG):
        signalled = submit((inc >> awaits(GO))(1), on=client).unwrap()
        asleep = submit((inc >> sleep(60))(1), on=client).unwrap()
        for ref in (signalled, asleep):
            wait_for_held(ledger, ref.id)
    waiting, sleeping = (status(ref, on=client).unwrap() for ref in (signalled, asleep))
    assert (waiting.state, waiting.signal, waiting.until) == ("waiting", "go", None)
    assert (sleeping.state, sleeping.signal) == ("waiting", "")
    assert sleeping.until is not None
    assert sleeping.until > datetime.now(UTC)
    cancel(asleep, on=client).unwrap()
    assert status(asleep, on=client).unwrap().state == "cancelled"


def test_cancel_and_deadline_hold_while_a_call_waits(
    make: Make, client: CeleryBackend, ledger: Any
) -> None:
    with working(make, CATALOG):
        late = submit((inc >> awaits(GO))(1), on=client, deadline=0.5).unwrap()
        gone = submit(each(awaits(GO))([1, 2]), on=client).unwrap()
        wait_for_held(ledger, gone.id, 2)
        cancel(gone, on=client).unwrap()
        wait_for_end(ledger, late.id, "expired")
    assert isinstance(result(late, on=client, timeout=120).failure(), Expired)
    assert isinstance(result(gone, on=client, timeout=120).failure(), Cancelled)
    for ref in (late, gone):
        assert ledger.keys(f"onward:{ref.id}:*") == []
        assert ledger.ttl(f"onward:{ref.id}") > 0
    assert ledger.zcard("onward:due") == 0


def test_revoke_finds_a_wait_by_its_task_when_it_goes_on(
    make: Make, client: CeleryBackend, ledger: Any
) -> None:
    tools = Celery(broker=client.app.conf.broker_url, set_as_current=False)
    with closing(tools), working(make, CATALOG):
        ref = submit((inc >> awaits(GO) >> inc)(1), on=client).unwrap()
        wait_for_held(ledger, ref.id)
        task_id = decode(ledger.hget(f"onward:{ref.id}:held", "1")).message.id
        tools.control.revoke(task_id, reply=True, limit=1, timeout=20)
        assert status(ref, on=client).unwrap().state == "waiting"
        send(ref, GO, 1, on=client).unwrap()
        assert isinstance(result(ref, on=client, timeout=120).failure(), Cancelled)


def test_a_call_that_waits_is_not_lost(make: Make, client: CeleryBackend, ledger: Any) -> None:
    with working(make, CATALOG):
        alone = submit((inc >> sleep(60))(1), on=client).unwrap()
        beside = submit(together(awaits(GO), inc >> sleep(60))(1), on=client).unwrap()
        wait_for_held(ledger, alone.id)
        wait_for_held(ledger, beside.id, 2)
    until(
        lambda: reconcile(client, patience=0.1) == [beside.id],
        within=120,
        otherwise=lambda: "it is not sent again, although a message of a fan-out may be lost",
    )
    with working(make, CATALOG):
        for checks in (b"2", b"3"):
            until(
                lambda: bool(reconcile(client, patience=0.1)),
                within=120,
                otherwise=lambda: str(ledger.hgetall(f"onward:{beside.id}")),
            )
            assert ledger.hget(f"onward:{beside.id}", "checks") == checks
    assert ledger.hget(f"onward:{beside.id}", "revived") == b"1"  # it makes no call count as lost
    assert ledger.zcard("onward:due") == 2
    assert ledger.zscore("onward:open", alone.id) == math.inf
    for ref in (alone, beside):
        cancel(ref, on=client).unwrap()


def test_a_message_that_is_lost_when_a_wait_ends_is_sent_again(
    make: Make, client: CeleryBackend, ledger: Any
) -> None:
    name = uuid4().hex
    approval = awaits(GO)
    ref = submit((tee(notes) >> tee(approval) >> notes)(name), on=client).unwrap()
    with working(make, CATALOG):
        wait_for_held(ledger, ref.id)
    assert send(ref, GO, 1, on=client) == Success(None)
    entries = client.ledger.due.claim(60).entries
    assert [each.call for each in entries] == [ref.id]
    client.ledger.due.release(entries)  # as if it had been sent
    with working(make, CATALOG):
        assert result(ref, on=client, timeout=120) == Success(name)
    assert RUNS.count(name) == 2


def test_the_due_time_of_a_call_that_is_sent_again_stays(
    make: Make, client: CeleryBackend, ledger: Any
) -> None:
    ref = submit((inc >> sleep(60))(1), on=client).unwrap()
    with working(make, CATALOG):
        wait_for_held(ledger, ref.id)
        [due] = ledger.zrange("onward:due", 0, -1, withscores=True)
        ledger.delete(f"onward:{ref.id}:held")
        ledger.zadd("onward:open", {ref.id: 0.0})
        assert reconcile(client, patience=1.0) in ([ref.id], [])
        wait_for_held(ledger, ref.id)
    assert ledger.zrange("onward:due", 0, -1, withscores=True) == [due]


@pytest.mark.long
def test_a_frozen_ledger_delays_what_is_due(tmp_path: Path) -> None:
    with (
        Valkey.start(tmp_path, append_only=False) as server,
        closing(celery(server.url, lease=1.0, socket_timeout=0.3)) as backend,
    ):
        worker = backend.serve(CATALOG).unwrap()
        refs = submit_all([(inc >> sleep(0.4) >> inc)(n) for n in range(5)], on=backend).unwrap()
        until(
            lambda: status(refs[-1], on=backend).unwrap().state == "waiting",
            within=120,
            otherwise=lambda: "it does not wait",
        )
        server.pause()
        time.sleep(1.0)  # it is frozen when they are due
        server.resume()
        found = dict(results(refs, on=backend, timeout=120))
        assert [found[ref] for ref in refs] == [Success(n + 2) for n in range(5)]
        worker.stop()


# The ledger decides


@pytest.fixture(params=["redis", "memory"])
def deciding(request: pytest.FixtureRequest, valkey: Valkey) -> Iterator[Ledger]:
    made: Ledger = MemoryLedger(60) if request.param == "memory" else RedisLedger(valkey.url, 60, 1)
    yield made
    made.close()


def a_wait(ledger: Ledger, seconds: float) -> tuple[DueLedger, Wait]:
    call = uuid4().hex
    ledger.add([NewCall(call, b"{}")])
    wait = Wait(call=call, at="0", seconds=seconds, signal="go", message="m", route="4:q")
    return ledger.due, wait


def test_a_signal_that_comes_after_the_timeout_changes_nothing(deciding: Ledger) -> None:
    due, wait = a_wait(deciding, 0.0)
    assert due.begin_wait(wait).kind == "over"
    assert due.send(wait.call, "go", b"1") == "sent"
    assert due.begin_wait(wait).kind == "over"


def test_a_signal_that_comes_before_the_timeout_counts(deciding: Ledger) -> None:
    due, wait = a_wait(deciding, 0.0)
    assert due.send(wait.call, "go", b"1") == "sent"
    assert due.send(wait.call, "go", b"2") == "again"
    for _ in range(2):
        assert due.begin_wait(wait)[:2] == ("signal", b"1")


def test_a_wait_without_limit_has_no_due_time(deciding: Ledger) -> None:
    due, wait = a_wait(deciding, math.inf)
    assert due.begin_wait(wait) == ("hold", None, math.inf)


def test_nobody_can_send_to_a_call_that_has_ended_or_never_was(deciding: Ledger) -> None:
    due, wait = a_wait(deciding, 1.0)
    deciding.settle(wait.call, Value(Raw(b"1")), "done")
    assert due.send(wait.call, "go", b"1") == "ended"
    assert due.send("nobody", "go", b"1") == "unknown"
    assert due.begin_wait(wait).kind == "ended"
