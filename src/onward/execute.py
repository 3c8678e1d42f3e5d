"""Running one step: decode its arguments, call the function, encode what it gives.

Nothing here waits, queues or talks to an engine; each backend brings that.
"""

from __future__ import annotations

import dis
import threading
import traceback
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Protocol, TypeAlias, cast

from onward.catalog import Tasks, errors_of
from onward.codec import Refused
from onward.context import CURRENT, Context
from onward.fault import BadPayload, Raised, TimedOut, Unknown
from onward.flows.flow import Task
from onward.outcome import Faulted, Outcome, faulted
from onward.plan import Args, Delivery, StepNode
from onward.policy import type_name
from onward.signature import call_async

_TEXT_LIMIT = 16_384
_RAISING = (dis.opmap["RAISE_VARARGS"], dis.opmap["RERAISE"])
_TIMED_OUT = tuple(map(type_name, TimeoutError.__mro__))

AnyTask: TypeAlias = Task[..., Any, Any]


class Watches(Protocol):
    """Tasks of whose attempts somebody is told."""

    def watch(self) -> AbstractContextManager[Callable[[Outcome], Outcome]]:
        """Around an attempt in the current context; what it gives passes its outcome on."""
        ...


def perform(step: StepNode, args: Args, tasks: Tasks, context: Context) -> Outcome:
    """One attempt at a step of a sync task, in this thread.

    Args:
        step: The step.
        args: What came from the step before, or the call's own arguments.
        tasks: The tasks that may be run.
        context: What `current()` gives meanwhile.

    Returns:
        Its outcome; whatever the function raises is `Raised`.

    Raises:
        KeyboardInterrupt: If Ctrl-C was pressed, where this is the main thread.
    """
    token = CURRENT.set(context)
    try:
        watching = _watching(tasks)
        if watching is None:
            return _performed(step, args, tasks, context)
        with watching.watch() as came:
            return came(_performed(step, args, tasks, context))
    finally:
        CURRENT.reset(token)


def _performed(step: StepNode, args: Args, tasks: Tasks, context: Context) -> Outcome:
    try:
        task = tasks[step.task]
        positional, keyword = _arguments(task, step, args, tasks)
        return task.signature.give(task.fn(*positional, **keyword), task.name)
    except BaseException as problem:
        if _is_ctrl_c(problem):
            raise
        return _faulted(step, problem, tasks, context.attempt)


async def perform_async(step: StepNode, args: Args, tasks: Tasks, context: Context) -> Outcome:
    """One attempt at a step of an async task, on this event loop; else like `perform`.

    Raises:
        asyncio.CancelledError: If it was the caller who cancelled.
    """
    token = CURRENT.set(context)
    try:
        watching = _watching(tasks)
        if watching is None:
            return await _performed_async(step, args, tasks, context)
        with watching.watch() as came:
            return came(await _performed_async(step, args, tasks, context))
    finally:
        CURRENT.reset(token)


async def _performed_async(step: StepNode, args: Args, tasks: Tasks, context: Context) -> Outcome:
    import asyncio

    try:
        task = tasks[step.task]
        positional, keyword = _arguments(task, step, args, tasks)
        value: Any = await call_async(task.fn, *positional, **keyword)
        return task.signature.give(value, task.name)
    except BaseException as problem:
        running = asyncio.current_task()
        if isinstance(problem, asyncio.CancelledError) and running and running.cancelling():
            raise
        return _faulted(step, problem, tasks, context.attempt)


def _watching(tasks: Tasks) -> Watches | None:
    return cast(Watches, tasks) if hasattr(tasks, "watch") else None


def tell(tasks: Tasks, context: Context, outcome: Outcome) -> None:
    """Tells those who watch of an attempt that ended without its worker.

    Args:
        tasks: The tasks, which somebody may watch.
        context: Which attempt it was.
        outcome: What came of it.
    """
    watching = _watching(tasks)
    if watching is None:
        return
    token = CURRENT.set(context)
    try:
        with watching.watch() as came:
            came(outcome)
    finally:
        CURRENT.reset(token)


def told_if_late(tasks: Tasks, context: Context, outcome: Outcome) -> Outcome:
    """The same outcome; of a timeout, of which no attempt hears, those who watch are told."""
    if isinstance(outcome, Faulted) and isinstance(outcome.fault, TimedOut):
        tell(tasks, context, outcome)
    return outcome


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
        if attempt >= step.attempts or not is_retried(step, outcome):
            return outcome
        await sleep(step.backoff.delay(attempt, chance()))
        attempt += 1


def is_retried(step: Delivery, outcome: Outcome) -> bool:
    """Whether a step's policy has such an outcome tried again, attempts permitting."""
    if not isinstance(outcome, Faulted):
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


def _faulted(step: StepNode, problem: BaseException, tasks: Tasks, attempt: int) -> Faulted:
    if step.task not in tasks:
        message = f"no worker here has a task of this name; they have {_some(tasks)}"
        return faulted(Unknown(step.task, message))
    if isinstance(problem, Refused):
        return faulted(BadPayload(step.task, problem.reason, problem.path))
    return faulted(raised(step.task, problem, attempt))


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
