"""Runs one step: decodes its arguments, calls the function, and encodes the result.

This module does not wait, queue or talk to an engine. Each backend does that itself.
"""

from __future__ import annotations

import contextlib
import dis
import logging
import threading
import traceback
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import Any

from msgspec.structs import replace

from onward.catalog import Tasks, errors_of
from onward.codec import Refused
from onward.context import CURRENT, Context
from onward.fault import (
    RETURN_IT,
    BadPayload,
    Fault,
    Lost,
    Misconfigured,
    Raised,
    TimedOut,
    Unknown,
)
from onward.flows.flow import AnyTask
from onward.isolation import Isolation
from onward.limit import hashed, key_text
from onward.outcome import Failed, Faulted, Outcome, Value, error_type, faulted, unreadable
from onward.plan import Args, FusedNode, Runnable, StepNode
from onward.policy import Delivery, type_name
from onward.scope import in_cleanup
from onward.secret import NO_KEY, has_marks
from onward.served import AttemptEnd, Perform, PerformAsync, RunsIsolated, ServedTasks
from onward.signature import Returned, call_async

_TEXT_LIMIT = 16_384
_LINE_LIMIT = 500
_LOGGER = logging.getLogger("onward.step")
_RAISING = (dis.opmap["RAISE_VARARGS"], dis.opmap["RERAISE"])
_TIMED_OUT = tuple(map(type_name, TimeoutError.__mro__))
_LOST = tuple(map(type_name, ChildProcessError.__mro__))
_CALLERS = frozenset(
    (
        __name__,
        "onward.observe",
        "onward.signature",
        "onward.resource",
        "onward.opened",
        "onward.blocks",
        "onward.middleware",
        "onward.backend.loop",
        "asyncio.futures",
        "contextlib",
        "concurrent.futures._base",
    )
)
"""The modules that call a task's function, whose frames tell its author nothing."""


class ObservedTasks(ServedTasks):
    """Tasks with observers, which follow each attempt."""

    def attempt(self) -> AbstractContextManager[Callable[[Outcome], Outcome]]:
        """Wraps an attempt in the current context. Pass the outcome to the function it returns."""
        raise NotImplementedError


def performed(step: StepNode, args: Args, tasks: Tasks, context: Context) -> AttemptEnd:
    """Calls the function of a sync task, in this thread. See `perform`."""
    try:
        task = tasks[step.task]
        positional, keyword = _arguments(task, step, args, tasks)
        return AttemptEnd(task.signature.give(task.called(*positional, **keyword), task.name))
    except BaseException as problem:
        if is_ctrl_c(problem):
            raise
        return _faulted(step, problem, tasks, context.attempt)


def performed_apart(
    step: StepNode,
    args: Args,
    tasks: Tasks,
    context: Context,
    *,
    children: RunsIsolated,
    isolation: Isolation,
    is_over: Callable[[], bool],
) -> AttemptEnd:
    """Calls the function of a task in a child process, while this thread waits. See `perform`."""
    refused = _not_apart(tasks[step.task]) if step.task in tasks else None
    if refused is not None:
        return AttemptEnd(faulted(refused))
    try:  # the child has no keys for secrets
        signature = tasks[step.task].signature
        step = replace(step, given=signature.opened(step.given))
        args = signature.opened(args)
    except (KeyError, Refused, ImportError) as problem:
        return _faulted(step, problem, tasks, context.attempt)
    ended = children.perform(step, args, tasks, context, isolation, is_over)
    try:
        return replace(ended, outcome=signature.sealed(ended.outcome))
    except (Refused, ImportError) as problem:
        return _faulted(step, problem, tasks, context.attempt)


def _not_apart(task: AnyTask) -> Misconfigured | None:
    if not task.resources:
        return None
    from onward.resource import OPENS  # only isolated steps with resources pay for it

    opens = OPENS.get(None)
    return None if opens is None else opens.isolated_fault(task)


def perform(
    step: StepNode, args: Args, tasks: Tasks, context: Context, call: Perform = performed
) -> AttemptEnd:
    """Makes one attempt at a step of a sync task, in this thread and its context.

    Args:
        step: The step.
        args: The value of the step before, or the call's own arguments.
        tasks: The tasks that may run.
        context: What `current()` returns from now on in this context.
        call: Calls the function, which may be in another process.

    Returns:
        The outcome. An exception of the function becomes `Raised`.

    Raises:
        KeyboardInterrupt: If Ctrl-C was pressed and this is the main thread.
    """
    CURRENT.set(context)
    if not isinstance(tasks, ServedTasks):
        return call(step, args, tasks, context)
    if tasks.middleware is not None:
        call = partial(tasks.middleware.perform, call)
    if not isinstance(tasks, ObservedTasks):
        return call(step, args, tasks, context)
    with tasks.attempt() as set_outcome:
        ended = call(step, args, tasks, context)
        set_outcome(ended.outcome)
        return ended


