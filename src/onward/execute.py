"""Running one step: decode its arguments, call the function, encode what it gives.

Nothing here waits, queues or talks to an engine; each backend brings that.
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
from typing import Any, NamedTuple, TypeAlias

from onward.catalog import Tasks, errors_of
from onward.codec import Refused
from onward.context import CURRENT, Context
from onward.fault import BadPayload, Fault, Raised, TimedOut, Unknown
from onward.flows.flow import Task
from onward.outcome import Failed, Faulted, Outcome, Value, error_type, faulted
from onward.plan import Args, StepNode
from onward.policy import Delivery, type_name
from onward.signature import call_async

_TEXT_LIMIT = 16_384
_LINE_LIMIT = 500
_LOGGER = logging.getLogger("onward.step")
_RAISING = (dis.opmap["RAISE_VARARGS"], dis.opmap["RERAISE"])
_TIMED_OUT = tuple(map(type_name, TimeoutError.__mro__))

AnyTask: TypeAlias = Task[..., Any, Any]


class ObservedTasks(dict[str, AnyTask]):
    """Tasks whose attempts observers follow."""

    def attempt(self) -> AbstractContextManager[Callable[[Outcome], Outcome]]:
        """Around an attempt in the current context; gives a function that takes its outcome."""
        raise NotImplementedError


class Ended(NamedTuple):
    """How an attempt ended: its outcome, and what the function raised."""

    outcome: Outcome
    problem: BaseException | None = None


def perform(step: StepNode, args: Args, tasks: Tasks, context: Context) -> Ended:
    """One attempt at a step of a sync task, in this thread and its context.

    Args:
        step: The step.
        args: What came from the step before, or the call's own arguments.
        tasks: The tasks that may be run.
        context: What `current()` gives from now on in this context.

    Returns:
        Its outcome; whatever the function raises is `Raised`.

    Raises:
        KeyboardInterrupt: If Ctrl-C was pressed, where this is the main thread.
    """
    CURRENT.set(context)
    if not isinstance(tasks, ObservedTasks):
        return _performed(step, args, tasks, context)
    with tasks.attempt() as note:
        ended = _performed(step, args, tasks, context)
        note(ended.outcome)
        return ended


def _performed(step: StepNode, args: Args, tasks: Tasks, context: Context) -> Ended:
    try:
        task = tasks[step.task]
        positional, keyword = _arguments(task, step, args, tasks)
        return Ended(task.signature.give(task.fn(*positional, **keyword), task.name))
    except BaseException as problem:
        if _is_ctrl_c(problem):
            raise
        return _faulted(step, problem, tasks, context.attempt)


async def perform_async(step: StepNode, args: Args, tasks: Tasks, context: Context) -> Ended:
    """One attempt at a step of an async task, on this event loop; else like `perform`.

    Raises:
        asyncio.CancelledError: If it was the caller who cancelled.
    """
    CURRENT.set(context)
    if not isinstance(tasks, ObservedTasks):
        return await _performed_async(step, args, tasks, context)
    with tasks.attempt() as note:
        ended = await _performed_async(step, args, tasks, context)
        note(ended.outcome)
        return ended


async def _performed_async(step: StepNode, args: Args, tasks: Tasks, context: Context) -> Ended:
    import asyncio

    try:
        task = tasks[step.task]
        positional, keyword = _arguments(task, step, args, tasks)
        value: Any = await call_async(task.fn, *positional, **keyword)
        return Ended(task.signature.give(value, task.name))
    except BaseException as problem:
        running = asyncio.current_task()
        if isinstance(problem, asyncio.CancelledError) and running and running.cancelling():
            raise
        return _faulted(step, problem, tasks, context.attempt)


def report(tasks: Tasks, context: Context, outcome: Outcome) -> None:
    """Tells observers and the log of an attempt that ended without its worker.

    Args:
        tasks: The tasks, which may be `ObservedTasks`.
        context: Which attempt it was.
        outcome: What came of it.
    """
    tell(tasks, context, outcome)
    log(StepNode(task=context.task), context, Ended(outcome))


def tell(tasks: Tasks, context: Context, outcome: Outcome) -> None:
    """Tells observers of an attempt that has ended in another thread, or in none."""
    if not isinstance(tasks, ObservedTasks):
        return
    token = CURRENT.set(context)
    try:
        with tasks.attempt() as note:
            note(outcome)
    finally:
        CURRENT.reset(token)


def log(step: Delivery, context: Context, ended: Ended) -> None:
    """Logs an attempt that gave no value, as one line that says where it stood.

    A domain error is logged at INFO by its type alone, for its fields may hold private data. An
    attempt that will be retried is logged at WARNING, all others at ERROR, with the traceback of
    what the function raised.

    Args:
        step: Its policy.
        context: Which attempt it was.
        ended: How it ended.
    """
    outcome, problem = ended
    if isinstance(outcome, Value):
        return
    level, trace, shown = logging.ERROR, None, None
    if isinstance(outcome, Failed):
        level, text = logging.INFO, f"answered with an error: {error_type(outcome)}"
    elif is_retried(step, outcome, context.attempt):
        level = logging.WARNING
        times = f"attempt {context.attempt} of {step.attempts}"
        text = f"failed in {times}, and will be tried again: {_brief(outcome.fault)}"
    else:
        text = f"failed: {_brief(outcome.fault)}"
        if problem is not None and isinstance(outcome.fault, Raised):
            frames = problem.__traceback__ and problem.__traceback__.tb_next
            trace, shown = (type(problem), problem, frames), outcome.fault.traceback
    token = CURRENT.set(context)
    # A handler is the user's code, and what it raises is no part of the step.
    with contextlib.suppress(Exception):
        if _LOGGER.isEnabledFor(level):
            said = (context.task, text)
            record = _LOGGER.makeRecord(
                _LOGGER.name, level, __file__, 0, "%s %s", said, trace, log.__name__
            )
            record.exc_text = shown  # an exception's own may be endless, or what no file takes
            _LOGGER.handle(record)
    CURRENT.reset(token)


def _brief(fault: Fault) -> str:
    """What happened, on one line and without advice."""
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
    """Attempts at a step until one of them settles it.

    Args:
        step: Its policy.
        once: Makes the attempt of this number, from 1.
        sleep: Waits for so many seconds.
        chance: Gives a random number from 0 to 1, for the jitter.
    """
    attempt = 1
    while True:
        outcome = await once(attempt)
        if not is_retried(step, outcome, attempt):
            return outcome
        await sleep(step.backoff.delay(attempt, chance()))
        attempt += 1


def is_retried(step: Delivery, outcome: Outcome, attempt: int) -> bool:
    """Whether a step's policy has another attempt follow this one."""
    if attempt >= step.attempts or not isinstance(outcome, Faulted):
        return False
    match outcome.fault:
        case Raised(kinds=kinds):
            pass
        case TimedOut():
            kinds = _TIMED_OUT
        case _:
            return False
    return not set(kinds).isdisjoint(step.retry_on) and set(kinds).isdisjoint(step.retry_never)


