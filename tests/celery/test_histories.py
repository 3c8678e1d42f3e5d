"""What Celery's ledger records of calls, and how calls go on from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from returns.result import Success

from onward import (
    Call,
    Catalog,
    Constant,
    Raised,
    Ref,
    Retry,
    Signal,
    awaits,
    cancel,
    current,
    each,
    fork,
    history,
    result,
    resume,
    send,
    sleep,
    submit,
    task,
)
from onward.backend import CallQuery
from onward.backends.celery import celery
from onward.backends.celery.backend import CeleryBackend
from onward.fault import Conflict, Unknown
from tests.engines.valkey import Valkey

GO = Signal("go", int)


@dataclass
class World:
    """What the tasks find, and which of them ran."""

    is_broken: bool = True
    ran: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)


WORLD = World()


def note(name: str) -> None:
    WORLD.ran.append(name)
    WORLD.ids.add(current().id)


@task
def inc(n: int) -> int:
    note("inc")
    return n + 1


@task(queue="elsewhere")
def far(n: int) -> int:
    note("far")
    return n * 10


@task(retry=Retry(attempts=3, backoff=Constant(0.01)))
def shaky(n: int) -> int:
    note("shaky")
    if WORLD.is_broken:
        raise OSError(f"no {current().attempt}")
    return n


@task
def total(ns: list[int]) -> int:
    note("total")
    return sum(ns)


CATALOG = Catalog(inc, far, shaky, total)


@pytest.fixture(autouse=True)
def world() -> World:
    WORLD.__init__()  # type: ignore[misc]  # as new
    return WORLD


@pytest.fixture(scope="module", params=["memory", "redis", "signed", "rabbitmq"])
def backend(request: pytest.FixtureRequest, valkey: Valkey) -> Iterator[CeleryBackend]:
    url = f"{valkey.url.rpartition('/')[0]}/11"
    match request.param:
        case "memory":
            made = celery("memory://")
        case "rabbitmq":
            made = celery(request.getfixturevalue("rabbitmq").url, url, queue=uuid4().hex)
        case "signed":
            made = celery(url, queue=uuid4().hex, signing_keys=[b"k" * 32])
        case _:
            made = celery(url, queue=uuid4().hex)
    with closing(made) as backend:
        worker = backend.serve(CATALOG).unwrap()
        yield backend
        worker.stop()


def done(call: Call[int, Any], backend: CeleryBackend) -> Ref[int, Any]:
    ref = submit(call, on=backend).unwrap()
    result(ref, on=backend, timeout=120)
    return ref


def test_a_history_has_the_attempts_with_their_faults(backend: CeleryBackend) -> None:
    ref = done((inc >> far >> shaky >> inc)(1), backend)
    found = history(ref, on=backend).unwrap()
    assert [(step.path, step.task, step.kind) for step in found.steps] == [
        ("0", "inc", "step"),
        ("1", "far", "step"),
        ("2", "shaky", "step"),
    ]
    first, second, third = found.steps
    assert (first.result, second.result) == (Success(2), Success(20))
    assert third.result == found.result
    assert found.state == "failed"
    assert [each.number for each in third.attempts] == [1, 2, 3]
    for number, attempt in enumerate(third.attempts, 1):
        assert attempt.result is not None
        fault = attempt.result.failure()
        assert isinstance(fault, Raised)
        assert fault.message == f"no {number}"
        assert "shaky" in fault.traceback
        assert attempt.worker
        assert attempt.began is not None
        assert attempt.ended is not None
        assert attempt.began <= attempt.ended
    assert found.submitted is not None
    assert found.ended is not None
    times = [step.began for step in found.steps if step.began is not None]
    assert times == sorted(times)
    assert found.submitted <= times[0]


def test_a_resumed_call_runs_only_what_has_no_outcome(backend: CeleryBackend, world: World) -> None:
    ref = done((inc >> far >> shaky >> inc)(1), backend)
    world.is_broken, world.ran = False, []
    again = resume(ref, on=backend).unwrap()
    assert result(again, on=backend, timeout=120) == Success(21)
    assert world.ran == ["shaky", "inc"]
    assert world.ids == {ref.id}
    assert resume(ref, on=backend).unwrap() == again


def test_a_resumed_fan_out_runs_only_its_failed_branches(
    backend: CeleryBackend, world: World
) -> None:
    flow = each(inc >> far) >> total >> shaky >> inc
    ref = done(flow([1, 2, 3]), backend)
    world.is_broken, world.ran = False, []
    again = resume(ref, on=backend, args=[5]).unwrap()
    assert result(again, on=backend, timeout=120) == Success(6)
    assert world.ran == ["shaky", "inc"]
    world.is_broken = True
    broken = done((each(inc >> shaky) >> total)([1, 2]), backend)
    world.is_broken, world.ran = False, []
    again = resume(broken, on=backend).unwrap()
    assert result(again, on=backend, timeout=120) == Success(5)
    assert world.ran == ["shaky", "shaky", "total"]


def test_waits_stand_in_a_history_and_are_not_waited_for_again(
    backend: CeleryBackend, world: World
) -> None:
    flow = sleep(0.05) >> inc >> awaits(GO) >> shaky
    ref = submit(flow(1), on=backend).unwrap()
    send(ref, GO, 7, on=backend).unwrap()
    result(ref, on=backend, timeout=120)
    found = history(ref, on=backend).unwrap()
    assert [(step.path, step.task, step.kind) for step in found.steps] == [
        ("0", "", "sleep"),
        ("1", "inc", "step"),
        ("2", "go", "awaits"),
        ("3", "shaky", "step"),
    ]
    assert found.signals == {"go": 7}
    nap, _, wait, _ = found.steps
    assert nap.began is not None
    assert nap.until is not None
    assert nap.ended is not None
    assert wait.result == Success(7)
    world.is_broken, world.ran = False, []
    again = resume(ref, on=backend).unwrap()
    assert result(again, on=backend, timeout=120) == Success(7)
    assert world.ran == ["shaky"]


def test_a_wait_that_had_begun_ends_when_it_would_have_ended(backend: CeleryBackend) -> None:
    ref = submit((inc >> sleep(3600) >> inc)(1), on=backend).unwrap()
    until = None
    while until is None:
        steps = history(ref, on=backend).unwrap().steps
        until = steps[1].until if len(steps) > 1 else None
    cancel(ref, on=backend).unwrap()
    again = resume(ref, on=backend).unwrap()
    then = None
    while then is None:
        begun = history(again, on=backend).unwrap().steps
        then = next((step.until for step in begun if step.until is not None), None)
    assert abs((then - until).total_seconds()) < 1
    cancel(again, on=backend).unwrap()


def test_a_fork_takes_over_what_came_before(backend: CeleryBackend, world: World) -> None:
    world.is_broken = False
    ref = done((inc >> shaky >> inc)(1), backend)
    world.ran = []
    again = fork(ref, "1", on=backend).unwrap()
    assert result(again, on=backend, timeout=120) == Success(3)
    assert world.ran == ["shaky", "inc"]


def test_a_history_is_read_in_pages(backend: CeleryBackend) -> None:
    ref = done((each(inc) >> total)(list(range(250))), backend)
    paths: list[str] = []
    after = ""
    while True:
        page = backend.history(ref.id, after, 60).unwrap()
        assert len(page.steps) <= 60
        paths += [step.path for step in page.steps]
        after = page.next
        if not after:
            break
    assert sorted(paths) == sorted([*(f"0[{n}]" for n in range(250)), "1"])
    assert paths[-1] == "1"


def test_calls_are_listed_the_newest_first(backend: CeleryBackend, world: World) -> None:
    name = f"flow-{uuid4().hex}"
    flow = shaky.with_(retry=None).named(name)
    refs = [done(flow(n), backend).id for n in range(5)]
    world.is_broken = False
    refs.append(done(flow(9), backend).id)
    ids: list[str] = []
    after = ""
    while True:
        page = backend.calls(CallQuery(flow=name, limit=2), after).unwrap()
        ids += [call.id for call in page.calls]
        after = page.next
        if not after:
            break
    assert ids == refs[::-1]
    failed = backend.calls(CallQuery(frozenset({"failed"}), flow=name)).unwrap().calls
    assert [call.id for call in failed] == refs[4::-1]
    assert {(call.state, call.fault) for call in failed} == {("failed", "Raised")}
    middle = failed[2].submitted
    since = backend.calls(CallQuery(flow=name, since=middle)).unwrap().calls
    until = backend.calls(CallQuery(flow=name, until=middle)).unwrap().calls
    assert [call.id for call in (*since, *until)] == ids
    assert until[0].id == refs[1]
    assert backend.calls(CallQuery(frozenset({"lost"}), flow=name)).unwrap().calls == ()


def test_a_forgotten_call_is_gone(backend: CeleryBackend) -> None:
    ref = done((inc >> awaits(GO, timeout=0.01))(1), backend)
    assert any(call.id == ref.id for call in backend.calls(CallQuery()).unwrap().calls)
    assert backend.forget(ref.id).unwrap() is None
    assert isinstance(backend.history(ref.id).failure(), Unknown)
    assert isinstance(backend.forget(ref.id).failure(), Unknown)
    assert all(call.id != ref.id for call in backend.calls(CallQuery()).unwrap().calls)
    waiting = submit((inc >> sleep(60))(1), on=backend).unwrap()
    assert isinstance(backend.forget(waiting.id).failure(), Conflict)
