"""`onward.aio` has every interpreter, with the same parameters."""

import asyncio
import inspect
import threading

import pytest
from returns.result import Success

import onward
from onward import Catalog, aio, interpret, local, task, work


@task
def inc(n: int) -> int:
    return n + 1


def test_it_has_the_same_interpreters() -> None:
    assert aio.__all__ == interpret.__all__
    assert set(aio.__all__) <= set(onward.__all__)


@pytest.mark.parametrize("name", aio.__all__)
def test_each_takes_the_same_parameters(name: str) -> None:
    blocking = inspect.signature(getattr(interpret, name))
    awaiting = inspect.signature(getattr(aio, name))
    assert list(awaiting.parameters.values()) == list(blocking.parameters.values())


def test_an_event_of_either_kind_stops_a_worker() -> None:
    async def main() -> None:
        backend = local()
        for stop in (threading.Event(), asyncio.Event()):
            stop.set()
            assert await aio.work(Catalog(inc), on=backend, stop=stop) == Success(None)
        backend.close()

    asyncio.run(main())


def test_what_cannot_tell_a_worker_to_stop_is_refused() -> None:
    backend = local()
    with pytest.raises(TypeError, match="stop is an Event of threading or asyncio"):
        work(Catalog(inc), on=backend, stop=True)  # type: ignore[arg-type]  # which is tried
    with pytest.raises(TypeError, match="stop is an Event of threading or asyncio"):
        asyncio.run(aio.work(Catalog(inc), on=backend, stop=True))  # type: ignore[arg-type]  # so too
    backend.close()
