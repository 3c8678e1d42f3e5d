"""The timed work: the same for each library, as its own users would write it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import TypeAlias

from celery import Celery, chain
from taskiq import AsyncTaskiqTask, InMemoryBroker
from taskiq_pipelines import Pipeline, PipelineMiddleware

from onward import Flow, aio, fused, local, plan, run, task
from onward.fault import Fault
from onward.interpret.prepare import prepare

Timer: TypeAlias = Callable[[int], float]
"""Does the work so many times, and gives the seconds that it took."""


@dataclass(frozen=True)
class Contender:
    """A row of a table.

    Args:
        table: The table's title; its first row is what the others are compared with.
        name: What does the work.
        time: Its timer.
        parts: How many equal parts the work has; what is shown is the time of one.
    """

    table: str
    name: str
    time: Timer
    parts: int = 1


def contenders(loop: asyncio.Runner) -> Iterator[Contender]:
    """All rows of all tables.

    Args:
        loop: Where they run what has to be awaited.
    """
    yield from _blocking()
    yield from _awaiting(loop)
    yield from _building()
    yield from _travelling()


def first(n: int) -> int:
    return n + 1


def second(n: int) -> int:
    return n + 1


def third(n: int) -> int:
    return n + 1


async def first_async(n: int) -> int:
    return n + 1


async def second_async(n: int) -> int:
    return n + 1


async def third_async(n: int) -> int:
    return n + 1


one, two, three = task(first), task(second), task(third)
flow = one >> two >> three
async_flow = task(first_async) >> task(second_async) >> task(third_async)
# An outcome is kept for an hour by default, and here there are too many of them for that.
backend = local(keep=0)


def _blocking() -> Iterator[Contender]:
    fused_flow = fused(flow)
    timed_flow = flow.with_(timeout=60)

    app = Celery("benchmarks", broker="memory://")
    app.conf.task_always_eager = True
    x, y, z = map(app.task, (first, second, third))
    made = chain(x.s(1), y.s(), z.s())

    calls: dict[str, Callable[[], int]] = {
        "plain calls": lambda: third(second(first(1))),
        "Onward: run": lambda: run(flow(1), on=backend).unwrap(),
        "Onward: run, flow made each time": (
            lambda: run((one >> two >> three)(1), on=backend).unwrap()
        ),
        "Onward: run, async tasks": lambda: run(async_flow(1), on=backend).unwrap(),
        "Onward: run, fused": lambda: run(fused_flow(1), on=backend).unwrap(),
        "Onward: run, tasks with a timeout": lambda: run(timed_flow(1), on=backend).unwrap(),
        "Celery: chain.apply": lambda: made.apply().get(),
        "Celery: chain.apply_async": lambda: made.apply_async().get(),
        "Celery: chain.apply_async, chain made each time": (
            lambda: chain(x.s(1), y.s(), z.s()).apply_async().get()
        ),
    }
    for name, call in calls.items():
        assert call() == 4, name
        yield Contender("Three functions in a row, the caller blocks", name, _timer(call))


def _awaiting(loop: asyncio.Runner) -> Iterator[Contender]:
    # In place, as nothing then has to be polled for its result: the fastest that this broker has.
    broker = InMemoryBroker(await_inplace=True).with_middlewares(PipelineMiddleware())
    x, y, z = map(broker.task, (first, second, third))
    ax, ay, az = map(broker.task, (first_async, second_async, third_async))
    pipeline = Pipeline(broker, x).call_next(y).call_next(z)
    async_pipeline = Pipeline(broker, ax).call_next(ay).call_next(az)
    loop.run(broker.startup())

    async def plain() -> int:
        return await third_async(await second_async(await first_async(1)))

    async def onward(flow: Flow[[int], int]) -> int:
        return (await aio.run(flow(1), on=backend)).unwrap()

    async def taskiq(*starts: Callable[[int], Awaitable[AsyncTaskiqTask[int]]]) -> int:
        n = 1
        for start in starts:
            n = (await (await start(n)).wait_result()).return_value
        return n

    calls: dict[str, Callable[[], Coroutine[None, None, int]]] = {
        "plain awaits": plain,
        "Onward: aio.run, async tasks": partial(onward, async_flow),
        "Onward: aio.run, sync tasks": partial(onward, flow),
        "taskiq: three kiq in a row, async tasks": partial(taskiq, ax.kiq, ay.kiq, az.kiq),
        "taskiq: three kiq in a row, sync tasks": partial(taskiq, x.kiq, y.kiq, z.kiq),
        "taskiq: Pipeline, async tasks": partial(taskiq, async_pipeline.kiq),
        "taskiq: Pipeline, sync tasks": partial(taskiq, pipeline.kiq),
    }
    for name, call in calls.items():
        assert loop.run(call()) == 4, name
        yield Contender(
            "Three functions in a row, the caller awaits", name, _loop_timer(loop, call)
        )


def _building() -> Iterator[Contender]:
    for steps in (10, 100, 1_000, 10_000):
        timer = _timer(partial(_flow_of, steps))
        yield Contender("Building a flow with >>, for each step", f"{steps:,} steps", timer, steps)


def _travelling() -> Iterator[Contender]:
    prepared = prepare(_flow_of(20)(1), None, 0.0, None, {})
    assert not isinstance(prepared, Fault)
    sent = plan.encode(prepared.plan)
    document = json.loads(sent)
    assert plan.decode(sent).unwrap() == prepared.plan

    table = f"A plan of 20 steps to JSON, {len(sent):,} bytes"
    yield Contender(table, "json.dumps", _timer(partial(json.dumps, document)))
    yield Contender(table, "Onward: encode", _timer(partial(plan.encode, prepared.plan)))
    table = f"{table}, and back"
    yield Contender(table, "json.loads", _timer(partial(json.loads, sent)))
    yield Contender(table, "Onward: decode", _timer(partial(plan.decode, sent)))


def _flow_of(steps: int) -> Flow[[int], int]:
    made: Flow[[int], int] = one
    for _ in range(steps - 1):
        made = made >> two
    return made


def _timer(call: Callable[[], object]) -> Timer:
    def time(loops: int) -> float:
        start = perf_counter()
        for _ in range(loops):
            call()
        return perf_counter() - start

    return time


def _loop_timer(loop: asyncio.Runner, call: Callable[[], Awaitable[object]]) -> Timer:
    async def time(loops: int) -> float:
        start = perf_counter()
        for _ in range(loops):
            await call()
        return perf_counter() - start

    return lambda loops: loop.run(time(loops))
