"""Workers, for callers that await."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from returns.result import Failure, Result, Success

from onward.backend import Backend, Worker
from onward.catalog import Catalog
from onward.fault import Fault, Unavailable
from onward.interpret.callers import AWAITS
from onward.interpret.opening import WorkerResources
from onward.interpret.prepare import Stop, check_backend, check_stop, work_fault
from onward.interpret.serving import DRAIN, Serving, limits_fault
from onward.interpret.work import Unwatched, is_stopping, watching
from onward.isolation import Isolation

if TYPE_CHECKING:
    import asyncio

    from onward.health import Health
    from onward.health.watching import Watching
    from onward.resource import Resource


async def work(
    catalog: Catalog,
    /,
    on: Backend,
    *,
    concurrency: int | None = None,
    queues: Collection[str] | None = None,
    grace: float = 30.0,
    stop: Stop | None = None,
    isolate: bool | Isolation = False,
    max_tasks: int | None = None,
    max_memory: float | None = None,
    health: Health | None = None,
    resources: Mapping[Resource[Any], object] | None = None,
) -> Result[None, Fault]:
    """Serves a catalog as a worker until `stop` is set or the awaiting task is cancelled.

    It installs no signal handlers. See `onward.work` for the arguments and the answer.
    """
    import asyncio  # a program that only submits does not need it

    check_backend(on, "serve")
    check_stop(stop)
    invalid = work_fault(catalog, concurrency, queues, grace, isolate, health)
    invalid = invalid or limits_fault(max_tasks, max_memory)
    if invalid is not None:
        return Failure(invalid)
    opens = WorkerResources(catalog, on, resources, isolate)
    is_cancelled = False

    def is_told() -> bool:
        return is_cancelled or (stop is not None and stop.is_set())

    with watching(health, catalog) as watched:
        if isinstance(watched, Failure):
            return Failure(watched.failure())
        watch = watched.unwrap()
        opening = asyncio.ensure_future(asyncio.to_thread(opens.open, queues, is_told))
        try:
            problem = await asyncio.shield(opening)
            if problem is not None:
                return Failure(problem)
            if opens.is_stopped:
                return Success(None)
            catalog, observers = opens.catalog, watch.observers
            serving = Serving(catalog, on, isolate, concurrency, max_tasks, max_memory, observers)
            try:
                return await _worked(serving, on, concurrency, queues, grace, stop, watch)
            finally:
                await asyncio.shield(asyncio.to_thread(serving.close))
        except asyncio.CancelledError:
            is_cancelled = True
            raise
        finally:
            await asyncio.shield(asyncio.ensure_future(_closed(opening, opens)))


async def _closed(opening: asyncio.Future[Fault | None], opens: WorkerResources) -> None:
    """Waits until resources have been opened, and closes them."""
    import asyncio  # a program that only submits does not need it

    await asyncio.wait([opening])
    await asyncio.to_thread(opens.close)


async def _worked(
    served_as: Serving,
    on: Backend,
    concurrency: int | None,
    queues: Collection[str] | None,
    grace: float,
    stop: Stop | None,
    watch: Watching | Unwatched,
) -> Result[None, Fault]:
    import asyncio

    catalog = served_as.catalog
    starting = AWAITS.ask(on.serve, catalog, concurrency=concurrency, queues=queues)
    serving = asyncio.ensure_future(starting)
    try:
        served = await asyncio.shield(serving)
    except asyncio.CancelledError:
        await asyncio.shield(asyncio.ensure_future(_stopped(serving, grace)))
        raise
    if isinstance(served, Failure):
        return Failure(served.failure())
    worker = served.unwrap()
    watch.serve(worker)

    def is_told() -> bool:
        return (stop is not None and stop.is_set()) or is_stopping(worker)

    try:
        while not (is_told() or served_as.is_worn()):
            if await asyncio.to_thread(worker.wait, 0.1) and not is_stopping(worker):
                return Failure(Unavailable("", "the worker ended without being asked to"))
        if not is_told():
            watch.drain()
            drained = asyncio.ensure_future(asyncio.to_thread(worker.stop, DRAIN))
            while not is_told():
                if drained.done():
                    await drained  # raises what `stop` raised
                    return Success(None)
                await asyncio.wait([drained], timeout=0.1)
        watch.stop()
    finally:
        await asyncio.to_thread(worker.stop, grace)
    return Success(None)


async def _stopped(serving: asyncio.Future[Result[Worker, Fault]], grace: float) -> None:
    """Waits until a worker has started, and stops it."""
    import asyncio  # a program that only submits does not need it

    served = await serving
    if isinstance(served, Success):
        await asyncio.to_thread(served.unwrap().stop, grace)
