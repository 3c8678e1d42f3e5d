"""What `cancel_all` and `resume_all` do with the calls that `calls` gives."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import TypeAlias, TypeVar

from returns.result import Failure, Result, Success

from onward.backend import Cancels, Histories, Submits
from onward.fault import Fault, Unavailable
from onward.flows.flow import Ref
from onward.interpret import continuing, core
from onward.interpret.callers import Caller
from onward.interpret.listed import ListedCall
from onward.interpret.prepare import check_backend

T = TypeVar("T")
Value = TypeVar("Value")
Error = TypeVar("Error")

Progress: TypeAlias = Callable[[int, int], None] | None
"""A function that gets the number of calls that are dealt with, and the number of all calls."""

Each: TypeAlias = Result[ListedCall[Value, Error], Fault] | ListedCall[Value, Error]
Pairs: TypeAlias = list[tuple[Ref[Value, Error], Result[T, Fault]]]


async def cancel_all(
    caller: Caller,
    found: Iterable[Each[Value, Error]] | AsyncIterable[Each[Value, Error]],
    on: Cancels,
    progress: Progress,
    *,
    dry_run: bool,
) -> Result[Pairs[Value, Error, None], Fault]:
    """See `onward.cancel_all`."""
    check_backend(on, "submit")

    async def cancel(ref: Ref[Value, Error]) -> Result[None, Fault]:
        return Success(None) if dry_run else await core.cancel(caller, ref, on)

    return await _all(found, cancel, progress)


async def resume_all(
    caller: Caller,
    found: Iterable[Each[Value, Error]] | AsyncIterable[Each[Value, Error]],
    on: Histories,
    to: Submits | None,
    progress: Progress,
    *,
    dry_run: bool,
) -> Result[Pairs[Value, Error, Ref[Value, Error]], Fault]:
    """See `onward.resume_all`."""
    check_backend(on, "submit")

    async def resume(ref: Ref[Value, Error]) -> Result[Ref[Value, Error], Fault]:
        return await continuing.resume(caller, ref, on, to, None, None, dry_run=dry_run)

    return await _all(found, resume, progress)


async def _all(
    found: Iterable[Each[Value, Error]] | AsyncIterable[Each[Value, Error]],
    act: Callable[[Ref[Value, Error]], Awaitable[Result[T, Fault]]],
    progress: Progress,
) -> Result[Pairs[Value, Error, T], Fault]:
    """Does something with each call, once the whole list is read: doing it may change the list."""
    if progress is not None and not callable(progress):
        raise TypeError(f"progress is a function of two numbers, not {progress!r}")
    refs = await _refs(found)
    if isinstance(refs, Fault):
        return Failure(refs)
    pairs: Pairs[Value, Error, T] = []
    away: Unavailable | None = None
    for ref in refs:
        answer = await act(ref) if away is None else Failure(away)
        if isinstance(answer, Failure) and isinstance(fault := answer.failure(), Unavailable):
            away = fault  # the others would wait for the engine as long, one after the other
        pairs.append((ref, answer))
        if progress is not None:
            progress(len(pairs), len(refs))
    return Success(pairs)


async def _refs(
    found: Iterable[Each[Value, Error]] | AsyncIterable[Each[Value, Error]],
) -> list[Ref[Value, Error]] | Fault:
    """The refs of a list of calls, each one once; or the fault that kept it from being read."""
    if isinstance(found, AsyncIterable):
        listed = [each async for each in found]
    elif isinstance(found, Iterable) and not isinstance(found, ListedCall):
        listed = list(found)
    else:
        raise TypeError(f"{found!r} is not a list of calls: write calls(on=backend, ...)")
    refs: dict[str, Ref[Value, Error]] = {}
    for each in listed:
        call = each
        if isinstance(call, Failure):
            fault: Fault = call.failure()
            return fault
        if isinstance(call, Success):
            call = call.unwrap()
        if not isinstance(call, ListedCall):
            raise TypeError(f"{call!r} is not a call that `calls` gave")
        refs[call.ref.id] = call.ref
    return list(refs.values())
