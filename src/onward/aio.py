"""The interpreters for `async` code: the same names, arguments and results as in `onward`.

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

from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias, TypeVar, Unpack, overload

from returns.result import Result

from onward.backend import (
    Backend,
    Cancels,
    Forgets,
    Histories,
    Listed,
    Lists,
    Moves,
    Overlap,
    Schedule,
    Schedules,
    Signals,
    Status,
    Submits,
)
from onward.fault import Fault
from onward.flows.flow import Call, Flow, Ref
from onward.flows.signals import Signal
from onward.interpret import check, core
from onward.interpret.awaited import work
from onward.interpret.callers import AWAITS
from onward.interpret.prepare import (
    Deadline,
    Timeout,
    Waiting,
    check_backend,
    prepare,
    prepare_all,
)
from onward.interpret.scheduling import prepare_schedule
from onward.interpret.unique import with_unique
from onward.policy import CallOptions

if TYPE_CHECKING:
    from onward.interpret.bulk import Each
    from onward.interpret.histories import History, Replay
    from onward.interpret.listed import ListedCall, Listing, Moment

Value = TypeVar("Value")
Error = TypeVar("Error")
Sent = TypeVar("Sent")

Calls: TypeAlias = "AsyncIterable[Each[Value, Error]] | Iterable[Each[Value, Error]]"
"""What `calls` gives, or a part of it."""

__all__ = [
    "calls",
    "cancel",
    "cancel_all",
    "check",
    "forget",
    "fork",
    "history",
    "move",
    "pause_schedule",
    "replay",
    "result",
    "results",
    "resume",
    "resume_all",
    "resume_schedule",
    "run",
    "schedule",
    "schedules",
    "send",
    "status",
    "submit",
    "submit_all",
    "unschedule",
    "work",
]


async def run(
    call: Call[Value, Error],
    /,
    on: Backend,
    *,
    key: str | None = None,
    unique: str | None = None,
    delay: float | timedelta = 0.0,
    deadline: Deadline = None,
    tags: Collection[str] = (),
    timeout: Timeout = None,
    **options: Unpack[CallOptions],
) -> Result[Value, Error | Fault]:
    """Runs a call and awaits its result. The arguments and the answer are those of `onward.run`."""
    prepared = prepare(call, key, delay, deadline, options, tags)
    prepared = with_unique(prepared, call.flow, unique)
    return await core.run(AWAITS, call.flow, prepared, on, timeout)


async def submit(
    call: Call[Value, Error],
    /,
    on: Submits,
    *,
    key: str | None = None,
    unique: str | None = None,
    debounce: float | timedelta | None = None,
    delay: float | timedelta = 0.0,
    deadline: Deadline = None,
    tags: Collection[str] = (),
    **options: Unpack[CallOptions],
) -> Result[Ref[Value, Error], Fault]:
    """Submits a call without waiting for its result. See `onward.submit`."""
    prepared = prepare(call, key, delay, deadline, options, tags)
    prepared = with_unique(prepared, call.flow, unique, debounce)
    return await core.submit(AWAITS, call.flow, prepared, on)


async def submit_all(
    calls: Iterable[Call[Value, Error]],
    /,
    on: Submits,
    *,
    delay: float | timedelta = 0.0,
    deadline: Deadline = None,
    tags: Collection[str] = (),
    **options: Unpack[CallOptions],
) -> Result[list[Ref[Value, Error]], Fault]:
    """Submits many calls in few round trips. See `onward.submit_all`."""
    prepared = prepare_all(calls, delay, deadline, options, tags)
    return await core.submit_all(AWAITS, prepared, on)


async def result(
    ref: Ref[Value, Error], /, on: Backend, *, timeout: Timeout = None
) -> Result[Value, Error | Fault]:
    """Awaits the result of a submitted call. See `onward.result`."""
    return await core.result(AWAITS, ref, on, timeout)


async def results(
    refs: Iterable[Ref[Value, Error]],
    /,
    on: Backend,
    *,
    timeout: Timeout = None,
    progress: Callable[[int, int], None] | None = None,
) -> AsyncIterator[tuple[Ref[Value, Error], Result[Value, Error | Fault]]]:
    """Gives the results of many submitted calls as they complete, for `async for`.

    See `onward.results`.
    """
    check_backend(on, "settled")
    waiting = Waiting(refs, timeout, progress)
    while waiting.pending:
        for pair in waiting.take(await core.settled(AWAITS, waiting, on)):
            yield pair


async def status(ref: Ref[Value, Error], /, on: Backend) -> Result[Status, Fault]:
    """Says where a submitted call is. See `onward.status`."""
    return await core.status(AWAITS, ref, on)


async def cancel(ref: Ref[Value, Error], /, on: Cancels) -> Result[None, Fault]:
    """Ends a submitted call as `Cancelled`, unless it has an outcome. See `onward.cancel`."""
    return await core.cancel(AWAITS, ref, on)


async def send(
    ref: Ref[Value, Error], signal: Signal[Sent], value: Sent, /, on: Signals
) -> Result[None, Fault]:
    """Sends a signal's value to a submitted call. See `onward.send`."""
    return await core.send(AWAITS, ref, signal, value, on)


async def history(ref: Ref[Value, Error], /, on: Histories) -> Result[History[Value, Error], Fault]:
    """Says what has happened in a call. See `onward.history`."""
    from onward.interpret import recorded  # only programs that repair calls pay for it

    return await recorded.history(AWAITS, ref, on)


