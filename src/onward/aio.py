"""The interpreters for callers that await: the same names, arguments and results.

Example:
    >>> import asyncio
    >>> from onward import aio, local, task
    >>> @task
    ... async def double(n: int) -> int:
    ...     return 2 * n
    >>> async def main() -> None:
    ...     backend = local()
    ...     ref = (await aio.submit(double(21), on=backend)).unwrap()
    ...     print(await aio.result(ref, on=backend))
    >>> asyncio.run(main())
    <Success: 42>
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from returns.result import Failure, Result, Success

from onward import interpret
from onward.backend import (
    Backend,
    Cancels,
    RunsHere,
    Schedule,
    Schedules,
    Status,
    Submission,
    Worker,
)
from onward.backend.adapters import awaiting, awaiting_within
from onward.catalog import Catalog
from onward.context import slot_lent
from onward.fault import Fault, Unavailable
from onward.flows.flow import Call, Ref
from onward.observe import observers_of, told, watched_catalog
from onward.prepare import (
    Deadline,
    Waiting,
    check_backend,
    check_ref,
    prepare,
    prepare_all,
    prepare_schedule,
    read,
    refs_of,
    unsupported,
    wrong_name,
    wrong_timeout,
    wrong_work,
)
from onward.sealing import all_incoming, incoming, opening, outgoing

if TYPE_CHECKING:
    import asyncio

R = TypeVar("R")
E = TypeVar("E")

check = interpret.check
"""Like `onward.check`: it waits for nothing, so it is the same function."""


async def run(
    call: Call[R, E],
    /,
    on: Backend,
    *,
    key: str | None = None,
    delay: float | timedelta = 0.0,
    deadline: Deadline = None,
    queue: str | None = None,
    priority: int | None = None,
    timeout: float | None = None,
) -> Result[R, E | Fault]:
    """Like `onward.run`."""
    check_backend(on, "submit", "outcome")
    prepared = wrong_timeout(timeout) or prepare(call, key, delay, deadline, queue, priority)
    if isinstance(prepared, Fault):
        return Failure(prepared)
    sealed = outgoing(on, [prepared])
    if isinstance(sealed, Failure):
        return sealed
    ref = call.flow.ref(prepared.plan.id)
    observers = observers_of(on)
    if timeout is None and key is None and not observers and isinstance(on, RunsHere):
        here = await awaiting(on.run_here, *sealed.unwrap())
        return read(ref, incoming(on, here), None)
    with told(sealed.unwrap(), observers) as ([ready], answered):
        submitted = await awaiting(on.submit, ready)
        answered(submitted)
    if isinstance(submitted, Failure):
        return Failure(submitted.failure())
    with slot_lent():
        answer = await awaiting_within(on.outcome, submitted.unwrap(), timeout)
    return read(ref, incoming(on, answer), timeout)


async def submit(
    call: Call[R, E],
    /,
    on: Backend,
    *,
    key: str | None = None,
    delay: float | timedelta = 0.0,
    deadline: Deadline = None,
    queue: str | None = None,
    priority: int | None = None,
) -> Result[Ref[R, E], Fault]:
    """Like `onward.submit`."""
    check_backend(on, "submit")
    prepared = prepare(call, key, delay, deadline, queue, priority)
    if isinstance(prepared, Fault):
        return Failure(prepared)
    sealed = outgoing(on, [prepared])
    if isinstance(sealed, Failure):
        return sealed
    with told(sealed.unwrap(), observers_of(on)) as ([ready], answered):
        submitted = await awaiting(on.submit, ready)
        answered(submitted)
    return submitted.map(call.flow.ref)


async def submit_all(
    calls: Iterable[Call[R, E]],
    /,
    on: Backend,
    *,
    delay: float | timedelta = 0.0,
    deadline: Deadline = None,
    queue: str | None = None,
    priority: int | None = None,
) -> Result[list[Ref[R, E]], Fault]:
    """Like `onward.submit_all`."""
    check_backend(on, "submit_all")
    prepared = prepare_all(calls, delay, deadline, queue, priority)
    if isinstance(prepared, Fault):
        return Failure(prepared)
    flows, submissions = prepared
    sealed = outgoing(on, submissions)
    if isinstance(sealed, Failure):
        return sealed
    with told(sealed.unwrap(), observers_of(on)) as (ready, answered):
        submitted = await awaiting(on.submit_all, ready)
        answered(submitted)
    return submitted.map(lambda ids: refs_of(flows, ids))


async def result(
    ref: Ref[R, E], /, on: Backend, *, timeout: float | None = None
) -> Result[R, E | Fault]:
    """Like `onward.result`."""
    check_backend(on, "outcome")
    wrong = wrong_timeout(timeout)
    if wrong is not None:
        return Failure(wrong)
    with slot_lent():
        answer = await awaiting_within(on.outcome, check_ref(ref).id, timeout)
    return read(ref, incoming(on, answer), timeout)


async def results(
    refs: Iterable[Ref[R, E]],
    /,
    on: Backend,
    *,
    timeout: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> AsyncIterator[tuple[Ref[R, E], Result[R, E | Fault]]]:
    """Like `onward.results`, for `async for`."""
    check_backend(on, "settled")
    waiting = Waiting(refs, timeout, progress)
    while waiting.pending:
        with slot_lent():
            answer = await awaiting_within(on.settled, waiting.pending, waiting.left)
        for pair in waiting.take(all_incoming(on, answer)):
            yield pair


async def status(ref: Ref[R, E], /, on: Backend) -> Result[Status, Fault]:
    """Like `onward.status`."""
    check_backend(on, "status")
    return await awaiting(on.status, check_ref(ref).id)


async def cancel(ref: Ref[R, E], /, on: Cancels) -> Result[None, Fault]:
    """Like `onward.cancel`."""
    lacking = unsupported(on, check_ref(ref).flow.name, "cancel")
    if lacking is not None:
        return Failure(lacking)
    return await awaiting(on.cancel, check_ref(ref).id)


async def schedule(
    call: Call[R, E],
    /,
    on: Schedules,
    *,
    name: str,
    cron: str | None = None,
    every: float | timedelta | None = None,
    timezone: str = "UTC",
    queue: str | None = None,
    priority: int | None = None,
) -> Result[Schedule, Fault]:
    """Like `onward.schedule`."""
    lacking = unsupported(on, name, "schedule")
    if lacking is not None:
        return Failure(lacking)
    prepared = prepare_schedule(call, name, cron, every, timezone, queue, priority)
    if isinstance(prepared, Fault):
        return Failure(prepared)
    declared, plan = prepared
    sealed = outgoing(on, [Submission(plan)])
    if isinstance(sealed, Failure):
        return sealed
    return await awaiting(on.schedule, declared, sealed.unwrap()[0].plan)


async def schedules(on: Schedules) -> Result[list[Schedule], Fault]:
    """Like `onward.schedules`."""
    lacking = unsupported(on, "", "schedules")
    if lacking is not None:
        return Failure(lacking)
    return await awaiting(on.schedules)


async def pause_schedule(name: str, /, on: Schedules) -> Result[None, Fault]:
    """Like `onward.pause_schedule`."""
    wrong = unsupported(on, name, "pause_schedule") or wrong_name(name)
    return Failure(wrong) if wrong else await awaiting(on.pause_schedule, name)


async def resume_schedule(name: str, /, on: Schedules) -> Result[None, Fault]:
    """Like `onward.resume_schedule`."""
    wrong = unsupported(on, name, "resume_schedule") or wrong_name(name)
    return Failure(wrong) if wrong else await awaiting(on.resume_schedule, name)


async def unschedule(name: str, /, on: Schedules) -> Result[None, Fault]:
    """Like `onward.unschedule`."""
    wrong = unsupported(on, name, "unschedule") or wrong_name(name)
    return Failure(wrong) if wrong else await awaiting(on.unschedule, name)


async def work(
    catalog: Catalog,
    /,
    on: Backend,
    *,
    concurrency: int | None = None,
    queues: Collection[str] | None = None,
    grace: float = 30.0,
) -> Result[None, Fault]:
    """Like `onward.work`, until the awaiting task is cancelled; signals are the caller's own."""
    import asyncio

    check_backend(on, "serve")
    wrong = wrong_work(catalog, concurrency, queues, grace)
    if wrong is not None:
        return Failure(wrong)
    catalog = watched_catalog(opening(on, catalog), observers_of(on))
    starting = awaiting(on.serve, catalog, concurrency=concurrency, queues=queues)
    serving = asyncio.ensure_future(starting)
    try:
        served = await asyncio.shield(serving)
    except asyncio.CancelledError:
        await asyncio.shield(asyncio.ensure_future(_stopped(serving, grace)))
        raise
    if isinstance(served, Failure):
        return Failure(served.failure())
    worker = served.unwrap()
    try:
        while not await asyncio.to_thread(worker.wait, 0.1):
            pass
    finally:
        await asyncio.to_thread(worker.stop, grace)
    return Failure(Unavailable("", "the worker ended, and nobody had asked it to"))


async def _stopped(serving: asyncio.Future[Result[Worker, Fault]], grace: float) -> None:
    """Stops a worker that is just being started, once it has started."""
    import asyncio

    served = await serving
    if isinstance(served, Success):
        await asyncio.to_thread(served.unwrap().stop, grace)
