"""`local()`: what it records of calls, and the calls that continue others."""

import asyncio
from collections.abc import Iterator
from itertools import count

import pytest
from returns.result import Failure, Result, Success

from onward import (
    BadPayload,
    Cancelled,
    Conflict,
    Constant,
    Fault,
    Misconfigured,
    Raised,
    Ref,
    Retry,
    Secret,
    Signal,
    Unknown,
    aio,
    awaits,
    cancel,
    current,
    each,
    fork,
    fused,
    given,
    history,
    identity,
    keep,
    local,
    replay,
    result,
    resume,
    send,
    sleep,
    spread,
    status,
    submit,
    task,
    together,
)
from onward.backend import CallPage, CallQuery
from onward.backends.local import Local
from onward.plan import encode
from onward.sealing import sealing
from tests.local.common import PATIENCE, until

go = Signal("go", int)


class Switch:
    """What makes a task fail, until somebody mends it; and what ran."""

    def __init__(self) -> None:
        self.is_broken = True
        self.ran: list[tuple[str, str]] = []


@pytest.fixture
def switch() -> Iterator[Switch]:
    found = Switch()
    _SWITCH.append(found)
    yield found
    _SWITCH.remove(found)


_SWITCH: list[Switch] = []


@task
def first(n: int) -> int:
    _SWITCH[-1].ran.append(("first", current().id))
    return n + 1


@task(retry=Retry(attempts=2, backoff=Constant(0.0)))
def risky(n: int, by: int = 1) -> int:
    _SWITCH[-1].ran.append(("risky", current().id))
    if _SWITCH[-1].is_broken and n < 100:
        raise ValueError("no")
    return n * by


@task
def last(n: int) -> int:
    return -n


flow = (first >> given(risky, by=10) >> last).named("flow")


def failed(backend: Local, n: int = 1) -> Ref[int]:
    ref = submit(flow(n), on=backend).unwrap()
    assert isinstance(result(ref, on=backend, timeout=PATIENCE), Failure)
    return ref


def test_history_has_each_step_with_its_attempts(backend: Local, switch: Switch) -> None:
    ref = failed(backend)
    found = history(ref, on=backend).unwrap()
    assert (found.id, found.flow, found.state, found.origin) == (ref.id, "flow", "failed", ref.id)
    assert [(step.path, step.task, step.kind) for step in found.steps] == [
        ("0", "first", "step"),
        ("1", "risky", "step"),
    ]
    done, broken = found.steps
    assert done.result == Success(2)
    assert len(done.attempts) == 1
    assert isinstance(broken.result, Failure)
    faults = [attempt.result.failure() for attempt in broken.attempts if attempt.result]
    assert [fault.attempts for fault in faults if isinstance(fault, Raised)] == [1, 2]
    assert all(isinstance(fault, Raised) and "in risky" in fault.traceback for fault in faults)
    assert found.submitted is not None
    assert found.ended is not None
    times = [found.submitted, done.began, done.ended, broken.began, broken.ended, found.ended]
    assert times == sorted(time for time in times if time is not None)


def test_resume_goes_on_where_the_call_stopped(backend: Local, switch: Switch) -> None:
    ref = failed(backend)
    switch.is_broken = False
    again = resume(ref, on=backend).unwrap()
    assert resume(ref, on=backend) == Success(again)
    assert again != ref
    assert result(again, on=backend) == Success(-20)
    assert [name for name, _ in switch.ran] == ["first", "risky", "risky", "risky"]
    assert {id for _, id in switch.ran} == {ref.id}
    found = history(again, on=backend).unwrap()
    assert [(step.path, step.taken_over) for step in found.steps] == [
        ("0", True),
        ("1", False),
        ("2", False),
    ]
    assert found.steps[0].result == Success(2)
    assert found.origin == ref.id
    assert status(ref, on=backend).unwrap().state == "failed"


def test_resume_of_a_resumed_call_keeps_what_both_did(backend: Local, switch: Switch) -> None:
    ref = failed(backend)
    second = resume(ref, on=backend).unwrap()
    assert isinstance(result(second, on=backend), Failure)
    switch.is_broken = False
    third = resume(second, on=backend).unwrap()
    assert result(third, on=backend) == Success(-20)
    assert [name for name, _ in switch.ran].count("first") == 1
    assert {id for _, id in switch.ran} == {ref.id}


