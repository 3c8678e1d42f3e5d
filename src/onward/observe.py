"""Notifies observers of submissions and of attempts at tasks.

Backends do not know observers. Interpreters notify them of a submission, and wrap the tasks that
run. What an observer adds to a plan's `trace` travels with the plan.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial, wraps
from typing import Any, TypeVar

from msgspec.structs import replace
from returns.result import Failure, Result

from onward.backend import Submission
from onward.backend.additions import additions_of, with_additions
from onward.catalog import Catalog, Tasks
from onward.context import Context, current, is_same_attempt
from onward.execute import ObservedTasks
from onward.fault import Cancelled, Expired, Fault, Raised
from onward.flows.flow import AnyTask
from onward.flows.nodes import changed_task
from onward.observer import Attempt, Observer, Sending
from onward.outcome import Failed, Faulted, Outcome
from onward.plan import MAX_TRACE, fits_trace
from onward.served import ServedTasks
from onward.signature import call_async

__all__ = ["DUE", "Attempt", "Observer", "Sending", "observed", "observed_catalog", "submitting"]

B = TypeVar("B")
T = TypeVar("T")

DUE = "onward-due"
"""The entry of a plan's trace that says when the call is due, in seconds since 1970."""

_FIRST = re.compile(r"(?:\.?(?:0|try|\[0\]))+")
"""The place of a call's first step, also inside chains, fan-outs and rescues."""

_LOGGER = logging.getLogger("onward.observe")


def observed(backend: B, /, *observers: Observer) -> B:
    """Adds observers to a backend.

    Args:
        backend: Any backend.
        observers: Follow what is submitted to it, and the attempts at tasks that `work` serves on
            it. The first observer is the outermost.

    Returns:
        A backend with the observers that uses the same connections.

    Example:
        >>> from contextlib import contextmanager
        >>> from onward import local, run, task
        >>> from onward.observe import observed
        >>> class Printer:
        ...     @contextmanager
        ...     def sending(self, sending):
        ...         print("sending", sending.flow)
        ...         yield
        ...
        ...     @contextmanager
        ...     def attempt(self, attempt):
        ...         yield
        ...         print("attempt", attempt.context.attempt, "at", attempt.context.task)
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> run(double(21), on=observed(local(), Printer()))
        sending double
        attempt 1 at double
        <Success: 42>
    """
    added = additions_of(backend)
    return with_additions(backend, replace(added, observers=(*added.observers, *observers)))


@contextlib.contextmanager
def submitting(
    submissions: Iterable[Submission], observers: Sequence[Observer]
) -> Generator[tuple[list[Submission], Callable[[Result[Any, Fault]], None]]]:
    """Notifies observers of submissions; gives the submissions to send, and takes the answer."""
    if not observers:
        yield list(submissions), lambda _: None
        return
    with ExitStack() as stack:
        all_sent: list[Sending] = []
        ready: list[Submission] = []
        for submission in submissions:
            plan = submission.plan
            trace = {DUE: repr(time.time() + submission.delay)}
            sending = Sending(plan.id, plan.flow, trace, plan=plan, delay=submission.delay)
            for observer in observers:
                _enter(stack, observer.sending, sending)
            if not _can_travel(trace):
                why = f"it has values that are not text, or more than {MAX_TRACE} bytes"
                _LOGGER.warning("dropped the trace of call %s: %s", plan.id, why)
                trace = {}
            all_sent.append(sending)
            ready.append(
                replace(
                    following_attempts(submission, observers),
                    plan=replace(plan, trace=dict(trace)),
                )
            )

        def answered(answer: Result[Any, Fault]) -> None:
            if isinstance(answer, Failure):
                for each in all_sent:
                    each.fault = answer.failure()
                return
            ids = answer.unwrap()
            for each, id in zip(all_sent, [ids] if isinstance(ids, str) else ids, strict=False):
                each.id = id

        try:
            yield ready, answered
        except BaseException:
            why = "its submission was interrupted, so the engine may have the call or not"
            answered(Failure(Cancelled("", why)))
            raise


def following_attempts(submission: Submission, observers: Sequence[Observer]) -> Submission:
    """The submission with tasks that notify observers of each attempt in this process."""
    tasks = submission.tasks
    return replace(submission, observed=None if tasks is None else _Observed(tasks, observers))


def _can_travel(trace: dict[str, str]) -> bool:
    try:
        return fits_trace(trace)
    except (AttributeError, UnicodeEncodeError):  # an observer may add any object
        return False


