"""`result`, `results`, `status`, `cancel` and `send`, for blocking callers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from returns.result import Result

from onward.backend import Backend, Cancels, Signals, Status
from onward.coroutines import drive
from onward.fault import Fault
from onward.flows.flow import Ref
from onward.interpret import core
from onward.interpret.callers import BLOCKS
from onward.interpret.prepare import Timeout, Waiting, check_backend

if TYPE_CHECKING:
    from onward.flows.signals import Signal

Value = TypeVar("Value")
Error = TypeVar("Error")
Sent = TypeVar("Sent")


def result(
    ref: Ref[Value, Error], /, on: Backend, *, timeout: Timeout = None
) -> Result[Value, Error | Fault]:
    """Waits for the result of a submitted call.

    Args:
        ref: What `submit` gave, or `flow.ref(text)` in another process.
        on: The backend that the call was submitted to.
        timeout: How long to wait, in seconds or as a timedelta; None waits as long as it takes.

    Returns:
        The value, the domain error that a task returned, or the `Fault` that ended the call. If
        only the wait ended, the fault is `TimedOut` with `still_running`.

    Example:
        >>> from onward import local, result, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> print(result(double.ref("no-such-id"), on=local()).failure().task)
        no-such-id
    """
    return drive(core.result(BLOCKS, ref, on, timeout))


def results(
    refs: Iterable[Ref[Value, Error]],
    /,
    on: Backend,
    *,
    timeout: Timeout = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[Ref[Value, Error], Result[Value, Error | Fault]]]:
    """Gives the results of many submitted calls as they complete.

    Args:
        refs: What `submit` or `submit_all` gave.
        on: The backend that the calls were submitted to.
        timeout: How long to wait in all, in seconds or as a timedelta; None waits as long as it
            takes. A call without an outcome by then gives `TimedOut` with `still_running`.
        progress: A function that is called after each result with the number of calls that have
            completed and the number of all calls.

    Returns:
        Pairs of a ref and its result, each ref once.

    Example:
        >>> from onward import local, results, submit_all, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> backend = local()
        >>> refs = submit_all([double(n) for n in range(4)], on=backend).unwrap()
        >>> sorted(result.unwrap() for ref, result in results(refs, on=backend))
        [0, 2, 4, 6]
    """
    check_backend(on, "settled")
    waiting = Waiting(refs, timeout, progress)
    while waiting.pending:
        yield from waiting.take(drive(core.settled(BLOCKS, waiting, on)))


def status(ref: Ref[Value, Error], /, on: Backend) -> Result[Status, Fault]:
    """Says where a submitted call is, without waiting.

    Args:
        ref: What `submit` gave, or `flow.ref(text)` in another process.
        on: The backend that the call was submitted to.

    Returns:
        The call's state, its current step and that step's progress, or `Unknown` if the backend
        does not know the id.

    Example:
        >>> from onward import local, result, status, submit, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> backend = local()
        >>> ref = submit(double(21), on=backend).unwrap()
        >>> result(ref, on=backend)
        <Success: 42>
        >>> status(ref, on=backend).unwrap().state
        'done'
    """
    return drive(core.status(BLOCKS, ref, on))


def cancel(ref: Ref[Value, Error], /, on: Cancels) -> Result[None, Fault]:
    """Ends a submitted call as `Cancelled`, unless it has an outcome already.

    An async step is soon interrupted where it awaits. A sync step can look at
    `current().cancelled`.

    Args:
        ref: What `submit` gave, or `flow.ref(text)` in another process.
        on: The backend that the call was submitted to. `isinstance(backend, Cancels)` tells you
            and your type checker whether a backend from `connect` can cancel.

    Returns:
        None after the engine has accepted it, or `Unknown` if the backend does not know the id.

    Example:
        >>> from onward import cancel, local, result, submit, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> backend = local()
        >>> ref = submit(double(21), on=backend, delay=60).unwrap()
        >>> cancel(ref, on=backend)
        <Success: None>
        >>> print(result(ref, on=backend).failure())
        double: it was cancelled. Submit it again if it is still wanted.
    """
    return drive(core.cancel(BLOCKS, ref, on))


def send(
    ref: Ref[Value, Error], signal: Signal[Sent], value: Sent, /, on: Signals
) -> Result[None, Fault]:
    """Sends a signal's value to a submitted call, which gets it from `awaits`.

    The value is kept if the call does not wait for it yet. The first value counts.

    Args:
        ref: What `submit` gave, or `flow.ref(text)` in another process.
        signal: The signal, for which the call's flow has an `awaits`.
        value: The value, of the signal's type.
        on: The backend that the call was submitted to. `isinstance(backend, Signals)` tells you
            and your type checker whether a backend from `connect` can send signals.

    Returns:
        None after the engine has stored it. `BadPayload` if the value is not of the signal's type;
        `Misconfigured` if the flow waits for no such signal; `Conflict` if the signal was sent to
        this call before, or the call has ended; `Unknown` if the backend does not know the id.

    Example:
        >>> from onward import Signal, awaits, local, result, send, submit
        >>> approved = Signal("approved", bool)
        >>> backend = local()
        >>> ref = submit(awaits(approved)("order 7"), on=backend).unwrap()
        >>> send(ref, approved, True, on=backend)
        <Success: None>
        >>> result(ref, on=backend)
        <Success: True>
        >>> print(send(ref, approved, False, on=backend).failure().message)
        the call has ended, so nothing waits for the signal 'approved'
    """
    return drive(core.send(BLOCKS, ref, signal, value, on))