async def resume(
    ref: Ref[Value, Error],
    /,
    on: Histories,
    *,
    to: Submits | None = None,
    args: Sequence[object] | Mapping[str, object] | None = None,
    deadline: Deadline = None,
) -> Result[Ref[Value, Error], Fault]:
    """Submits a call that goes on where another one stopped. See `onward.resume`."""
    from onward.interpret import continuing

    return await continuing.resume(AWAITS, ref, on, to, args, deadline)


async def fork(
    ref: Ref[Value, Error], /, at: str, on: Histories
) -> Result[Ref[Value, Error], Fault]:
    """Submits a call that begins at a step of another one. See `onward.fork`."""
    from onward.interpret import continuing

    return await continuing.fork(AWAITS, ref, at, on)


async def move(
    ref: Ref[Value, Error], /, on: Moves, to: Backend
) -> Result[Ref[Value, Error], Fault]:
    """Moves a call that is under way to another backend. See `onward.move`."""
    from onward.interpret import moving

    return await moving.move(AWAITS, ref, on, to)


@overload
def calls(
    on: Lists,
    *,
    state: Listed | Collection[Listed] | None = None,
    flow: Flow[..., Value, Error],
    tags: Collection[str] = (),
    since: Moment | None = None,
    until: Moment | None = None,
    limit: int | None = None,
) -> AsyncIterator[Result[ListedCall[Value, Error], Fault]]: ...
@overload
def calls(
    on: Lists,
    *,
    state: Listed | Collection[Listed] | None = None,
    flow: str | None = None,
    tags: Collection[str] = (),
    since: Moment | None = None,
    until: Moment | None = None,
    limit: int | None = None,
) -> AsyncIterator[Result[ListedCall[object, object], Fault]]: ...
def calls(
    on: Lists,
    *,
    state: Listed | Collection[Listed] | None = None,
    flow: Flow[..., Value, Error] | str | None = None,
    tags: Collection[str] = (),
    since: Moment | None = None,
    until: Moment | None = None,
    limit: int | None = None,
) -> AsyncIterator[Result[ListedCall[Value, Error], Fault]]:
    """Lists submitted calls, the newest first, for `async for`. See `onward.calls`."""
    from onward.interpret.listed import Listing  # only programs that list calls pay for it

    return _pages(Listing(on, state, flow, tags, since, until, limit))


async def _pages(
    listing: Listing[Value, Error],
) -> AsyncIterator[Result[ListedCall[Value, Error], Fault]]:
    while not listing.is_over:
        for call in listing.take(await listing.page(AWAITS)):
            yield call


async def cancel_all(
    found: Calls[Value, Error],
    /,
    on: Cancels,
    *,
    dry_run: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Result[list[tuple[Ref[Value, Error], Result[None, Fault]]], Fault]:
    """Cancels the calls that `calls` gives, one after the other. See `onward.cancel_all`."""
    from onward.interpret import bulk

    return await bulk.cancel_all(AWAITS, found, on, progress, dry_run=dry_run)


async def resume_all(
    found: Calls[Value, Error],
    /,
    on: Histories,
    *,
    to: Submits | None = None,
    dry_run: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Result[list[tuple[Ref[Value, Error], Result[Ref[Value, Error], Fault]]], Fault]:
    """Resumes the calls that `calls` gives, one after the other. See `onward.resume_all`."""
    from onward.interpret import bulk

    return await bulk.resume_all(AWAITS, found, on, to, progress, dry_run=dry_run)


async def forget(ref: Ref[Value, Error], /, on: Forgets) -> Result[None, Fault]:
    """Deletes what the engine keeps of a call that has ended. See `onward.forget`."""
    return await core.forget(AWAITS, ref, on)


async def replay(ref: Ref[Value, Error], /, on: Histories) -> Result[Replay[Value, Error], Fault]:
    """Takes the recorded outcomes of a call through today's code. See `onward.replay`."""
    from onward.interpret import replaying

    return await replaying.replay(AWAITS, ref, on)


async def schedule(
    call: Call[Value, Error],
    /,
    on: Schedules,
    *,
    name: str,
    cron: str | None = None,
    every: float | timedelta | None = None,
    timezone: str = "UTC",
    overlap: Overlap = "allow",
    catch_up: float | timedelta | None = None,
    tags: Collection[str] = (),
    **options: Unpack[CallOptions],
) -> Result[Schedule, Fault]:
    """Has the engine run a call again and again. See `onward.schedule`."""
    prepared = prepare_schedule(call, name, cron, every, timezone, overlap, catch_up, options, tags)
    return await core.schedule(AWAITS, name, prepared, on)


async def schedules(on: Schedules) -> Result[list[Schedule], Fault]:
    """Lists the schedules that `schedule` made. See `onward.schedules`."""
    return await core.schedules(AWAITS, on)


async def pause_schedule(name: str, /, on: Schedules) -> Result[None, Fault]:
    """Keeps a schedule from starting runs. See `onward.pause_schedule`."""
    return await core.pause_schedule(AWAITS, name, on)


async def resume_schedule(name: str, /, on: Schedules) -> Result[None, Fault]:
    """Lets a paused schedule start runs again. See `onward.resume_schedule`."""
    return await core.resume_schedule(AWAITS, name, on)


async def unschedule(name: str, /, on: Schedules) -> Result[None, Fault]:
    """Removes a schedule. See `onward.unschedule`."""
    return await core.unschedule(AWAITS, name, on)
