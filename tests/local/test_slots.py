"""`local()`: how many steps run at a time."""

import asyncio
from collections.abc import Callable
from typing import TypeAlias

import pytest
from returns.result import Success

from onward import (
    Task,
    aio,
    each,
    fused,
    local,
    result,
    results,
    run,
    submit,
    submit_all,
    task,
)
from onward.backends.local import Local
from onward.flows.flow import AnyFlow
from onward.pool import Slots
from tests.local.common import (
    PATIENCE,
    Gate,
    inc,
    inc_later,
)

Wrap: TypeAlias = Callable[[Task[[int], int], Local], AnyFlow]


WAITING: dict[str, Wrap] = {}


def waits(make: Wrap) -> Wrap:
    WAITING[make.__name__] = make
    return make


def test_so_many_sync_steps_run_at_a_time_and_no_more(gate: Gate) -> None:
    backend = local(workers=3)
    refs = submit_all([gate.step(n) for n in range(5)], on=backend).unwrap()
    for _ in range(3):
        gate.await_entry()
    # What waits for a thread waits for good: had a fourth one started, this would tell.
    assert run(inc_later(1), on=backend) == Success(2)
    assert not gate.entered.acquire(blocking=False)
    gate.open.set()
    assert [result(ref, on=backend) for ref in refs] == [Success(n) for n in range(5)]


def test_a_place_given_to_who_has_just_left_is_given_to_the_next() -> None:
    async def main() -> None:
        slots = Slots(1)
        await slots.take(None)
        leaving, staying = (asyncio.create_task(slots.take(None)) for _ in range(2))
        await asyncio.sleep(0)
        slots.add(1)
        leaving.cancel()
        await asyncio.wait_for(staying, PATIENCE)
        slots.add(1)
        await asyncio.wait_for(slots.take(None), PATIENCE)

    asyncio.run(main())


def test_async_steps_take_no_workers(single: Local, gate: Gate) -> None:
    held = submit(gate.step(1), on=single).unwrap()
    gate.await_entry()
    assert run(each(inc_later)([1, 2, 3]), on=single) == Success([2, 3, 4])
    gate.open.set()
    assert result(held, on=single) == Success(1)


@waits
def a_sync_step(inner: Task[[int], int], on: Local) -> AnyFlow:
    @task
    def outer(n: int) -> int:
        return run(inner(n), on=on, timeout=120).unwrap()

    return outer


@waits
def a_sync_step_that_submits(inner: Task[[int], int], on: Local) -> AnyFlow:
    @task
    def outer(n: int) -> int:
        refs = submit_all([inner(n), inner(n)], on=on).unwrap()
        found = dict(results(refs, on=on, timeout=120))
        return found[refs[0]].unwrap()

    return outer


@waits
def a_sync_step_with_a_timeout(inner: Task[[int], int], on: Local) -> AnyFlow:
    @task(timeout=60)
    def outer(n: int) -> int:
        return result(submit(inner(n), on=on).unwrap(), on=on, timeout=60).unwrap()

    return outer


@waits
def a_sync_step_with_a_loop_of_its_own(inner: Task[[int], int], on: Local) -> AnyFlow:
    @task
    def outer(n: int) -> int:
        return asyncio.run(aio.run(inner(n), on=on, timeout=120)).unwrap()

    return outer


@waits
def an_async_step(inner: Task[[int], int], on: Local) -> AnyFlow:
    @task
    async def outer(n: int) -> int:
        return (await aio.run(inner(n), on=on, timeout=120)).unwrap()

    return outer


@waits
def a_fused_sync_step(inner: Task[[int], int], on: Local) -> AnyFlow:
    return fused(a_sync_step(inner, on))


@waits
def a_fused_async_step(inner: Task[[int], int], on: Local) -> AnyFlow:
    return fused(an_async_step(inner, on))


@pytest.mark.parametrize("make", WAITING.values(), ids=WAITING)
def test_a_step_that_waits_for_another_call_does_not_wait_for_its_own_place(
    single: Local, make: Wrap
) -> None:
    flow = make(inc.with_(timeout=60), single)
    ref = submit(flow(1), on=single).unwrap()
    assert result(ref, on=single, timeout=120) == Success(2)
    # And its place is there for the next ones, once.
    gate = Gate()
    refs = submit_all([gate.step(n) for n in range(2)], on=single).unwrap()
    gate.await_entry()
    assert run(inc_later(1), on=single) == Success(2)
    assert not gate.entered.acquire(blocking=False)
    gate.open.set()
    assert [result(ref, on=single) for ref in refs] == [Success(0), Success(1)]
