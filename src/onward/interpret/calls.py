"""Calls to backends, for callers that block: what runs a call, or hands it over."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TypeVar, Unpack

from returns.result import Failure, Result, Success

from onward.backend import Backend, Checks
from onward.evaluate import drive
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
    delay: float | timedelta = 0.0,
    deadline: Deadline = None,
    timeout: Timeout = None,
    **options: Unpack[CallOptions],
) -> Result[Value, Error | Fault]:
    """Runs a call and waits for what comes of it.

    Args:
        call: A flow applied to its arguments.
        on: Where it runs.
        key: An idempotency key: with the same key, the same flow runs only once.
        delay: How long it waits before it starts, in seconds or as a timedelta.
        deadline: How long it may take in all, in seconds or as a timedelta, or until when.
        timeout: How long to wait, in seconds or as a timedelta. The call goes on after that.
        options: What a call takes of a `Policy`, for those steps whose task says nothing of it:
            `queue` and `priority`.

    Returns:
        The value; or the domain error that a task answered with; or the `Fault` that ended it.

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
    prepared = prepare(call, key, delay, deadline, options)
    return drive(core.run(BLOCKS, call.flow, prepared, on, timeout))


def submit(
    call: Call[Value, Error],
    /,
    on: Backend,
    *,
    key: str | None = None,
    delay: float | timedelta = 0.0,
    deadline: Deadline = None,
    **options: Unpack[CallOptions],
) -> Result[Ref[Value, Error], Fault]:
    """Hands a call over to be run, and does not wait.

    Args:
        call: A flow applied to its arguments.
        on: Where it runs.
        key: An idempotency key: with the same key, the same flow is submitted once, and every
            submission gives the same ref.
        delay: How long it waits before it starts, in seconds or as a timedelta.
        deadline: How long it may take in all, in seconds or as a timedelta, or until when.
        options: What a call takes of a `Policy`, for those steps whose task says nothing of it:
            `queue` and `priority`.

    Returns:
        The ref by which any process can ask for it; or the `Fault` why it was not submitted.

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
    prepared = prepare(call, key, delay, deadline, options)
    return drive(core.submit(BLOCKS, call.flow, prepared, on))


def submit_all(
    calls: Iterable[Call[Value, Error]],
    /,
    on: Backend,
    *,
    delay: float | timedelta = 0.0,
    deadline: Deadline = None,
    **options: Unpack[CallOptions],
) -> Result[list[Ref[Value, Error]], Fault]:
    """Hands many calls over at once; faster than one by one where the engine can take them so.

    If one of them cannot be submitted for what it is (a bad argument), none is.

    Args:
        calls: Flows applied to their arguments.
        on: Where they run.
        delay: How long each waits before it starts, in seconds or as a timedelta.
        deadline: How long each may take in all, in seconds or as a timedelta, or until when.
        options: What a call takes of a `Policy`, for those steps whose task says nothing of it:
            `queue` and `priority`.

    Returns:
        Their refs, in the order of the calls; or the `Fault` why they were not submitted.

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
    prepared = prepare_all(calls, delay, deadline, options)
    return drive(core.submit_all(BLOCKS, prepared, on))


def check(call: Call[Value, Error], /, on: Backend) -> Result[None, tuple[Fault, ...]]:
    """Finds what would keep a backend from running a call, and submits nothing.

    Args:
        call: A flow applied to its arguments.
        on: Where it would run.

    Returns:
        None if no problem was found; else every fault that was.

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
    found = on.check(prepared.plan) if isinstance(on, Checks) else []
    return Failure(tuple(found)) if found else Success(None)
