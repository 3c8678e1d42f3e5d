"""What histories and lists read in Redis: after tampering, of an earlier release, in parts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis
from returns.result import Success

from onward import (
    Call,
    Catalog,
    Misconfigured,
    Ref,
    current,
    each,
    history,
    result,
    resume,
    status,
    submit,
    task,
)
from onward.backend import CallQuery
from onward.backends.celery import celery
from onward.backends.celery.backend import CeleryBackend
from onward.backends.celery.packed import joined as put_together
from onward.backends.celery.packed import restored
from onward.backends.celery.reconciler import MAX_SENDS, reconcile
from onward.fault import Lost
from onward.plan import NEWEST
from tests.engines.process import until
from tests.engines.valkey import Valkey


def unpack(redis: Any, id: str) -> None:
    """Writes the record of a call that has ended as it was before, so that a test can change it."""
    key = f"onward:{id}"
    fields = put_together(redis.hgetall(key))
    fields[b"plan"] = restored(id, fields[b"plan"])
    redis.delete(key)
    redis.hset(key, mapping=fields)


RAN: list[str] = []
MENDED = threading.Event()


def note() -> None:
    RAN.append(current().step)


@task
def inc(n: int) -> int:
    note()
    return n + 1


@task(queue="far-away")
def far(n: int) -> int:
    note()
    return n + 10


@task
def breaks(n: int) -> int:
    note()
    if not MENDED.is_set():
        raise OSError(n)
    return n


@task
def grows(n: int) -> str:
    return "x" * n


@task
def grows_again(text: str) -> str:
    return text


@task
def total(ns: list[int]) -> int:
    note()
    return sum(ns)


@task
def joined(texts: list[str]) -> int:
    return len(texts)


CATALOG = Catalog(inc, far, breaks, grows, grows_again, total, joined)


@pytest.fixture
def redis(valkey: Valkey) -> Iterator[Any]:
    with Redis.from_url(f"{valkey.url.rpartition('/')[0]}/10") as client:
        client.flushdb()
        yield client


@pytest.fixture(autouse=True)
def as_new() -> None:
    RAN.clear()
    MENDED.clear()


def made(valkey: Valkey, **options: Any) -> CeleryBackend:
    url = f"{valkey.url.rpartition('/')[0]}/10"
    return celery(url, queue=uuid4().hex, lease=1.0, **options)


@contextmanager
def serving(backend: CeleryBackend, *queues: str) -> Iterator[CeleryBackend]:
    with closing(backend):
        worker = backend.serve(CATALOG, queues=[backend.queue, *queues]).unwrap()
        try:
            yield backend
        finally:
            worker.stop()


def done(call: Call[Any, Any], backend: CeleryBackend) -> Ref[Any, Any]:
    ref = submit(call, on=backend).unwrap()
    result(ref, on=backend, timeout=120)
    return ref


def test_with_signing_what_was_changed_is_found_out(redis: Any, valkey: Valkey) -> None:
    with serving(made(valkey, signing_keys=[b"k" * 32])) as backend:
        ref = done((inc >> inc >> breaks)(1), backend)
        key = f"onward:{ref.id}"
        unpack(redis, ref.id)
        redis.hset(key, "o:1", redis.hget(key, "o:0"))  # valid, at another place
        first, second, _ = history(ref, on=backend).unwrap().steps
        assert first.result == Success(2)
        assert second.result is not None
        assert isinstance(second.result.failure(), Misconfigured)
        RAN.clear()
        MENDED.set()
        again = resume(ref, on=backend).unwrap()
        assert result(again, on=backend, timeout=120) == Success(3)
        last = f"onward:{again.id}"
        unpack(redis, again.id)
        log = redis.hget(last, "l:0")
        redis.hset(last, "l:0", log.replace(b"\n2 ", b"\n0 "))  # as if the first one gave it
        moved = next(step for step in backend.history(again.id).unwrap().steps if step.path == "0")
        assert moved.outcome is not None
        assert b"Misconfigured" in bytes(moved.outcome.raw)
        assert RAN == ["1", "2"]  # what cannot be trusted runs again
        redis.hset(key, "plan", redis.hget(key, "plan").replace(b"breaks", b"grows_"))
        assert isinstance(history(ref, on=backend).failure(), Misconfigured)
        assert isinstance(resume(ref, on=backend).failure(), Misconfigured)


def test_a_call_of_an_earlier_release_is_read_as_far_as_it_goes(redis: Any, valkey: Valkey) -> None:
    with serving(made(valkey)) as backend:
        ref = done((each(inc) >> total >> breaks)([1] * 11), backend)
        unpack(redis, ref.id)
        redis.hdel(f"onward:{ref.id}", "about", "ended", "l", "l:0")
        RAN.clear()
        paths = [step.path for step in history(ref, on=backend).unwrap().steps]
        assert paths[:11] == [f"0[{n}]" for n in range(11)]
        pages = [backend.history(ref.id, limit=8).unwrap()]
        pages.append(backend.history(ref.id, pages[0].next, 8).unwrap())
        assert [step.path for page in pages for step in page.steps] == paths
        assert isinstance(backend.history(ref.id, "no page").failure(), Misconfigured)


def test_a_step_with_an_outcome_needs_no_worker_of_its_queue(redis: Any, valkey: Valkey) -> None:
    url = f"{valkey.url.rpartition('/')[0]}/10"
    with serving(celery(url, lease=1.0), "far-away") as backend:
        flow = inc >> far >> breaks
        ref = done(flow(1), backend)
        both = done((each(far) >> total >> breaks)([1, 2]), backend)
    RAN.clear()
    MENDED.set()
    with serving(celery(url, lease=1.0)) as again:
        resumed = resume(ref, on=again).unwrap()
        assert result(resumed, on=again, timeout=120) == Success(12)
        resumed = resume(both, on=again).unwrap()
        assert result(resumed, on=again, timeout=120) == Success(23)
        assert RAN == ["2", "2"]


def test_a_page_ends_early_when_the_outcomes_are_large(redis: Any, valkey: Valkey) -> None:
    with serving(made(valkey)) as backend:
        ref = done((each(grows) >> joined)([3_000_000] * 4), backend)
        pages = 0
        paths: list[str] = []
        after = ""
        while pages == 0 or after:
            page = backend.history(ref.id, after).unwrap()
            pages, after = pages + 1, page.next
            paths += [step.path for step in page.steps]
            assert sum(len(bytes(each.outcome.raw)) for each in page.steps if each.outcome) < 9e6
        assert pages > 1
        assert sorted(paths) == [*(f"0[{n}]" for n in range(4)), "1"]


def test_a_lost_call_is_listed_with_its_reason_and_resumed(redis: Any, valkey: Valkey) -> None:
    backend = made(valkey)
    ref = submit((inc >> inc)(1), on=backend).unwrap()
    redis.hset(f"onward:{ref.id}", mapping={"revived": MAX_SENDS, "waits": 0, "refused": "no JSON"})
    redis.delete(*redis.keys("onward:sent:*"))
    redis.zadd("onward:open", {ref.id: 1})
    reconcile(backend, patience=0)
    [listed] = backend.calls(CallQuery(frozenset({"lost"}))).unwrap().calls
    assert (listed.id, listed.state, listed.fault) == (ref.id, "failed", "Lost")
    fault = result(ref, on=backend, timeout=1).failure()
    assert isinstance(fault, Lost)
    assert "no JSON" in str(fault)
    with serving(backend):
        again = resume(ref, on=backend).unwrap()
        assert result(again, on=backend, timeout=120) == Success(3)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda plan: plan.replace(b'"v":1', b'"v":%d' % (NEWEST + 1), 1),
        lambda plan: plan[:-7],
        lambda plan: b"\xff\xfe",
    ],
)
def test_a_call_whose_plan_cannot_be_read_is_a_dead_letter_that_goes_on_once_it_can(
    spoil: Callable[[bytes], bytes], redis: Any, valkey: Valkey
) -> None:
    backend = made(valkey)
    ref = submit((inc >> inc)(1), on=backend).unwrap()
    plan = redis.hget(f"onward:{ref.id}", "plan")
    redis.hset(f"onward:{ref.id}", mapping={"waits": 0, "plan": spoil(plan)})
    redis.delete(backend.queue, *redis.keys("onward:sent:*"))
    redis.zadd("onward:open", {ref.id: 1})
    reconcile(backend, patience=0)
    [listed] = backend.calls(CallQuery(frozenset({"lost"}))).unwrap().calls
    assert (listed.id, listed.state, listed.fault) == (ref.id, "failed", "Lost")
    fault = result(ref, on=backend, timeout=1).failure()
    assert isinstance(fault, Lost)
    assert "its plan cannot be read (" in str(fault)
    assert "plan" in str(resume(ref, on=backend).failure())
    unpack(redis, ref.id)
    redis.hset(f"onward:{ref.id}", "plan", plan)
    with serving(backend):
        again = resume(ref, on=backend).unwrap()
        assert result(again, on=backend, timeout=120) == Success(3)


def test_a_call_whose_record_is_damaged_is_a_dead_letter_that_goes_on_once_it_is_not(
    redis: Any, valkey: Valkey
) -> None:
    backend = made(valkey)
    ref = submit((inc >> inc)(1), on=backend).unwrap()
    redis.hset(f"onward:{ref.id}", mapping={"waits": 0, "revived": "often"})
    redis.delete(backend.queue, *redis.keys("onward:sent:*"))
    redis.zadd("onward:open", {ref.id: 1})
    reconcile(backend, patience=0)
    fault = result(ref, on=backend, timeout=1).failure()
    assert isinstance(fault, Lost)
    assert "its record cannot be read" in str(fault)
    assert [call.id for call in backend.calls(CallQuery(frozenset({"lost"}))).unwrap().calls] == [
        ref.id
    ]
    with serving(backend):
        again = resume(ref, on=backend).unwrap()
        assert result(again, on=backend, timeout=30) == Success(3)


def test_why_a_message_is_refused_is_noted_in_its_call(redis: Any, valkey: Valkey) -> None:
    backend = made(valkey)
    ref = submit(inc(1), on=backend).unwrap()
    queue = next(key for key in redis.scan_iter(f"{backend.queue}*"))
    redis.lset(queue, 0, redis.lindex(queue, 0).replace(b'"lang":"py"', b'"lang":[1]'))
    with serving(backend):
        assert result(ref, on=backend, timeout=120) == Success(2)  # it was sent again
        until(
            lambda: b"headers" in (redis.hget(f"onward:{ref.id}", "refused") or b""),
            within=10,
            otherwise=lambda: str(redis.hgetall(f"onward:{ref.id}")),
        )


def test_an_expired_call_leaves_the_lists(redis: Any, valkey: Valkey) -> None:
    with serving(made(valkey, keep=1.0)) as backend:
        done(breaks(1), backend)
        assert redis.zcard("onward:calls") == 1
        until(
            lambda: not redis.exists("onward:calls", "onward:calls:failed"),
            within=120,
            otherwise=lambda: str(redis.zrange("onward:calls", 0, -1)),
        )


@pytest.mark.parametrize("size", [1, 63, 64, 65, 128, 1_000, 10_000])
def test_a_record_is_packed_and_reads_as_before(size: int, redis: Any, valkey: Valkey) -> None:
    with serving(made(valkey)) as backend:
        flow = grows >> grows_again
        ref = done(flow(size), backend)
        key = f"onward:{ref.id}"
        assert redis.object("encoding", key) == (b"hashtable" if size > 1_000 else b"listpack")
        assert 0 < redis.ttl(key) <= 24 * 3600
        assert result(ref, on=backend, timeout=120) == Success("x" * size)
        found = history(ref, on=backend).unwrap()
        assert [step.result for step in found.steps] == [Success("x" * size)] * 2
        assert found.plan is not None
        assert (found.plan.flow, found.plan.id) == (flow.name, ref.id)
        where = status(ref, on=backend).unwrap()
        assert (where.state, where.task, where.step) == ("done", grows_again.name, "1")
        assert [call.flow for call in backend.calls(CallQuery()).unwrap().calls] == [flow.name]


def test_a_packed_call_of_one_task_reads_as_before(redis: Any, valkey: Valkey) -> None:
    with serving(made(valkey)) as backend:
        ref = done(grows(1), backend)
        assert not redis.hexists(f"onward:{ref.id}", "task")
        where = status(ref, on=backend).unwrap()
        assert (where.state, where.task, where.step, where.attempt) == ("done", "grows", "0", 1)
        plan = history(ref, on=backend).unwrap().plan
        assert plan is not None
        assert (plan.id, plan.flow, plan.root) == (ref.id, "grows", grows.node)


NAMES = ('a_"quoted"_one', "back\\slash", "n" * 31, "n" * 32, "n" * 62, "n" * 200)


@pytest.mark.parametrize("signing_keys", [None, [b"k" * 32]], ids=["plain", "signed"])
@pytest.mark.parametrize("tags", [(), ("vip",)], ids=["untagged", "tagged"])
def test_a_packed_call_is_listed_as_before(
    tags: tuple[str, ...], signing_keys: list[bytes] | None, redis: Any, valkey: Valkey
) -> None:
    flows: list[Any] = [*(inc.named(name) for name in NAMES), inc, inc >> inc, each(inc) >> total]
    with serving(made(valkey, signing_keys=signing_keys)) as backend:
        args: list[Any] = [*[1] * (len(flows) - 1), [1]]
        refs = [
            submit(flow(arg), on=backend, tags=tags).unwrap()
            for flow, arg in zip(flows, args, strict=True)
        ]
        for ref in refs:
            result(ref, on=backend, timeout=120).unwrap()
        listed = {call.id: call for call in backend.calls(CallQuery()).unwrap().calls}
        for ref, flow in zip(refs, flows, strict=True):
            call, score = listed[ref.id], redis.zscore("onward:calls", ref.id)
            assert (call.flow, call.tags, call.state) == (flow.name, tags, "done")
            assert call.submitted is not None
            assert call.submitted.timestamp() == pytest.approx(score, abs=1e-5)
            past = history(ref, on=backend).unwrap()
            assert (past.flow, past.tags, past.submitted) == (call.flow, tags, call.submitted)


def test_a_call_that_an_earlier_release_submitted_is_not_packed(redis: Any, valkey: Valkey) -> None:
    backend = made(valkey)
    ref = submit(grows(100), on=backend).unwrap()
    redis.hdel(f"onward:{ref.id}", "about")  # an earlier release writes none
    with serving(backend):
        assert result(ref, on=backend, timeout=120) == Success("x" * 100)
    # The client that waits for it is of that release too.
    assert b'{"outcome":"value","raw":"xxx' in redis.hget(f"onward:{ref.id}", "outcome")
