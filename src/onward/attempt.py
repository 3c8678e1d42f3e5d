"""The only maker of attempts at steps; every backend's worker uses it.

An attempt has a fresh copy of a context, ends with its timeout, tells observers, and is logged if
it gives no value. Where it runs, on an event loop or in a plain thread, is a `Ground`.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from contextvars import Context as Variables
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from msgspec.structs import replace

from onward.backend.loop import Closed, LoopThread
from onward.catalog import Tasks
from onward.context import Context, Progress
from onward.evaluate import IN_FLIGHT, driven, evaluate
from onward.execute import Ended, is_retried, log, perform, perform_async, retried, tell
from onward.fault import Raised, TimedOut
from onward.outcome import Outcome, Value, faulted
from onward.plan import Args, FusedNode, Runnable, StepNode
from onward.policy import Delivery
from onward.pool import Threads

T = TypeVar("T")
Awaits: TypeAlias = Callable[[], Coroutine[Any, Any, T]]


@dataclass(frozen=True, slots=True)
class Limit(Generic[T]):
    """How long work may take.

    Args:
        seconds: So long; None for as long as it takes.
        passed: Gives what comes of it if it took longer, before it is cancelled.
    """

    seconds: float | None
    passed: Callable[[], T]


class Ground(Protocol):
    """Where attempts run.

    Work that took too long is cancelled, and no longer waited for. A thread goes on, as Python
    cannot stop it.
    """

    in_flight: int
    """How many branches of a fused step run side by side."""

    async def run(self, work: Callable[[], T], variables: Variables, limit: Limit[T]) -> T:
        """Runs a sync function in a context."""
        ...

    async def run_async(self, work: Awaits[T], variables: Variables, limit: Limit[T]) -> T:
        """Runs an async function in a context, on an event loop."""
        ...

    async def run_steps(self, work: Awaits[T], limit: Limit[T]) -> T:
        """Runs an async function that awaits nothing but this ground."""
        ...

    async def pause(self, seconds: float) -> None:
        """Waits for so long."""
        ...


class OnLoop:
    """The running event loop: async tasks run on it, sync ones on threads beside it."""

    in_flight = IN_FLIGHT

    def __init__(self) -> None:
        self._threads = Threads()

    async def run(self, work: Callable[[], T], variables: Variables, limit: Limit[T]) -> T:
        """See `Ground.run`."""
        return await self.run_async(partial(self._threads.run, work), variables, limit)

    async def run_async(self, work: Awaits[T], variables: Variables, limit: Limit[T]) -> T:
        """See `Ground.run_async`."""
        return await _in_time(work, variables, limit)

    async def run_steps(self, work: Awaits[T], limit: Limit[T]) -> T:
        """See `Ground.run_steps`."""
        return await _in_time(work, copy_context(), limit)

    async def pause(self, seconds: float) -> None:
        """See `Ground.pause`."""
        await asyncio.sleep(seconds)


class InThread:
    """The thread that drives it, by `driven`: sync tasks run there, async ones on a loop beside."""

    in_flight = 1

    def __init__(self) -> None:
        self._loop = LoopThread("onward-async")

    async def run(self, work: Callable[[], T], variables: Variables, limit: Limit[T]) -> T:
        """See `Ground.run`."""
        if limit.seconds is None:
            return variables.run(work)
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(variables.run(work))
            except BaseException as problem:  # such as Closed, which is no timeout
                done.set_exception(problem)

        threading.Thread(target=run, name="onward-step", daemon=True).start()
        wait([done], limit.seconds)
        return done.result() if done.done() else limit.passed()

    async def run_async(self, work: Awaits[T], variables: Variables, limit: Limit[T]) -> T:
        """See `Ground.run_async`."""
        try:
            return self._loop.call(partial(_in_time, work, variables, limit))
        except Closed:
            if self._loop.is_closed:
                raise
            raise _CancelledItself from None  # it cancelled all that its loop ran

    async def run_steps(self, work: Awaits[T], limit: Limit[T]) -> T:
        """See `Ground.run_steps`."""
        if limit.seconds is None:
            return await work()
        return await self.run(lambda: driven(work()), copy_context(), limit)

    async def pause(self, seconds: float) -> None:
        """See `Ground.pause`."""
        time.sleep(seconds)  # noqa: ASYNC251 - there is no loop here: the thread waits

    def close(self) -> None:
        """Ends the loop; what it runs ends as `onward.backend.loop.Closed`."""
        self._loop.close()


async def _in_time(work: Awaits[T], variables: Variables, limit: Limit[T]) -> T:
    # A task of its own, for a step may cancel itself, and may not let itself be cancelled.
    job = asyncio.create_task(work(), context=variables)
    try:
        await asyncio.wait([job], timeout=limit.seconds)
        if not job.done():
            return limit.passed()
        if job.cancelled():
            raise _CancelledItself
        return job.result()
    finally:
        job.cancel()


class _CancelledItself(Exception):
    """Nobody had asked for it."""


class _Stopped(BaseException):
    """A fused step is given up; its thread goes on to no other step."""


class _GivenUp:
    """Whether an attempt is no longer waited for; what it says from then on is not passed on."""

    __slots__ = ("_context", "is_set")

    def __init__(self, context: Context) -> None:
        self.is_set = False
        self._context = context

    def is_cancelled(self) -> bool:
        return self.is_set or self._context.is_cancelled()

    def report(self, progress: Progress) -> None:
        if not self.is_set:
            self._context.report(progress)


def _nobody(_: Context) -> None:
    return None


class Attempts:
    """Makes attempts at the steps of a catalog's tasks.

    Args:
        tasks: The tasks that may be run.
        ground: Where they run; None for the running event loop and threads beside it.
    """

    def __init__(self, tasks: Tasks, ground: Ground | None = None) -> None:
        self._tasks = tasks
        self._ground = OnLoop() if ground is None else ground

    async def make(
        self,
        step: Runnable,
        args: Args,
        context: Context,
        begins: Callable[[Context], None] = _nobody,
        variables: Variables | None = None,
    ) -> Outcome:
        """One attempt.

        Args:
            step: A task, or a whole flow that is fused into one step.
            args: What came from the step before, or the call's own arguments.
            context: What `current()` gives meanwhile; its `task` is the flow where it is fused.
            begins: Is told of each attempt at a task, those within a fused step included.
            variables: The context variables that each task starts with a copy of; None for the
                caller's.

        Returns:
            What came of it, be there another attempt due or not.
        """
        given_up = _GivenUp(context)
        context = replace(context, is_cancelled=given_up.is_cancelled, report=given_up.report)
        try:
            if isinstance(step, FusedNode):
                return await self._fused(step, args, context, given_up, begins, variables)
            return await self._task(step, args, context, begins, variables)
        finally:
            given_up.is_set = True

    async def _task(
        self,
        step: StepNode,
        args: Args,
        context: Context,
        begins: Callable[[Context], None],
        variables: Variables | None,
    ) -> Outcome:
        begins(context)
        tasks, ground, awaits = self._tasks, self._ground, is_async(step, self._tasks)

        def passed() -> Ended:
            late = Ended(_timed_out(step, context, may_go_on=not awaits))
            tell(tasks, context, late.outcome)
            return late

        limit = Limit(step.timeout, passed)
        fresh = copy_context() if variables is None else variables.copy()
        try:
            if awaits:
                work_async = partial(perform_async, step, args, tasks, context)
                ended = await ground.run_async(work_async, fresh, limit)
            else:
                work = partial(perform, step, args, tasks, context)
                ended = await ground.run(work, fresh, limit)
        except _CancelledItself:
            ended = Ended(_cancelled_itself(context))
        if not isinstance(ended.outcome, Value):
            log(step, context, ended)
        return ended.outcome

    async def _fused(
        self,
        step: FusedNode,
        args: Args,
        context: Context,
        given_up: _GivenUp,
        begins: Callable[[Context], None],
        variables: Variables | None,
    ) -> Outcome:
        async def run_step(inner: Runnable, args: Args, where: str) -> Outcome:
            async def once(attempt: int) -> Outcome:
                if given_up.is_set:
                    raise _Stopped
                name = inner.task if isinstance(inner, StepNode) else context.task
                inside = replace(context, task=name, step=where, attempt=attempt)
                return await self.make(inner, args, inside, begins, variables)

            return await retried(inner, once, self._ground.pause, random.random)

        def passed() -> Outcome:
            late = _timed_out(step, context, may_go_on=True)
            if not is_retried(step, late, context.attempt):
                log(step, context, Ended(late))
            return late

        whole = partial(
            evaluate,
            step.body,
            args,
            run_step,
            where=context.step,
            in_flight=self._ground.in_flight,
        )
        outcome = await self._ground.run_steps(whole, Limit(step.timeout, passed))
        # What is not tried again was logged by the step within it, or above.
        if is_retried(step, outcome, context.attempt):
            log(step, context, Ended(outcome))
        return outcome


def is_async(step: Runnable, tasks: Tasks) -> bool:
    """Whether a step is an async task, which holds no thread while it waits."""
    task = tasks.get(step.task) if isinstance(step, StepNode) else None
    return task is not None and task.signature.is_async


def _cancelled_itself(context: Context) -> Outcome:
    message = "it cancelled itself: nobody had asked for it"
    return faulted(
        Raised(context.task, "asyncio.exceptions.CancelledError", message, attempts=context.attempt)
    )


def _timed_out(step: Delivery, context: Context, *, may_go_on: bool) -> Outcome:
    assert step.timeout is not None
    note = " (a sync task's thread goes on, for Python cannot stop it)" if may_go_on else ""
    message = f"no value after {step.timeout:g} s{note}"
    return faulted(TimedOut(context.task, message, step.timeout, context.attempt))
