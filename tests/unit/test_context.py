"""What a running task can learn about its call, and report of its progress."""

import asyncio
from collections.abc import Iterator

import pytest
from returns.result import Success

from onward import Constant, Context, Progress, Retry, aio, current, local, progress, run, task
from onward.backends.local import Local


@task
def inner() -> str:
    return current().task


@pytest.fixture
def backend() -> Iterator[Local]:
    backend = local()
    yield backend
    backend.close()


def test_outside_of_a_task_there_is_no_call() -> None:
    assert current().id == ""
    assert current().attempt == 1
    assert not current().cancelled
    progress(1, total=2, note="which nobody hears")
    assert inner.fn() == ""


def test_a_context_is_a_value() -> None:
    context = Context(id="a", task="b")
    with pytest.raises(AttributeError):
        context.id = "c"  # type: ignore[misc]  # which is what is tried
    assert Progress(1, 2, "rows") == Progress(done=1, total=2, note="rows")


def test_a_task_knows_its_name_place_and_attempt_sync_and_async(backend: Local) -> None:
    seen: list[tuple[str, str, int]] = []

    @task(retry=Retry(attempts=2, backoff=Constant(0)))
    def sync_step(n: int) -> int:
        seen.append((current().task, current().step, current().attempt))
        if current().attempt == 1:
            raise OSError("once")
        return n

    @task
    async def async_step(n: int) -> int:
        await asyncio.sleep(0)
        seen.append((current().task, current().step, current().attempt))
        return n

    expected = [("sync_step", "0", 1), ("sync_step", "0", 2), ("async_step", "1", 1)]
    assert run((sync_step >> async_step)(1), on=backend) == Success(1)
    assert seen == expected
    seen.clear()
    assert run(sync_step(1), on=backend) == Success(1)
    assert seen == expected[:2]
    assert current() == Context() or current().id == ""


def test_a_call_within_a_task_has_a_context_of_its_own(backend: Local) -> None:
    @task
    def outer() -> tuple[str, str, str]:
        before, within, after = current().task, run(inner(), on=backend).unwrap(), current().task
        return before, within, after

    @task
    async def outer_later() -> tuple[str, str, str]:
        before = current().task
        within = (await aio.run(inner(), on=backend)).unwrap()
        return before, within, current().task

    assert run(outer(), on=backend) == Success(("outer", "inner", "outer"))
    assert run(outer_later(), on=backend) == Success(("outer_later", "inner", "outer_later"))


def test_what_a_task_sets_up_in_the_background_keeps_its_context(backend: Local) -> None:
    @task
    async def gathers() -> list[str]:
        async def who() -> str:
            await asyncio.sleep(0)
            return current().task

        return list(await asyncio.gather(who(), asyncio.to_thread(lambda: current().task)))

    assert run(gathers(), on=backend) == Success(["gathers", "gathers"])
