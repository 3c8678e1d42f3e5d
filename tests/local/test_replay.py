"""`replay`: recorded outcomes through today's code."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from returns.result import Failure, Success

from onward import (
    Fault,
    Misconfigured,
    Ref,
    Replay,
    Secret,
    Signal,
    Unknown,
    aio,
    awaits,
    case,
    each,
    fused,
    given,
    identity,
    keep,
    replay,
    result,
    send,
    sleep,
    spread,
    status,
    submit,
    task,
    together,
)
from onward.backends.local import Local
from onward.flows.flow import AnyFlow
from tests.local.common import until

go = Signal("go", int)
RAN: list[str] = []


@task
def half(n: int) -> int:
    RAN.append("half")
    return n // 2


@task
def less(n: int, by: int) -> int:
    RAN.append("less")
    return n - by


@task
def inverse(n: int) -> int:
    RAN.append("inverse")
    return 100 // n


@task
def mend(fault: Fault) -> int:
    RAN.append("mend")
    return len(fault.task)


@task
def span(n: int) -> list[int]:
    return list(range(n))


def called(flow: AnyFlow, n: Any, backend: Local) -> Ref[Any, Any]:
    ref = submit(flow(n), on=backend).unwrap()
    result(ref, on=backend)
    RAN.clear()
    return ref


def replayed(flow: AnyFlow, ref: Ref[Any, Any], backend: Local) -> Replay[Any, Any]:
    found = replay(flow.ref(str(ref)), on=backend).unwrap()
    assert RAN == []
    return found


def differences(flow: AnyFlow, ref: Ref[Any, Any], backend: Local) -> dict[str, str]:
    found = replayed(flow, ref, backend)
    assert all(step.why for step in found.differences)
    return {step.path: str(step.difference) for step in found.differences}


def test_the_same_code_gives_the_same(backend: Local) -> None:
    many = span >> each(given(less, by=1) >> fused(half >> half))
    flow = half >> keep(inverse.rescue(mend)) >> spread(less) >> many >> sleep(0)
    ref = called(flow, 1, backend)
    found = replayed(flow, ref, backend)
    assert found.result == result(ref, on=backend)
    assert found.differences == ()
    args = {step.path: step.args for step in found.steps}
    assert args["0"] == (1,)
    assert args["1[1].try"] == (0,)
    assert isinstance(args["1[1].rescue"][0], Fault)
    assert args["2"] == (0, 7)
    found = replayed(inverse >> many, called(inverse >> many, 50, backend), backend)
    steps = {step.path: (step.args, step.kwargs, step.result) for step in found.steps}
    assert steps["2[1].0"] == ((1,), {"by": 1}, Success(0))
    assert steps["2[1].1"] == ((0,), {}, Success(0))


def test_a_failed_step_can_be_called_again(backend: Local) -> None:
    ref = called(half >> inverse, 1, backend)
    found = replayed(half >> inverse, ref, backend)
    failed = found.steps[-1]
    assert found.result is not None
    assert failed.result == Failure(found.result.failure())
    with pytest.raises(ZeroDivisionError):
        inverse.fn(*failed.args, **failed.kwargs)  # type: ignore[arg-type]  # they are objects


def test_another_task_at_a_path(backend: Local) -> None:
    ref = called(half >> inverse, 8, backend)
    assert differences(half >> half, ref, backend) == {"1": "task"}


def test_a_step_that_is_added_or_gone(backend: Local) -> None:
    ref = called(half >> inverse, 8, backend)
    assert differences(half >> inverse >> half, ref, backend) == {"2": "added"}
    assert replayed(half >> inverse >> half, ref, backend).result is None
    assert differences(flow_of_half, ref, backend) == {"1": "gone"}


flow_of_half = half >> identity.named("nothing")


def test_other_arguments(backend: Local) -> None:
    ref = called(half >> given(less, by=1), 8, backend)
    assert differences(half >> given(less, by=2), ref, backend) == {"1": "args"}
    assert differences(half >> given(less, by=1), ref, backend) == {}


def test_what_todays_types_refuse(backend: Local) -> None:
    @dataclass(frozen=True)
    class Row:
        name: str

    @task(name="half")
    def renamed(n: int) -> Row:
        raise AssertionError

    @task(name="inverse")
    def strict(n: str) -> int:
        raise AssertionError

    ref = called(half >> inverse, 8, backend)
    assert differences(renamed >> identity.named("x"), ref, backend)["0"] == "value"
    first = replayed(renamed, ref, backend).steps[0]
    assert "Expected" in first.why
    assert first.result == Success(4)
    ref = called(inverse >> half, 8, backend)
    found = replayed(strict >> half, ref, backend)
    assert (found.steps[0].difference, found.steps[0].args) == ("value", ())


def test_another_branch_of_a_case(backend: Local) -> None:
    @task
    def sort(n: int) -> int | str:
        raise AssertionError

    @task(name="sort")
    def sorted_before(n: int) -> int | str:
        return n

    @task
    def text(word: str) -> int:
        return 0

    before = sorted_before >> case(int, half).case(str, text)
    ref = called(before, 8, backend)
    assert differences(sort >> case(int, half).case(str, text), ref, backend) == {}
    swapped = sort >> case(str, text).case(int, half)
    found = {step.path: step for step in replayed(swapped, ref, backend).differences}
    assert found["1[1]"].difference == "branch"
    assert "1[0]" in found["1[1]"].why


def test_a_call_that_is_under_way(backend: Local) -> None:
    flow = half >> together(awaits(go), inverse)
    ref = submit(flow(8), on=backend).unwrap()
    until(lambda: status(ref, on=backend).unwrap().state == "waiting")
    RAN.clear()
    found = replayed(flow, ref, backend)
    assert found.result is None
    assert found.differences == ()
    assert [(step.path, step.kind) for step in found.steps] == [
        ("0", "step"),
        ("1[0]", "awaits"),
        ("1[1]", "step"),
    ]
    send(ref, go, 3, on=backend)
    assert result(ref, on=backend) == Success((3, 25))
    assert replayed(flow, ref, backend).steps[1].result == Success(3)


def test_secrets_stay_secrets(backend: Local) -> None:
    @task
    def log_in(password: Secret[str]) -> int:
        return len(password.get_secret_value())

    ref = called(log_in, Secret("hunter2"), backend)
    found = replayed(log_in, ref, backend)
    assert found.steps[0].args == (Secret("hunter2"),)
    assert "hunter2" not in repr(found)


def test_what_cannot_be_replayed_says_why(backend: Local) -> None:
    ref = called(half, 8, backend)
    assert isinstance(replay(identity.ref(str(ref)), on=backend).failure(), Misconfigured)
    assert isinstance(replay(half.ref("none"), on=backend).failure(), Unknown)


def test_callers_that_await_get_the_same(backend: Local) -> None:
    ref = called(half >> inverse, 8, backend)
    assert asyncio.run(aio.replay(ref, on=backend)) == replay(ref, on=backend)
