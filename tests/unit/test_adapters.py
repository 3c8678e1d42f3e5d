"""The adapters of backends, for callers that block and that await."""

import asyncio
import gc
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from returns.result import Failure, Result, Success

from onward import (
    Cancels,
    Catalog,
    Fault,
    Misconfigured,
    Ref,
    Schedule,
    Schedules,
    Unavailable,
    Unsupported,
    aio,
    cancel,
    local,
    pause_schedule,
    resume_schedule,
    run,
    schedule,
    schedules,
    submit,
    unschedule,
)
from onward.backend import (
    Backend,
    Status,
    Submission,
    Worker,
)
from onward.backend.adapters import (
    Blocking,
    BlockingCancels,
    BlockingSchedules,
)
from onward.backend.loop import LoopThread
from onward.backends.local import Local
from onward.outcome import Outcome
from onward.plan import Plan
from tests.unit.callers import FLOW, PATIENCE, inc, inc_later, never
from tests.unit.clockwork import Clockwork
from tests.unit.third_party import Postal

T = TypeVar("T")


@pytest.fixture
def backend() -> Iterator[Local]:
    backend = local()
    yield backend
    backend.close()


@pytest.fixture
def post() -> Iterator[Postal]:
    post = Postal()
    worker = post.serve(Catalog(FLOW, never)).unwrap()
    yield post
    worker.stop(grace=0)
    post.close()


def test_a_backend_that_cannot_cancel_says_so_to_blocking_and_awaiting_callers(
    post: Postal,
) -> None:
    class Unstoppable:
        def __init__(self) -> None:
            for name in (
                *("submit", "submit_all", "outcome", "settled", "status", "serve", "close"),
            ):
                setattr(self, name, getattr(post, name))

    backend: Backend = Unstoppable()  # type: ignore[assignment]  # it is given its methods above
    ref = asyncio.run(aio.submit(inc(1), on=backend)).unwrap()
    refused = cancel(ref, on=backend)  # type: ignore[arg-type]  # which is what is tried
    assert isinstance(refused.failure(), Unsupported)
    assert asyncio.run(aio.cancel(ref, on=backend)) == refused  # type: ignore[arg-type]  # too


class Plain:
    """An engine that awaits, over one that blocks, and notes which threads its loop is on."""

    def __init__(self, clock: Clockwork) -> None:
        self.clock = clock
        self.threads: set[str] = set()

    async def _done(self, do: Callable[[], Result[T, Fault]]) -> Result[T, Fault]:
        self.threads.add(threading.current_thread().name)
        return await asyncio.to_thread(do)

    async def submit(self, submission: Submission, /) -> Result[str, Fault]:
        return await self._done(lambda: self.clock.submit(submission))

    async def submit_all(self, submissions: Iterable[Submission], /) -> Result[list[str], Fault]:
        return await self._done(lambda: self.clock.submit_all(submissions))

    async def outcome(
        self, id: str, /, timeout: float | None = None
    ) -> Result[Outcome | None, Fault]:
        return await self._done(lambda: self.clock.outcome(id, timeout))

    async def settled(
        self, ids: Collection[str], /, timeout: float | None = None
    ) -> Result[Mapping[str, Outcome], Fault]:
        return await self._done(lambda: self.clock.settled(ids, timeout))

    async def status(self, id: str, /) -> Result[Status, Fault]:
        return await self._done(lambda: self.clock.status(id))

    async def serve(
        self,
        catalog: Catalog,
        /,
        *,
        concurrency: int | None = None,
        queues: Collection[str] | None = None,
    ) -> Result[Worker, Fault]:
        return await self._done(lambda: self.clock.serve(catalog, concurrency=concurrency))


class Clocked(Plain):
    """It makes calls by the clock, and cannot cancel."""

    async def schedule(self, schedule: Schedule, plan: Plan, /) -> Result[Schedule, Fault]:
        return await self._done(lambda: self.clock.schedule(schedule, plan))

    async def schedules(self) -> Result[list[Schedule], Fault]:
        return await self._done(self.clock.schedules)

    async def pause_schedule(self, name: str, /) -> Result[None, Fault]:
        return await self._done(lambda: self.clock.pause_schedule(name))

    async def resume_schedule(self, name: str, /) -> Result[None, Fault]:
        return await self._done(lambda: self.clock.resume_schedule(name))

    async def unschedule(self, name: str, /) -> Result[None, Fault]:
        return await self._done(lambda: self.clock.unschedule(name))