def test_a_call_that_goes_on_here_does_not_go_on_elsewhere_too(
    backend: Local, switch: Switch
) -> None:
    ref = failed(backend)
    again = resume(ref, on=backend).unwrap()
    other = local()
    refused = resume(ref, on=backend, to=other).failure()
    assert isinstance(refused, Conflict)
    assert again.id in refused.message
    assert isinstance(result(again, on=backend, timeout=PATIENCE), Failure)
    assert isinstance(result(resume(again, on=backend, to=other).unwrap(), on=other), Failure)
    other.close()


def test_a_ref_of_any_flow_can_be_resumed(backend: Local, switch: Switch) -> None:
    ref = failed(backend)
    switch.is_broken = False
    again = resume(identity.ref(ref.id), on=backend).unwrap()
    assert result(again, on=backend, timeout=PATIENCE) == Success(-20)


def test_resume_with_other_arguments(backend: Local, switch: Switch) -> None:
    ref = failed(backend)
    wrong = resume(ref, on=backend, args=["many"]).failure()
    assert isinstance(wrong, BadPayload)
    assert "Expected `int`" in wrong.message
    assert isinstance(resume(ref, on=backend, args=[1, 2, 3]).failure(), BadPayload)
    assert isinstance(resume(ref, on=backend, args={"n": 1}).failure(), BadPayload)
    with pytest.raises(TypeError, match=r"write args=\['many'\]"):
        resume(ref, on=backend, args="many")
    again = resume(ref, on=backend, args=[100]).unwrap()
    assert result(again, on=backend) == Success(-1000)
    late = resume(ref, on=backend, args=[200]).failure()
    assert isinstance(late, Conflict)
    assert again.id in late.message


def test_arguments_need_one_failed_step(backend: Local, switch: Switch) -> None:
    ref = submit(together(risky, risky)(1), on=backend).unwrap()
    assert isinstance(result(ref, on=backend), Failure)
    fault = resume(ref, on=backend, args=[100]).failure()
    assert isinstance(fault, Misconfigured)
    assert "[0], [1]" in fault.message


def test_resume_of_what_needs_none_says_why(backend: Local, switch: Switch) -> None:
    done = submit(first(1), on=backend).unwrap()
    assert result(done, on=backend) == Success(2)
    fault = resume(done, on=backend).failure()
    assert isinstance(fault, Conflict)
    assert "fork" in str(fault)
    waiting = submit(awaits(go)("x"), on=backend).unwrap()
    assert "cancel it first" in str(resume(waiting, on=backend).failure())
    assert isinstance(resume(first.ref("none"), on=backend).failure(), Unknown)


def test_a_cancelled_call_goes_on_with_its_signals_and_sleeps(
    backend: Local, switch: Switch
) -> None:
    switch.is_broken = False
    ref = submit((first >> keep(awaits(go)) >> sleep(600))(1), on=backend).unwrap()
    assert send(ref, go, 7, on=backend) == Success(None)
    until(lambda: len(history(ref, on=backend).unwrap().steps) == 3)
    before = history(ref, on=backend).unwrap()
    assert before.state == "waiting"
    assert before.signals == {"go": 7}
    assert cancel(ref, on=backend) == Success(None)
    again = resume(ref, on=backend).unwrap()
    until(lambda: status(again, on=backend).unwrap().state == "waiting")
    found = history(again, on=backend).unwrap()
    assert [step.taken_over for step in found.steps] == [True, True, False]
    assert found.signals == {"go": 7}
    due, was = found.steps[-1].until, before.steps[-1].until
    assert due is not None
    assert was is not None
    assert abs((due - was).total_seconds()) < 5
    assert [name for name, _ in switch.ran] == ["first"]


def test_a_branch_that_ended_does_not_run_again(backend: Local, switch: Switch) -> None:
    both = each(first >> risky)
    ref = submit(both([1, 200]), on=backend).unwrap()
    assert isinstance(result(ref, on=backend), Failure)
    switch.is_broken = False
    ran = len(switch.ran)
    assert result(resume(ref, on=backend).unwrap(), on=backend) == Success([2, 201])
    assert [name for name, _ in switch.ran[ran:]] == ["risky"]