async def perform_async(step: StepNode, args: Args, tasks: Tasks, context: Context) -> AttemptEnd:
    """Like `perform`, for an async task on this event loop.

    Raises:
        asyncio.CancelledError: If the caller cancelled the attempt.
    """
    CURRENT.set(context)
    if not isinstance(tasks, ServedTasks):
        return await _performed_async(step, args, tasks, context)
    call: PerformAsync = _performed_async
    if tasks.middleware is not None:
        call = partial(tasks.middleware.perform_async, call)
    if not isinstance(tasks, ObservedTasks):
        return await call(step, args, tasks, context)
    with tasks.attempt() as set_outcome:
        ended = await call(step, args, tasks, context)
        set_outcome(ended.outcome)
        return ended


async def _performed_async(
    step: StepNode, args: Args, tasks: Tasks, context: Context
) -> AttemptEnd:
    import asyncio

    try:
        task = tasks[step.task]
        positional, keyword = _arguments(task, step, args, tasks)
        value: Any = await call_async(task.called, *positional, **keyword)
        return AttemptEnd(task.signature.give(value, task.name))
    except BaseException as problem:
        running = asyncio.current_task()
        if isinstance(problem, asyncio.CancelledError) and running and running.cancelling():
            raise
        return _faulted(step, problem, tasks, context.attempt)


def report_outcome(tasks: Tasks, context: Context, outcome: Outcome) -> None:
    """Notifies observers of an attempt that ended without its worker, and logs it.

    Args:
        tasks: The tasks; only `ObservedTasks` have observers.
        context: The attempt's context.
        outcome: The attempt's outcome.
    """
    notify_observers(tasks, context, outcome)
    log(StepNode(task=context.task), context, AttemptEnd(outcome))


def notify_observers(tasks: Tasks, context: Context, outcome: Outcome) -> None:
    """Notifies observers of an attempt that did not end in its own thread."""
    if not isinstance(tasks, ObservedTasks):
        return
    token = CURRENT.set(context)
    try:
        with tasks.attempt() as set_outcome:
            set_outcome(outcome)
    finally:
        CURRENT.reset(token)


def log(step: Delivery, context: Context, ended: AttemptEnd) -> None:
    """Logs an attempt that gave no value, as one line.

    A domain error is logged at INFO, by its type only, because its fields may hold private data. An
    attempt that will be retried is logged at WARNING. Every other failure is logged at ERROR, with
    the traceback of the function's exception; so is a domain error of a cleanup, which no caller
    gets.

    Args:
        step: The step's policy.
        context: The attempt's context.
        ended: How the attempt ended.
    """
    outcome, problem = ended.outcome, ended.problem
    if isinstance(outcome, Value):
        return
    level, trace, shown = logging.ERROR, None, None
    if isinstance(outcome, Failed):
        level, text = logging.INFO, f"returned the domain error {error_type(outcome)}"
        if in_cleanup(context.step, ends=True):
            level, text = logging.ERROR, f"{text}, in a cleanup"
    elif is_retried(step, outcome, context.attempt):
        level = logging.WARNING
        times = f"attempt {context.attempt} of {step.attempts}"
        text = f"failed in {times} and will be retried: {_brief(outcome.fault)}"
    else:
        text = f"failed: {_brief(outcome.fault)}"
        if isinstance(outcome.fault, Raised):
            shown = outcome.fault.traceback
            if problem is not None:  # it was raised in this process
                trace = (type(problem), problem, own_frames(problem))
    token = CURRENT.set(context)
    # A log handler is the user's code. If it raises, the step must not fail.
    with contextlib.suppress(Exception):
        if _LOGGER.isEnabledFor(level):
            log_args = (context.task, text)
            record = _LOGGER.makeRecord(
                _LOGGER.name, level, __file__, 0, "%s %s", log_args, trace, log.__name__
            )
            # The exception's own text may be endless, or have characters that no file accepts.
            record.exc_text = shown
            _LOGGER.handle(record)
    CURRENT.reset(token)


def _brief(fault: Fault) -> str:
    """Says on one line what happened, without advice."""
    text = fault.message
    if isinstance(fault, Raised):
        text = f"{fault.error_type}: {text}" if text else fault.error_type
    elif isinstance(fault, BadPayload):
        text = f"{text} at {fault.path}"
    text = " ".join(text.split())
    return text if len(text) <= _LINE_LIMIT else f"{text[:_LINE_LIMIT]}..."


async def retried(
    step: Delivery,
    once: Callable[[int], Awaitable[Outcome]],
    sleep: Callable[[float], Awaitable[None]],
    chance: Callable[[], float],
) -> Outcome:
    """Makes attempts at a step until its policy allows no further one.

    Args:
        step: The step's policy.
        once: Makes one attempt; takes its number, from 1.
        sleep: Waits; takes the number of seconds.
        chance: Returns a random number from 0 to 1, for the jitter.

    Returns:
        The outcome of the last attempt.
    """
    attempt = 1
    while True:
        outcome = await once(attempt)
        if not is_retried(step, outcome, attempt):
            return outcome
        await sleep(step.backoff.delay(attempt, chance()))
        attempt += 1


