"""Steps that misbehave harm nobody else."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest
from returns.result import Failure, Result, Success

from onward import (
    BadPayload,
    Constant,
    Fault,
    Raised,
    Retry,
    fused,
    local,
    result,
    results,
    run,
    submit,
    submit_all,
    task,
    together,
)
from onward.backends.local import Local
from onward.flows.flow import AnyFlow
from tests.unit.bad import inc, wrong

PATIENCE = 120.0


@task
def instead(error: Fault) -> int:
    return -1


@pytest.fixture(scope="module")
def backend() -> Iterator[Local]:
    backend = local()
    yield backend
    backend.close()


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Quits(Exception):
    def __str__(self) -> NoReturn:
        raise SystemExit(3)


class NoText(Exception):
    def __str__(self) -> str:
        return wrong(5)  # type: ignore[no-any-return]  # which is what is tried


class Hostile(Exception):
    def __str__(self) -> str:
        return "lone \ud800, zero \0, " + "x" * 1_000_000


Hostile.__qualname__ = "Hostile\ud800"


def nested_groups(depth: int) -> ExceptionGroup[Exception]:
    group = ExceptionGroup("innermost", [ValueError("a"), OSError("b")])
    for _ in range(depth):
        group = ExceptionGroup("outer", [group])
    return group


def endless_chain() -> Exception:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    return one


RAISES: dict[str, tuple[Callable[[], BaseException], str, str]] = {
    "an exception": (lambda: ValueError("bad header"), "ValueError", "bad header"),
    "one without text": (ValueError, "ValueError", ""),
    "one of the user's": (lambda: LookupError(1, 2), "LookupError", "(1, 2)"),
    "one whose text raises": (Unprintable, "Unprintable", "cannot be read"),
    "one whose text quits": (Quits, "Quits", "cannot be read"),
    "one whose text is none": (NoText, "NoText", "cannot be read"),
    "one that no JSON holds": (Hostile, "Hostile", "lone \\ud800"),
    "a group": (lambda: nested_groups(0), "ExceptionGroup", "innermost (2 sub-exceptions)"),
    "a deep group": (lambda: nested_groups(2_000), "ExceptionGroup", "outer (1 sub-exception)"),
    "one that causes itself": (endless_chain, "ValueError", "one"),
    "SystemExit": (lambda: SystemExit(3), "SystemExit", "3"),
    "KeyboardInterrupt": (KeyboardInterrupt, "KeyboardInterrupt", ""),
    "GeneratorExit": (GeneratorExit, "GeneratorExit", ""),
    "StopIteration": (lambda: StopIteration(5), "StopIteration", "5"),
    "CancelledError": (asyncio.CancelledError, "asyncio.exceptions.CancelledError", ""),
    "TimeoutError": (lambda: TimeoutError("slow"), "TimeoutError", "slow"),
    "MemoryError": (MemoryError, "MemoryError", ""),
    "RecursionError": (lambda: RecursionError("deep"), "RecursionError", "deep"),
}


def ways(fn: Callable[[int], int], backend: Local) -> Iterator[Result[int, Fault]]:
    """What comes of a function as a step, in each place where steps are run."""

    @task
    def step(n: int) -> int:
        return fn(n)

    @task(name="step")
    async def async_step(n: int) -> int:
        return fn(n)

    flows: list[AnyFlow] = [step, step.with_(timeout=PATIENCE), async_step]
    for flow in flows:
        yield run(flow(1), on=backend, timeout=PATIENCE)
        yield run((inc >> flow)(1), on=backend)
        yield result(submit(fused(flow)(1), on=backend).unwrap(), on=backend, timeout=PATIENCE)
        both: AnyFlow = together(flow, inc)
        yield run(both(1), on=backend, timeout=PATIENCE)
        assert run(flow.rescue(instead)(1), on=backend, timeout=PATIENCE) == Success(-1)


@pytest.mark.parametrize("case", RAISES.values(), ids=RAISES)
def test_whatever_a_step_raises_is_raised_and_nothing_worse(
    backend: Local, case: tuple[Callable[[], BaseException], str, str]
) -> None:
    make, error_type, message = case

    def raises(n: int) -> int:
        raise make()

    for answer in ways(raises, backend):
        fault = answer.failure()
        assert isinstance(fault, Raised)
        if error_type == "StopIteration" and fault.error_type == "RuntimeError":
            continue  # which is what Python itself makes of it in a coroutine
        assert fault.task == "step"
        assert error_type in fault.error_type
        assert message in fault.message
        assert len(fault.message) < 20_000
        assert len(fault.traceback) < 20_000
        assert str(fault)
    assert run(inc(1), on=backend) == Success(2)


def test_a_step_that_cancels_itself_is_a_step_that_raised(backend: Local) -> None:
    @task
    async def cancels_itself(n: int) -> int:
        current = asyncio.current_task()
        assert current is not None
        current.cancel()
        await asyncio.sleep(0)
        return n

    flows: list[AnyFlow] = [
        cancels_itself,
        cancels_itself.with_(timeout=PATIENCE),
        together(cancels_itself, inc),
        fused(cancels_itself),
        inc >> cancels_itself,
    ]
    for flow in flows:
        fault = run(flow(1), on=backend, timeout=PATIENCE).failure()
        assert isinstance(fault, Raised)
        assert (fault.task, fault.error_type) == (
            "cancels_itself",
            "asyncio.exceptions.CancelledError",
        )


def test_a_step_that_gives_another_type_is_reported_with_its_annotation(backend: Local) -> None:
    for value in ("text", None, 1.5, [1], True, object(), Success(1), {1: 2}):
        for answer in ways(lambda n, value=value: value, backend):  # type: ignore[misc]  # which is what is tried
            fault = answer.failure()
            assert isinstance(fault, BadPayload)
            assert fault.task == "step"
            assert "Expected `int`, got " in fault.message or "no JSON form" in fault.message


def test_a_step_that_promised_a_result_and_gives_none_is_told(backend: Local) -> None:
    @task
    def fails(n: int) -> Result[int, str]:
        return wrong(n)  # type: ignore[no-any-return]  # which is what is tried

    fault = run(fails(1), on=backend).failure()
    assert isinstance(fault, BadPayload)
    assert fault.message == "its annotation says Result, and it returned int"


def test_a_step_that_forgets_to_await_is_told(backend: Local) -> None:
    made: list[Any] = []

    async def work_of(n: int) -> int:
        return n

    def forgets(n: int) -> int:
        made.append(work_of(n))
        return made[-1]  # type: ignore[no-any-return]  # which is what is tried

    forgets_step = task(forgets)
    fault = run(forgets_step(1), on=backend).failure()
    for coroutine in made:
        coroutine.close()
    assert isinstance(fault, BadPayload)
    assert "coroutine" in fault.message


def test_an_error_that_is_none_of_those_promised_is_told(backend: Local) -> None:
    @task
    def fails(n: int) -> Result[int, str]:
        return Failure(wrong(n))

    fault = run(fails(1), on=backend).failure()
    assert isinstance(fault, BadPayload)
    assert "int is not one of str" in fault.message


def test_a_step_cannot_change_what_another_attempt_or_branch_is_given(backend: Local) -> None:
    seen: list[list[int]] = []

    @task(retry=Retry(attempts=2, backoff=Constant(0)))
    def spoils(numbers: list[int]) -> int:
        seen.append(list(numbers))
        numbers.clear()
        if len(seen) == 1:
            raise OSError("once")
        return 0

    assert run(together(spoils, spoils)([1, 2]), on=backend) == Success((0, 0))
    assert seen == [[1, 2]] * 3


def test_a_generator_that_is_thrown_away_leaves_nothing_running(backend: Local) -> None:
    refs = submit_all([inc(n) for n in range(3)], on=backend).unwrap()
    coming = results(refs, on=backend)
    next(coming)
    with contextlib.closing(coming):  # type: ignore[type-var]  # an iterator that happens to be a generator
        pass
    assert {result(ref, on=backend) for ref in refs} == {Success(1), Success(2), Success(3)}
