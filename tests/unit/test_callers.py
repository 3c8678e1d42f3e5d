"""One backend serves many callers: threads, event loops, and steps."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from returns.result import Failure, Success

from onward import (
    Cancels,
    Catalog,
    Fault,
    Misconfigured,
    Raised,
    aio,
    cancel,
    local,
    result,
    results,
    run,
    status,
    submit,
    submit_all,
    task,
)
from onward.backends.local import Local
from tests.unit.callers import FLOW, PATIENCE, inc, inc_later, never
from tests.unit.third_party import Postal


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


# -- one backend, many callers ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["backend", "post"])
def test_one_backend_serves_one_event_loop_after_another(
    kind: str, request: pytest.FixtureRequest
) -> None:
    on: Cancels = request.getfixturevalue(kind)
    for n in range(5):
        assert asyncio.run(aio.run(FLOW(n), on=on)) == Success(n + 3)
    assert run(FLOW(1), on=on) == Success(4)


@pytest.mark.parametrize("kind", ["backend", "post"])
def test_one_backend_serves_several_event_loops_and_threads_at_once(
    kind: str, request: pytest.FixtureRequest
) -> None:
    on: Cancels = request.getfixturevalue(kind)

    async def many() -> list[object]:
        return list(await asyncio.gather(*(aio.run(FLOW(n), on=on) for n in range(10))))

    def asks(thread: int) -> list[object]:
        return asyncio.run(many()) if thread % 2 else [run(FLOW(n), on=on) for n in range(10)]

    with ThreadPoolExecutor(6) as threads:
        for found in threads.map(asks, range(6)):
            assert found == [Success(n + 3) for n in range(10)]


def test_a_ref_from_one_loop_is_awaited_on_another(post: Postal) -> None:
    ref = asyncio.run(aio.submit(FLOW(1), on=post)).unwrap()
    assert asyncio.run(aio.result(ref, on=post)) == Success(4)
    assert result(ref, on=post) == Success(4)


def test_waiting_blocks_no_event_loop(post: Postal) -> None:
    async def main() -> None:
        ref = (await aio.submit(never(1), on=post)).unwrap()
        waiting = asyncio.create_task(aio.result(ref, on=post))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not waiting.done()
        assert await aio.cancel(ref, on=post) == Success(None)
        assert isinstance((await waiting).failure(), Fault)

    asyncio.run(main())


# -- calls from within a step -----------------------------------------------------------------


BLOCKS: dict[str, Callable[[Local], object]] = {
    "run": lambda on: run(inc_later(1), on=on),
    "submit": lambda on: submit(inc(1), on=on),
    "submit_all": lambda on: submit_all([inc(1)], on=on),
    "result": lambda on: result(inc.ref("a"), on=on),
    "results": lambda on: next(iter(results([inc.ref("a")], on=on)))[1],
    "status": lambda on: status(inc.ref("a"), on=on),
    "cancel": lambda on: cancel(inc.ref("a"), on=on),
    "serve": lambda on: on.serve(Catalog(inc)),
}


@pytest.mark.parametrize("blocks", BLOCKS.values(), ids=BLOCKS)
def test_a_blocking_call_in_an_async_step_is_a_fault_and_no_deadlock(
    backend: Local, blocks: Callable[[Local], object]
) -> None:
    answers: list[object] = []

    @task
    async def asks(n: int) -> None:
        answers.append(blocks(backend))

    assert run(asks(1), on=backend, timeout=PATIENCE) == Success(None)
    [answer] = answers
    assert isinstance(answer, Failure)
    assert isinstance(answer.failure(), Misconfigured)
    assert "onward.aio" in answer.failure().message


def test_a_blocking_call_in_a_sync_step_is_as_anywhere(backend: Local) -> None:
    @task(timeout=PATIENCE)
    def asks(n: int) -> int:
        ref = submit(FLOW(n), on=backend).unwrap()
        return result(ref, on=backend).unwrap() + run(FLOW(n), on=backend).unwrap()

    assert run(asks(1), on=backend) == Success(8)


def test_an_async_step_awaits_other_calls(backend: Local) -> None:
    @task
    async def asks(n: int) -> int:
        ref = (await aio.submit(FLOW(n), on=backend)).unwrap()
        return (await aio.result(ref, on=backend)).unwrap()

    assert run(asks(1), on=backend, timeout=PATIENCE) == Success(4)


def test_an_async_step_may_use_another_backend_as_it_likes(backend: Local) -> None:
    other = local()

    @task
    async def asks(n: int) -> int:
        return run(FLOW(n), on=other).unwrap() + (await aio.run(FLOW(n), on=other)).unwrap()

    assert run(asks(1), on=backend, timeout=PATIENCE) == Success(8)
    other.close()


def test_a_step_that_takes_its_loop_down_takes_nobody_with_it(backend: Local) -> None:
    @task
    async def quits(n: int) -> int:
        async def inner() -> None:
            sys.exit(n)

        await asyncio.gather(inner())
        return n

    other = submit(never(1), on=backend).unwrap()
    fault = run(quits(3), on=backend).failure()
    assert isinstance(fault, Raised)
    assert fault.error_type == "SystemExit"
    assert run(FLOW(1), on=backend) == Success(4)
    assert not status(other, on=backend).unwrap().settled