class Engine(Clocked):
    """It can cancel too."""

    async def cancel(self, id: str, /) -> Result[None, Fault]:
        return await self._done(lambda: self.clock.cancel(id))


class EngineBackend(BlockingCancels[Engine], BlockingSchedules[Engine]):
    """All that `Engine` can do, for callers that block."""


@pytest.fixture
def engine() -> Iterator[Engine]:
    clock = Clockwork()
    yield Engine(clock)
    clock.close()


def test_an_engine_that_awaits_serves_both_kinds_of_caller_with_all_it_can(engine: Engine) -> None:
    on = EngineBackend(engine, LoopThread("test-engine"))
    assert isinstance(on, Cancels)
    assert isinstance(on, Schedules)
    yearly = Schedule("n", "inc", cron="0 0 1 1 *")
    assert schedule(inc(1), on=on, name="n", cron="0 0 1 1 *") == Success(yearly)
    assert pause_schedule("n", on=on) == Success(None)
    assert [each.paused for each in schedules(on).unwrap()] == [True]
    assert resume_schedule("n", on=on) == Success(None)
    ref = submit(never(1), on=on).unwrap()
    assert cancel(ref, on=on) == Success(None)

    async def main() -> None:
        assert await aio.schedules(on) == Success([yearly])
        made = await aio.schedule(inc(1), on=on, name="m", cron="0 0 1 1 *")
        assert made.unwrap().name == "m"
        assert await aio.cancel(ref, on=on) == Success(None)
        assert (await aio.status(ref, on=on)).unwrap().state == "cancelled"
        assert await aio.pause_schedule("m", on=on) == Success(None)
        assert await aio.resume_schedule("m", on=on) == Success(None)
        assert await aio.unschedule("m", on=on) == Success(None)

    asyncio.run(main())
    assert unschedule("n", on=on) == Success(None)
    assert schedules(on) == Success([])
    assert engine.threads == {"test-engine"}
    on.close()
    assert isinstance(schedules(on).failure(), Unavailable)
    assert isinstance(asyncio.run(aio.schedules(on)).failure(), Unavailable)


@pytest.mark.parametrize(
    ("adapter", "core", "cancels", "clocked"),
    [
        (Blocking[Plain], Plain, False, False),
        (BlockingSchedules[Clocked], Clocked, False, True),
        (BlockingCancels[Engine], Engine, True, False),
        (EngineBackend, Engine, True, True),
    ],
)
def test_a_backend_has_the_capabilities_that_its_adapters_have(
    adapter: Callable[[Plain, LoopThread], Backend],
    core: Callable[[Clockwork], Plain],
    cancels: bool,
    clocked: bool,
    engine: Engine,
) -> None:
    thread = LoopThread("test-engine")
    on = adapter(core(engine.clock), thread)
    assert isinstance(on, Cancels) == cancels
    assert isinstance(on, Schedules) == clocked
    assert submit(inc(1), on=on).map(type) == Success(Ref)
    if isinstance(on, Schedules):
        assert asyncio.run(aio.schedules(on)) == Success([])
    thread.close()


def test_an_engine_s_blocking_schedules_on_its_own_loop_are_a_fault(engine: Engine) -> None:
    thread = LoopThread("test-engine")
    on = EngineBackend(engine, thread)

    async def asks() -> list[Result[object, Fault]]:
        return [
            schedule(inc(1), on=on, name="n", every=60),
            schedules(on),
            pause_schedule("n", on=on),
            resume_schedule("n", on=on),
            unschedule("n", on=on),
        ]

    for answer in thread.call(asks):
        assert isinstance(answer.failure(), Misconfigured)
    on.close()


