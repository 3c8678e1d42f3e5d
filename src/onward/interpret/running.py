"""`run`, `submit`, `submit_all` and `check`, for blocking callers."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import TypeVar, Unpack

from returns.result import Failure, Result, Success

from onward.backend import Backend, Checks, Submission, Submits
from onward.backend.features import lacking
from onward.coroutines import drive
from onward.fault import Fault
from onward.flows.flow import Call, Ref
from onward.interpret import core
from onward.interpret.callers import BLOCKS
from onward.interpret.prepare import Deadline, Timeout, check_backend, prepare, prepare_all
from onward.policy import CallOptions

Value = TypeVar("Value")
Error = TypeVar("Error")


def run(
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
    """Runs a call and waits for its result.

    Args:
        call: A flow applied to its arguments.
        on: The backend that runs it.
        key: An idempotency key: with the same key, the same flow runs only once.
        unique: A key of which one call at a time is open: while one is, this waits for its result
            instead of starting another.
        delay: How long to wait before the call starts, in seconds or as a timedelta.
        deadline: When the call expires: seconds from now, a timedelta, or a moment.
        tags: Short texts by which people find the call, up to 20.
        timeout: How long to wait for the result, in seconds or as a timedelta. The call goes on
            after that.
        options: `queue` and `priority`, for the steps whose tasks do not set them.

    Returns:
        The value, the domain error that a task returned, or the `Fault` that ended the call.

    Example:
        >>> from onward import local, run, task
        >>> @task
        ... def divide(a: int, b: int) -> int:
        ...     return a // b
        >>> run(divide(7, 2), on=local())
        <Success: 3>
        >>> run(divide(7, 0), on=local()).failure().message
        'integer division or modulo by zero'
    """
    prepared = prepare(call, key, delay, deadline, options, tags)
    prepared = _with_unique(prepared, call, unique, None)
    return drive(core.run(BLOCKS, call.flow, prepared, on, timeout))


def submit(
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
    """Submits a call without waiting for its result.

    Args:
        call: A flow applied to its arguments.
        on: The backend that runs it.
        key: An idempotency key: with the same key, the same flow is submitted once, and every
            submission gives the same ref.
        unique: A key of which one call at a time is open: while one is, its ref is the answer, and
            nothing is submitted. Once it has ended, the next one may come. It belongs to the flow,
            as `key` does.
        debounce: How long to wait for a later submission with the same `unique`, in seconds or as a
            timedelta. A later one replaces the arguments and options of a call that has not
            started, and the wait begins again. One that comes after the start gets a call of its
            own, which starts when the first one has ended.
        delay: How long to wait before the call starts, in seconds or as a timedelta.
        deadline: When the call expires: seconds from now, a timedelta, or a moment.
        tags: Short texts by which people find the call, up to 20.
        options: `queue` and `priority`, for the steps whose tasks do not set them.

    Returns:
        A ref, with which any process can ask for the result, or the `Fault` that kept the call
        from being submitted.

    Example:
        >>> from onward import local, result, submit, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> backend = local()
        >>> ref = submit(double(21), on=backend, key="order-7").unwrap()
        >>> result(ref, on=backend)
        <Success: 42>
    """
    prepared = prepare(call, key, delay, deadline, options, tags)
    prepared = _with_unique(prepared, call, unique, debounce)
    return drive(core.submit(BLOCKS, call.flow, prepared, on))


def submit_all(
    calls: Iterable[Call[Value, Error]],
    /,
    on: Submits,
    *,
    delay: float | timedelta = 0.0,
    deadline: Deadline = None,
    tags: Collection[str] = (),
    **options: Unpack[CallOptions],
) -> Result[list[Ref[Value, Error]], Fault]:
    """Submits many calls in few round trips, without waiting for their results.

    If one of them is invalid, for instance by a bad argument, none is submitted.

    Args:
        calls: Flows applied to their arguments.
        on: The backend that runs them.
        delay: How long to wait before each call starts, in seconds or as a timedelta.
        deadline: When each call expires: seconds from now, a timedelta, or a moment.
        tags: Short texts by which people find the calls, up to 20.
        options: `queue` and `priority`, for the steps whose tasks do not set them.

    Returns:
        Their refs, in the order of the calls, or the `Fault` that kept them from being submitted.

    Example:
        >>> from onward import local, result, submit_all, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> backend = local()
        >>> refs = submit_all([double(1), double(2)], on=backend).unwrap()
        >>> [result(ref, on=backend).unwrap() for ref in refs]
        [2, 4]
    """
    prepared = prepare_all(calls, delay, deadline, options, tags)
    return drive(core.submit_all(BLOCKS, prepared, on))


def check(call: Call[Value, Error], /, on: Submits) -> Result[None, tuple[Fault, ...]]:
    """Finds what would keep a backend from running a call, and submits nothing.

    Args:
        call: A flow applied to its arguments.
        on: The backend that would run it.

    Returns:
        None if it finds no problem, otherwise every fault that it finds.

    Example:
        >>> from onward import check, local, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> check(double(21), on=local())
        <Success: None>
    """
    check_backend(on, "submit")
    prepared = prepare(call, None, 0.0, None, {})
    if isinstance(prepared, Fault):
        return Failure((prepared,))
    found: list[Fault] = [*lacking(on, prepared.plan)]
    if isinstance(on, Checks):
        found += on.check(prepared.plan)
    return Failure(tuple(found)) if found else Success(None)


def _with_unique(
    prepared: Submission | Fault,
    call: Call[Value, Error],
    unique: str | None,
    debounce: float | timedelta | None,
) -> Submission | Fault:
    if unique is None and debounce is None:
        return prepared
    from onward.interpret.unique import with_unique  # only unique calls pay for it

    return with_unique(prepared, call.flow, unique, debounce)