class _Observed(ObservedTasks):
    """Tasks whose attempts observers follow."""

    def __init__(self, tasks: Tasks, observers: Sequence[Observer]) -> None:
        super().__init__(
            (
                name,
                changed_task(task, called=_with_observers(task, observers)),
            )
            for name, task in tasks.items()
        )
        if isinstance(tasks, ServedTasks):
            self.isolation, self.children = tasks.isolation, tasks.children
            self.middleware = tasks.middleware
        self._observers = observers
        self._running: dict[int, list[Fault]] = {}
        """The faults of each running attempt so far, by the identity of its context."""

    @contextlib.contextmanager
    def attempt(self) -> Generator[Callable[[Outcome], Outcome]]:
        """See `ObservedTasks.attempt`."""
        context = current()
        faults = self._running.get(id(context))
        if faults is not None:  # the attempt timed out already, and its function goes on
            yield partial(_take_note, faults)
            return
        faults = self._running[id(context)] = []
        try:
            with _attempt(self._observers) as attempt:

                def take_note(outcome: Outcome) -> Outcome:
                    if isinstance(outcome, Failed) and attempt.error is None:
                        # Its function ran in another process.
                        attempt.error = self[context.task].read(outcome).failure()
                    return _take_note(faults, outcome)

                try:
                    yield take_note
                except asyncio.CancelledError:  # the caller's; one that a task raises is an outcome
                    faults.append(_interruption(context))
                    raise
                finally:
                    if faults and (attempt.exception is None or not isinstance(faults[0], Raised)):
                        attempt.error, attempt.exception = faults[0], None
        finally:
            del self._running[id(context)]


def _take_note(faults: list[Fault], outcome: Outcome) -> Outcome:
    if isinstance(outcome, Faulted):
        faults.append(outcome.fault)
    return outcome


def _interruption(context: Context) -> Fault:
    if context.deadline is not None and context.deadline <= datetime.now(UTC):
        return Expired(context.task, "its deadline passed while it ran")
    return Cancelled(context.task, "it was cancelled, or its worker stopped")


def observed_catalog(catalog: Catalog, observers: Sequence[Observer]) -> Catalog:
    """A catalog whose tasks notify observers of each attempt."""
    if not observers:
        return catalog
    return catalog.with_tasks(_Observed(catalog.tasks, observers))


def _with_observers(task: AnyTask, observers: Sequence[Observer]) -> Callable[..., Any]:
    fn = task.called
    if task.signature.is_async:

        @wraps(fn)
        async def observed_async(*args: Any, **kwargs: Any) -> Any:
            with _attempt(observers) as attempt:
                return _noted(attempt, await call_async(fn, *args, **kwargs))

        return observed_async

    @wraps(fn)
    def observed_sync(*args: Any, **kwargs: Any) -> Any:
        with _attempt(observers) as attempt:
            return _noted(attempt, fn(*args, **kwargs))

    return observed_sync


def _noted(attempt: Attempt, value: Any) -> Any:
    if isinstance(value, Failure):
        attempt.error = value.failure()
    return value


@contextlib.contextmanager
def _attempt(observers: Sequence[Observer]) -> Generator[Attempt]:
    """The running attempt, which begins now if it has not begun."""
    context = current()
    attempt = _GOING_ON.get(None)
    with ExitStack() as stack:
        # With a mapping that is not `ObservedTasks`, the attempt begins with the function.
        if attempt is None or not is_same_attempt(attempt.context, context):
            attempt = Attempt(context, _queued(context))
            stack.callback(_GOING_ON.reset, _GOING_ON.set(attempt))
            for observer in observers:
                _enter(stack, observer.attempt, attempt)
        try:
            yield attempt
        except BaseException as problem:
            if attempt.error is None:
                attempt.exception = problem
            raise


_GOING_ON: ContextVar[Attempt] = ContextVar("onward_attempt")


def _queued(context: Context) -> float | None:
    due = context.trace.get(DUE)
    if due is None or context.attempt != 1 or not _FIRST.fullmatch(context.step):
        return None
    try:
        return max(0.0, time.time() - float(due))
    except ValueError:  # another program may have written it
        return None


def _enter(stack: ExitStack, enter: Callable[[T], AbstractContextManager[object]], of: T) -> None:
    """Enters an observer's context manager, and logs what it raises."""
    try:
        around = enter(of)
        around.__enter__()
    except Exception:
        _LOGGER.exception("an observer raised")
        return

    def leave() -> None:
        try:
            around.__exit__(None, None, None)
        except Exception:
            _LOGGER.exception("an observer raised")

    stack.callback(leave)
