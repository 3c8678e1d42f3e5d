"""`local()`: retries, timeouts and cancelling."""

import asyncio
import threading

import pytest
from returns.result import Failure, Success

from onward import (
    Cancelled,
    Constant,
    Raised,
    Retry,
    TimedOut,
    cancel,
    current,
    result,
    run,
    status,
    submit,
    task,
)
from onward.backends.local import Local
from tests.local.common import (
    PATIENCE,
    Gate,
    inc,
    is_cancelled,
    never,
    until,
)

# -- retries and timeouts ---------------------------------------------------------------------


@pytest.mark.parametrize("is_submitted", [True, False])
def test_a_step_is_tried_until_it_succeeds_or_its_attempts_are_used_up(
    backend: Local, is_submitted: bool
) -> None:
    seen: list[int] = []

    @task(retry=Retry(attempts=4, backoff=Constant(0.0)))
    def fails_below(limit: int) -> int:
        seen.append(current().attempt)
        if current().attempt < limit:
            raise ConnectionResetError("not yet")
        return limit

    def outcome(limit: int) -> object:
        if is_submitted:
            return result(submit(fails_below(limit), on=backend).unwrap(), on=backend)
        return run(fails_below(limit), on=backend)

    assert outcome(3) == Success(3)
    assert seen == [1, 2, 3]
    seen.clear()
    failed = outcome(9)
    assert isinstance(failed, Failure)
    assert isinstance(failed.failure(), Raised)
    assert failed.failure().attempts == 4
    assert seen == [1, 2, 3, 4]


def test_an_async_step_that_takes_too_long_is_cancelled_and_tried_again(backend: Local) -> None:
    ended: list[int] = []

    @task(timeout=0.3, retry=Retry(attempts=3, backoff=Constant(0.0)))
    async def slow_at_first(n: int) -> int:
        if current().attempt == 3:
            return n
        try:
            return await asyncio.Future()
        finally:
            ended.append(current().attempt)

    assert run(slow_at_first(7), on=backend) == Success(7)
    assert ended == [1, 2]


def test_a_sync_step_that_takes_too_long_is_told_and_left_behind(backend: Local) -> None:
    noticed = threading.Event()

    @task(timeout=0.05)
    def looks() -> None:
        until(lambda: current().cancelled)
        noticed.set()

    fault = run(looks(), on=backend).failure()
    assert isinstance(fault, TimedOut)
    assert (fault.seconds, fault.attempts, fault.still_running) == (0.05, 1, False)
    assert noticed.wait(PATIENCE)


def test_only_retried_timeouts_are_tried_again(backend: Local) -> None:
    for retry, attempts in (
        (Retry(3, Constant(0), on=(TimeoutError,)), 3),
        (Retry(3, Constant(0), on=(ConnectionError,)), 1),
        (Retry(3, Constant(0), never=(TimeoutError,)), 1),
    ):
        fault = run(never.with_(timeout=0.01, retry=retry)(1), on=backend).failure()
        assert isinstance(fault, TimedOut)
        assert fault.attempts == attempts


def test_a_step_that_swallows_its_cancellation_holds_up_nobody(backend: Local) -> None:
    @task
    async def stubborn(n: int) -> int:
        while not current().cancelled:
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue
        return n

    fault = run(stubborn.with_(timeout=0.05)(1), on=backend).failure()
    assert isinstance(fault, TimedOut)
    ref = submit(stubborn(1), on=backend).unwrap()
    until(lambda: status(ref, on=backend).unwrap().state == "running")
    assert cancel(ref, on=backend) == Success(None)
    assert isinstance(result(ref, on=backend).failure(), Cancelled)


# -- cancelling -------------------------------------------------------------------------------


def test_an_async_step_is_interrupted_where_it_awaits(backend: Local) -> None:
    started, ended = threading.Event(), threading.Event()

    @task
    async def waits(n: int) -> int:
        started.set()
        try:
            return await asyncio.Future()
        finally:
            ended.set()

    ref = submit((waits >> inc)(1), on=backend).unwrap()
    assert started.wait(PATIENCE)
    assert is_cancelled(ref, backend)
    assert ended.wait(PATIENCE)


def test_a_sync_step_can_see_that_it_was_cancelled(backend: Local) -> None:
    started, seen = threading.Event(), threading.Event()

    @task
    def looks(n: int) -> int:
        started.set()
        until(lambda: current().cancelled)
        seen.set()
        return n

    ref = submit(looks(1), on=backend).unwrap()
    assert started.wait(PATIENCE)
    assert is_cancelled(ref, backend)
    assert seen.wait(PATIENCE)


def test_a_call_that_waits_for_its_turn_is_cancelled(single: Local, gate: Gate) -> None:
    first = submit(gate.step(1), on=single).unwrap()
    gate.await_entry()
    waiting = [submit(inc(n), on=single).unwrap() for n in range(3)]
    assert is_cancelled(waiting[1], single)
    gate.open.set()
    assert [result(ref, on=single) for ref in (first, waiting[0], waiting[2])] == [
        Success(1),
        Success(1),
        Success(3),
    ]


def test_a_call_that_waits_to_be_tried_again_is_cancelled(backend: Local) -> None:
    failed = threading.Event()

    @task(retry=Retry(attempts=2, backoff=Constant(3600)))
    def fails(n: int) -> int:
        failed.set()
        raise OSError("down")

    ref = submit(fails(1), on=backend).unwrap()
    assert failed.wait(PATIENCE)
    assert is_cancelled(ref, backend)


def test_a_delayed_call_is_cancelled_before_it_starts(backend: Local) -> None:
    ran = threading.Event()

    @task
    def runs(n: int) -> int:
        ran.set()
        return n

    assert is_cancelled(submit(runs(1), on=backend, delay=3600).unwrap(), backend)
    assert not ran.is_set()


def test_a_call_that_is_done_keeps_its_outcome(backend: Local) -> None:
    ref = submit(inc(1), on=backend).unwrap()
    assert result(ref, on=backend) == Success(2)
    assert cancel(ref, on=backend) == Success(None)
    assert result(ref, on=backend) == Success(2)
    assert status(ref, on=backend).unwrap().state == "done"


def test_cancelling_twice_is_cancelling_once(backend: Local) -> None:
    ref = submit(never(1), on=backend).unwrap()
    assert is_cancelled(ref, backend)
    assert is_cancelled(ref, backend)