def is_retried(step: Delivery, outcome: Outcome, attempt: int) -> bool:
    """Whether a step's policy asks for another attempt after this one."""
    if attempt >= step.attempts or not isinstance(outcome, Faulted):
        return False
    match outcome.fault:
        case Raised(kinds=kinds):
            pass
        case TimedOut():
            kinds = _TIMED_OUT
        case Lost():
            kinds = _LOST
        case _:
            return False
    return not set(kinds).isdisjoint(step.retry_on) and set(kinds).isdisjoint(step.retry_never)


def _arguments(
    task: AnyTask, step: StepNode, args: Args, tasks: Tasks
) -> tuple[list[Any], dict[str, Any]]:
    given = step.given
    if given.positional or given.keyword:
        args = Args(args.positional + given.positional, args.keyword | given.keyword)
    return task.signature.decode(args, find=lambda name: errors_of(tasks, name))


def limit_key(step: Runnable, args: Args, tasks: Tasks) -> str | Faulted:
    """The key of a step's limit; empty if the limit has none.

    Args:
        step: The step.
        args: The value of the step before, or the call's own arguments.
        tasks: The tasks that may run, of which one has the selector.

    Returns:
        The key, or the fault with which the step ends if it has none: its arguments do not fit, or
        the selector raised.
    """
    if step.limit is None or not step.limit.keyed or isinstance(step, FusedNode):
        return ""
    try:
        task = tasks[step.task]
        positional, keyword = _arguments(task, step, args, tasks)
    except Exception as problem:
        outcome = _faulted(step, problem, tasks, 1).outcome
        assert isinstance(outcome, Faulted)
        return outcome
    selector = None if task.policy.limit is None else task.policy.limit.key
    if selector is None:
        return _no_key(step, "this worker's task has no key for it. Serve the task with its limit")
    try:
        key = key_text(task.signature.select(selector, positional, keyword))
    except BaseException as problem:
        if is_ctrl_c(problem):
            raise
        cause = raised(step.task, problem)
        return _no_key(step, f"the function in key= raised {_brief(cause)}")
    # Engines keep keys in the clear, and this one may be made of a secret.
    is_secret = any(map(has_marks, (*args.positional, *args.keyword.values())))
    return hashed(key) if is_secret else key


def _no_key(step: StepNode, why: str) -> Faulted:
    return faulted(Misconfigured(step.task, f"the limit has no key: {why}"))


def _faulted(step: StepNode, problem: BaseException, tasks: Tasks, attempt: int) -> AttemptEnd:
    if step.task not in tasks:
        message = f"no worker here has a task of this name; they have {_first_names(tasks)}"
        return AttemptEnd(faulted(Unknown(step.task, message)))
    if isinstance(problem, Refused):
        advice = RETURN_IT if isinstance(problem, Returned) else ""
        refusal = BadPayload(step.task, problem.reason, problem.path, advice)
        if NO_KEY in problem.reason and not advice:  # another worker may have the key
            return AttemptEnd(unreadable(step.task, "its arguments", refusal))
        return AttemptEnd(faulted(refusal))
    return AttemptEnd(faulted(raised(step.task, problem, attempt)), problem)


def raised(task: str, problem: BaseException, attempt: int = 1) -> Raised:
    """Turns an exception into a fault that can be sent to other processes.

    Args:
        task: The task that raised it.
        problem: The exception, just caught.
        attempt: The number of the attempt, from 1.
    """
    frames = own_frames(problem)
    return Raised(
        task=task,
        error_type=type_name(type(problem)),
        message=_text(lambda: str(problem)),
        traceback=_text(
            lambda: "".join(traceback.format_exception(type(problem), problem, frames))
        ),
        attempts=attempt,
        kinds=tuple(type_name(kind) for kind in type(problem).__mro__ if kind is not object),
    )


def own_frames(problem: BaseException) -> TracebackType | None:
    """An exception's traceback, from the task's own function on."""
    frames = problem.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__") in _CALLERS:
        frames = frames.tb_next
    return frames


def is_ctrl_c(problem: BaseException) -> bool:
    """Whether Ctrl-C caused a KeyboardInterrupt, rather than a `raise` in the task's own code.

    Both are the same exception in Python. But a signal interrupts only the main thread, and not at
    a raise instruction.
    """
    if not isinstance(problem, KeyboardInterrupt):
        return False
    if threading.current_thread() is not threading.main_thread():
        return False
    trace = problem.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is None or trace.tb_frame.f_code.co_code[trace.tb_lasti] not in _RAISING


def _first_names(tasks: Tasks) -> str:
    names = sorted(tasks)
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "") if names else "none at all"


def _text(make: Callable[[], str]) -> str:
    # An exception's __str__ is the user's code: it may raise, or return text that JSON rejects.
    try:
        text = make()
    except BaseException as problem:
        if is_ctrl_c(problem):
            raise
        text = f"(its text cannot be read: {type(problem).__name__})"
    if len(text) > _TEXT_LIMIT:
        text = f"{text[: _TEXT_LIMIT // 2]}\n[...]\n{text[-_TEXT_LIMIT // 2 :]}"
    return text.encode("utf-8", "backslashreplace").decode()