def test_a_branch_that_was_cancelled_and_rescued_does_not_run_again(
    backend: Local, switch: Switch
) -> None:
    ran: list[str] = []

    @task
    async def breaks(n: int) -> int:
        ran.append("breaks")
        raise ValueError("no")

    @task
    async def lasts(n: int) -> int:
        ran.append("lasts")
        await asyncio.Event().wait()
        return n

    @task
    def instead(fault: Fault) -> tuple[int, int]:
        ran.append("instead")
        return (1, 2)

    both = together(breaks, lasts, on_failure="cancel").rescue(instead)
    ref = submit((both >> spread(risky))(1), on=backend).unwrap()
    assert isinstance(result(ref, on=backend, timeout=PATIENCE), Failure)
    switch.is_broken = False
    again = resume(ref, on=backend).unwrap()
    assert result(again, on=backend, timeout=PATIENCE) == Success(2)
    assert ran == ["breaks", "lasts", "instead"]


def test_resume_on_another_backend(switch: Switch) -> None:
    one, other = local(), local()
    ref = failed(one)
    switch.is_broken = False
    moved = resume(ref, on=one, to=other).unwrap()
    assert result(moved, on=other) == Success(-20)
    assert isinstance(result(moved, on=one).failure(), Unknown)
    assert {id for _, id in switch.ran} == {ref.id}
    one.close()
    other.close()


def test_fork_takes_over_what_came_before_a_step(backend: Local, switch: Switch) -> None:
    switch.is_broken = False
    ref = submit(flow(1), on=backend, key="order-7").unwrap()
    assert result(ref, on=backend) == Success(-20)
    forks = [fork(ref, "1", on=backend).unwrap() for _ in range(2)]
    assert len({ref, *forks}) == 3
    assert [result(one, on=backend) for one in forks] == [Success(-20)] * 2
    assert [name for name, _ in switch.ran] == ["first", "risky", "risky", "risky"]
    assert [id for _, id in switch.ran[2:]] == [one.id for one in forks]
    assert history(forks[0], on=backend).unwrap().origin == forks[0].id
    fault = fork(ref, "7[0]", on=backend).failure()
    assert isinstance(fault, Unknown)
    assert "there are 0, 1, 2" in fault.message


def test_a_running_call_can_be_forked(backend: Local, switch: Switch) -> None:
    ref = submit((first >> keep(awaits(go)))(1), on=backend).unwrap()
    until(lambda: status(ref, on=backend).unwrap().state == "waiting")
    forked = fork(ref, "1[1]", on=backend).unwrap()
    assert send(forked, go, 8, on=backend) == Success(None)
    assert result(forked, on=backend) == Success((2, 8))
    assert status(ref, on=backend).unwrap().state == "waiting"


def test_no_secret_is_shown(backend: Local) -> None:
    @task
    def log_in(password: Secret[str]) -> Secret[str]:
        return password

    ref = submit((log_in >> fused(log_in >> log_in))(Secret("hunter2")), on=backend).unwrap()
    assert result(ref, on=backend) == Success(Secret("hunter2"))
    found = history(ref, on=backend).unwrap()
    assert found.result == Success(Secret("hunter2"))
    assert [step.result for step in found.steps] == [Success(Secret("hunter2"))] * 2
    untyped = history(identity.ref(ref.id), on=backend).unwrap()
    assert [step.result for step in untyped.steps] == [Success("***")] * 2
    for shown in (found, untyped):
        assert shown.plan is not None
        plan = shown.plan
        assert [bytes(raw) for raw in plan.args.positional] == [b'"***"']
        assert "hunter2" not in repr(shown)


def test_an_error_is_read_by_its_type(backend: Local) -> None:
    @task
    def asks(n: int) -> Result[int, str]:
        return Failure("too small")

    ref = submit((asks >> identity)(1), on=backend).unwrap()
    assert result(ref, on=backend) == Failure("too small")
    assert history(ref, on=backend).unwrap().steps[0].result == Failure("too small")
    assert history(identity.ref(ref.id), on=backend).unwrap().result == Failure("too small")