def _arguments(
    task: AnyTask, step: StepNode, args: Args, tasks: Tasks
) -> tuple[list[Any], dict[str, Any]]:
    given = step.given
    if given.positional or given.keyword:
        args = Args(args.positional + given.positional, args.keyword | given.keyword)
    return task.signature.decode(args, find=partial(errors_of, tasks))


def _faulted(step: StepNode, problem: BaseException, tasks: Tasks, attempt: int) -> Ended:
    if step.task not in tasks:
        message = f"no worker here has a task of this name; they have {_some(tasks)}"
        return Ended(faulted(Unknown(step.task, message)))
    if isinstance(problem, Refused):
        return Ended(faulted(BadPayload(step.task, problem.reason, problem.path)))
    return Ended(faulted(raised(step.task, problem, attempt)), problem)


def raised(task: str, problem: BaseException, attempt: int = 1) -> Raised:
    """An exception as a fault, as much of it as can travel.

    Args:
        task: Whose it is.
        problem: The exception, just caught.
        attempt: In which attempt, from 1.
    """
    frames = problem.__traceback__.tb_next if problem.__traceback__ else None
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


def _is_ctrl_c(problem: BaseException) -> bool:
    """Whether somebody at the keyboard interrupted, and not the task's own code.

    Python shows a signal and `raise KeyboardInterrupt` as the same exception. But signals reach the
    main thread alone, and between other instructions than a raise.
    """
    if not isinstance(problem, KeyboardInterrupt):
        return False
    if threading.current_thread() is not threading.main_thread():
        return False
    trace = problem.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is None or trace.tb_frame.f_code.co_code[trace.tb_lasti] not in _RAISING


def _some(tasks: Tasks) -> str:
    names = sorted(tasks)
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "") if names else "none at all"


def _text(make: Callable[[], str]) -> str:
    # An exception's __str__ is the user's code: it may raise, and give what no JSON holds.
    try:
        text = make()
    except BaseException as problem:
        if _is_ctrl_c(problem):
            raise
        text = f"(its text cannot be had: {type(problem).__name__})"
    if len(text) > _TEXT_LIMIT:
        text = f"{text[: _TEXT_LIMIT // 2]}\n[...]\n{text[-_TEXT_LIMIT // 2 :]}"
    return text.encode("utf-8", "backslashreplace").decode()