def test_a_backend_that_blocks_is_awaited_without_blocking_the_loop(engine: Engine) -> None:
    entered, left = threading.Event(), threading.Event()

    class Slow(Clockwork):
        def schedules(self) -> Result[list[Schedule], Fault]:
            entered.set()
            assert left.wait(PATIENCE)
            return super().schedules()

    async def main() -> None:
        asked = asyncio.create_task(aio.schedules(clock))
        assert await asyncio.to_thread(entered.wait, PATIENCE)
        left.set()
        assert await asked == Success([])

    clock = Slow()
    asyncio.run(main())
    clock.close()


class Patient(Postal):
    """It puts up with being out of reach for as long as it is let, and is back after two asks."""

    def __init__(self) -> None:
        super().__init__()
        self.asks = 0

    def outcome(self, id: str, /, timeout: float | None = None) -> Result[Outcome | None, Fault]:
        self.asks += 1
        self.is_down = self.asks <= 2
        if self.is_down:
            assert timeout is not None
            time.sleep(timeout)
        return super().outcome(id, timeout)


def test_who_awaits_a_blocking_backend_puts_up_with_an_outage() -> None:
    post = Patient()
    worker = post.serve(Catalog(FLOW)).unwrap()
    assert asyncio.run(aio.run(FLOW(1), on=post)) == Success(4)
    assert post.asks == 3
    worker.stop(grace=0)
    post.close()


def test_who_awaits_a_blocking_backend_has_its_fault_once_their_time_is_over() -> None:
    post = Patient()
    answer = asyncio.run(aio.run(FLOW(1), on=post, timeout=0.1))
    assert isinstance(answer.failure(), Unavailable)
    post.close()


def test_what_a_blocking_backend_refuses_at_once_is_not_asked_again(post: Postal) -> None:
    post.is_down = True
    answer = asyncio.run(aio.result(FLOW.ref("a"), on=post))
    assert isinstance(answer.failure(), Unavailable)


def test_a_loop_thread_runs_from_its_first_use_to_its_close() -> None:
    thread = LoopThread("test-loop")
    assert "test-loop" not in names_of_threads()

    async def where() -> str:
        return threading.current_thread().name

    assert thread.call(where) == "test-loop"
    assert asyncio.run(thread.run(where)) == "test-loop"
    thread.close()
    assert "test-loop" not in names_of_threads()


def test_a_loop_thread_ends_with_its_owner() -> None:
    thread = LoopThread("test-held-loop")

    async def nothing() -> None:
        pass

    thread.call(nothing)
    gone = weakref.ref(thread)
    del thread
    gc.collect()
    assert gone() is None
    assert "test-held-loop" not in names_of_threads()


def test_what_a_coroutine_raises_reaches_its_caller() -> None:
    thread = LoopThread("test-raising-loop")

    async def raises() -> None:
        raise LookupError("here")

    with pytest.raises(LookupError, match="here"):
        thread.call(raises)
    with pytest.raises(LookupError, match="here"):
        asyncio.run(thread.run(raises))
    thread.close()


def test_closing_while_others_call_leaves_nobody_waiting() -> None:
    for _ in range(20):
        backend = local()
        assert run(inc_later(1), on=backend) == Success(2)
        start = threading.Barrier(5)

        def asks(on: Local = backend, start: threading.Barrier = start) -> list[object]:
            start.wait(PATIENCE)
            return [submit(inc_later(n), on=on) for n in range(20)]

        with ThreadPoolExecutor(4) as threads:
            futures = [threads.submit(asks) for _ in range(4)]
            start.wait(PATIENCE)
            backend.close()
            answers = [answer for future in futures for answer in future.result(PATIENCE)]
            faults = [answer.failure() for answer in answers if isinstance(answer, Failure)]
            assert all(isinstance(fault, Unavailable) for fault in faults)


def names_of_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def test_to_define_and_to_block_takes_no_asyncio() -> None:
    """What only submits, to an engine whose client blocks, does not pay for an event loop."""
    code = """
        import sys
        from onward import Catalog, each, given, task

        @task
        def inc(n: int) -> int:
            return n + 1

        (inc >> inc)(1), Catalog(inc)
        print("asyncio" in sys.modules)
    """
    said = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert said.stdout == "False\n"