def test_a_cancelled_step_says_so(backend: Local) -> None:
    @task
    async def long() -> None:
        await asyncio.Event().wait()

    ref = submit(long(), on=backend).unwrap()
    until(lambda: len(history(ref, on=backend).unwrap().steps) == 1)
    cancel(ref, on=backend)
    until(lambda: history(ref, on=backend).unwrap().steps[0].ended is not None)
    [step] = history(ref, on=backend).unwrap().steps
    assert step.result is not None
    assert isinstance(step.result.failure(), Cancelled)


def test_history_comes_in_pages(backend: Local, switch: Switch) -> None:
    ref = submit(each(first)([*range(25)]), on=backend).unwrap()
    result(ref, on=backend)
    seen, after = [], ""
    for _ in count():
        page = backend.history(ref.id, after, 10).unwrap()
        seen.append(len(page.steps))
        after = page.next
        if not after:
            break
    assert seen == [10, 10, 5]


def test_calls_are_listed_and_forgotten(backend: Local, switch: Switch) -> None:
    refs = [submit(first(n), on=backend).unwrap() for n in range(3)]
    broken = failed(backend)
    for ref in refs:
        result(ref, on=backend)

    def page(query: CallQuery, after: str = "") -> tuple[list[str], CallPage]:
        found = backend.calls(query, after).unwrap()
        return [call.id for call in found.calls], found

    ids, newest = page(CallQuery(limit=2))
    assert ids == [broken.id, refs[2].id]
    assert newest.calls[0].fault == "Raised"
    assert page(CallQuery(limit=2), newest.next)[0] == [refs[1].id, refs[0].id]
    assert page(CallQuery(states=frozenset({"failed"})))[0] == [broken.id]
    assert page(CallQuery(states=frozenset({"lost"})))[0] == []
    assert page(CallQuery(flow="flow"))[0] == [broken.id]
    assert page(CallQuery(until=newest.calls[1].submitted))[0] == [refs[1].id, refs[0].id]
    assert backend.forget(broken.id) == Success(None)
    assert isinstance(backend.forget(broken.id).failure(), Unknown)
    waiting = submit(awaits(go)("x"), on=backend).unwrap()
    assert isinstance(backend.forget(waiting.id).failure(), Conflict)


def test_callers_that_await_get_the_same(backend: Local, switch: Switch) -> None:
    ref = failed(backend)

    async def main() -> None:
        found = (await aio.history(ref, on=backend)).unwrap()
        assert found == history(ref, on=backend).unwrap()
        switch.is_broken = False
        again = (await aio.resume(ref, on=backend)).unwrap()
        assert await aio.result(again, on=backend) == Success(-20)
        forked = (await aio.fork(again, "2", on=backend)).unwrap()
        assert await aio.result(forked, on=backend) == Success(-20)

    asyncio.run(main())


def test_a_call_that_goes_on_keeps_its_secrets_encrypted(switch: Switch) -> None:
    @task
    def log_in(password: Secret[str]) -> Secret[str]:
        return password

    @task
    def use(token: Secret[str], at: Secret[str]) -> int:
        if _SWITCH[-1].is_broken:
            raise ValueError("no")
        return len(token.get_secret_value() + at.get_secret_value())

    one, other = (sealing(local(), [bytes(32).replace(b"\0", key)]) for key in (b"a", b"b"))
    flow = log_in >> given(use, Secret("hunter3"))
    ref = submit(flow(Secret("hunter2")), on=one).unwrap()
    assert isinstance(result(ref, on=one), Failure)
    assert history(ref, on=one).unwrap().steps[0].result == Success(Secret("hunter2"))
    wrong = resume(ref, on=one, args=[7]).failure()
    assert isinstance(wrong, BadPayload)
    switch.is_broken = False
    for backend in (other, one):
        again = resume(ref, on=one, to=backend).unwrap()
        plan = backend.history(again.id).unwrap().plan
        assert plan is not None
        assert b"hunter" not in encode(plan)
        assert result(again, on=backend) == Success(14)
        args = [step.args for step in replay(again, on=backend).unwrap().steps]
        assert args == [(Secret("hunter2"),), (Secret("hunter2"), Secret("hunter3"))]
    one.close()
    other.close()
