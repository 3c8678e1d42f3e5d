"""Makes attempts at steps. The workers of all backends use this module.

An attempt runs in a fresh copy of a context and ends with its timeout. Observers follow it, and it
is logged if it gives no value. An `Executor` runs it on an event loop or in a plain thread.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextvars import Context as Variables
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

from msgspec.structs import replace

from onward.backend.loop import Closed, LoopThread
from onward.catalog import Tasks
from onward.context import Context, Progress
from onward.coroutines import drive
from onward.evaluate import IN_FLIGHT, evaluate
from onward.execute import (
    is_retried,
    log,
    notify_observers,
    perform,
    perform_async,
    performed_apart,
    retried,
)
from onward.fault import Raised, TimedOut
from onward.interrupt import INTERRUPT, AsyncWork, Interrupt, Interrupted
from onward.isolation import Isolation
from onward.outcome import Outcome, Value, faulted
from onward.plan import Args, FusedNode, Runnable, StepNode
from onward.policy import Delivery
from onward.pool import Threads
from onward.served import AttemptEnd, RunsIsolated, ServedTasks, isolation_for

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Timeout(Generic[T]):
    """How long work may take, and what it gives if it takes longer.

    Args:
        seconds: The time it may take; None for no limit.
        on_timeout: Returns the work's result once the time is up. The work is cancelled after that.
    """

    seconds: float | None
    on_timeout: Callable[[], T]


class Executor(Protocol):
    """Runs attempts.

    An executor cancels work that takes too long, and no longer waits for it. A thread runs on,
    because Python cannot stop it.
    """

    in_flight: int
    """How many branches of a fused step run at the same time."""

    async def run(self, work: Callable[[], T], variables: Variables, timeout: Timeout[T]) -> T:
        """Runs a sync function in a context."""
        ...

    async def run_async(self, work: AsyncWork[T], variables: Variables, timeout: Timeout[T]) -> T:
        """Runs an async function in a context, on an event loop."""
        ...

    async def run_steps(self, work: AsyncWork[T], timeout: Timeout[T]) -> T:
        """Runs an async function that awaits only this executor."""
        ...

    async def pause(self, seconds: float) -> None:
        """Waits."""
        ...


class LoopExecutor:
    """Runs async tasks on the running event loop, and sync tasks on threads beside it."""

    in_flight = IN_FLIGHT

    def __init__(self) -> None:
        self._threads = Threads()

    async def run(self, work: Callable[[], T], variables: Variables, timeout: Timeout[T]) -> T:
        """See `Executor.run`."""
        running = partial(self._threads.run, work, variables)
        if timeout.seconds is None:  # a thread cannot cancel what awaits it
            return await running()
        return await _with_timeout(running, copy_context(), timeout)

    async def run_async(self, work: AsyncWork[T], variables: Variables, timeout: Timeout[T]) -> T:
        """See `Executor.run_async`."""
        return await _with_timeout(work, variables, timeout)

    async def run_steps(self, work: AsyncWork[T], timeout: Timeout[T]) -> T:
        """See `Executor.run_steps`."""
        return await _with_timeout(work, copy_context(), timeout)

    async def pause(self, seconds: float) -> None:
        """See `Executor.pause`."""
        await asyncio.sleep(seconds)


class ThreadExecutor:
    """Runs sync tasks in the thread that calls `drive`, and async tasks on a loop beside it."""

    in_flight = 1

    def __init__(self) -> None:
        self._loop = LoopThread("onward-async")

    async def run(self, work: Callable[[], T], variables: Variables, timeout: Timeout[T]) -> T:
        """See `Executor.run`."""
        if timeout.seconds is None:
            return variables.run(work)
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(variables.run(work))
            except BaseException as exc:  # such as Closed, which is not a timeout
                done.set_exception(exc)

        threading.Thread(target=run, name="onward-step", daemon=True).start()
        wait([done], timeout.seconds)
        return done.result() if done.done() else timeout.on_timeout()

    async def run_async(self, work: AsyncWork[T], variables: Variables, timeout: Timeout[T]) -> T:
        """See `Executor.run_async`."""
        interrupt = INTERRUPT.get() or Interrupt()
        try:
            return self._loop.call(
                partial(interrupt.over, partial(_with_timeout, work, variables, timeout))
            )
        except Closed:
            if self._loop.is_closed:
                raise
            if interrupt.is_set:
                raise Interrupted from None
            raise _CancelledItself from None  # the task cancelled everything on its loop

    async def run_steps(self, work: AsyncWork[T], timeout: Timeout[T]) -> T:
        """See `Executor.run_steps`."""
        if timeout.seconds is None:
            return await work()
        return await self.run(lambda: drive(work()), copy_context(), timeout)

    async def pause(self, seconds: float) -> None:
        """See `Executor.pause`."""
        time.sleep(seconds)  # noqa: ASYNC251 - no loop runs here: the thread itself waits

    def close(self) -> None:
        """Ends the loop; tasks that run on it end with `onward.backend.loop.Closed`."""
        self._loop.close()


async def _with_timeout(work: AsyncWork[T], variables: Variables, timeout: Timeout[T]) -> T:
    # In an asyncio task of its own: a step may cancel itself, and may ignore its cancellation.
    job = asyncio.create_task(work(), context=variables)
    try:
        await asyncio.wait([job], timeout=timeout.seconds)
        if not job.done():
            return timeout.on_timeout()
        if job.cancelled():
            raise _CancelledItself
        return job.result()
    finally:
        job.cancel()


class _CancelledItself(Exception):
    """A task cancelled itself; nobody else had cancelled it."""


class _Stopped(BaseException):
    """A fused step timed out, and its thread must not start another step."""


class _AttemptState:
    """Whether an attempt is over. Its thread may still run then, but its progress is dropped."""

    __slots__ = ("_context", "is_over")

    def __init__(self, context: Context) -> None:
        self.is_over = False
        self._context = context

    def is_cancelled(self) -> bool:
        return self.is_over or self._context.is_cancelled()

    def report(self, progress: Progress) -> None:
        if not self.is_over:
            self._context.report(progress)


def _ignore(_: Context) -> None:
    return None


def _never() -> AttemptEnd:
    raise AssertionError("no time limit, and it was reached")


_NO_TIMEOUT = Timeout(None, _never)


class Attempts:
    """Makes attempts at steps.

    Args:
        tasks: The tasks that may run.
        executor: Runs them; None for the running event loop and threads beside it.
        children: Runs isolated steps, unless the tasks say what does; None for child processes of
            its own.
    """

    def __init__(
        self,
        tasks: Tasks,
        executor: Executor | None = None,
        children: RunsIsolated | None = None,
    ) -> None:
        self._tasks = tasks
        self._executor = LoopExecutor() if executor is None else executor
        self._children = children

    async def make(
        self,
        step: Runnable,
        args: Args,
        context: Context,
        on_attempt: Callable[[Context], None] = _ignore,
        variables: Variables | None = None,
    ) -> Outcome:
        """Makes one attempt at a step.

        Args:
            step: A task, or a whole flow that is fused into one step.
            args: The value of the step before, or the call's own arguments.
            context: What `current()` returns during the attempt. For a fused step, its `task` is
                the name of the flow.
            on_attempt: Called at the start of each attempt at a task, also within a fused step.
            variables: The context variables of which each task gets a copy; None for the caller's.

        Returns:
            The attempt's outcome, even if the step will be retried.
        """
        state = _AttemptState(context)
        context = replace(context, is_cancelled=state.is_cancelled, report=state.report)
        try:
            if isinstance(step, FusedNode):
                return await self._fused(step, args, context, state, on_attempt, variables)
            return await self._task(step, args, context, on_attempt, variables)
        finally:
            state.is_over = True

    def make_here(
        self, step: StepNode, args: Args, context: Context, variables: Variables
    ) -> Outcome:
        """Makes one attempt at a sync task without a timeout, in this thread.

        Nothing can end such an attempt early, so it needs no executor.

        Args:
            step: The task's step.
            args: The value of the step before, or the call's own arguments.
            context: What `current()` returns during the attempt.
            variables: The context variables of which the task gets a copy.
        """
        ended = variables.copy().run(perform, step, args, self._tasks, context)
        if type(ended.outcome) is not Value:
            log(step, context, ended)
        return ended.outcome

    async def _task(
        self,
        step: StepNode,
        args: Args,
        context: Context,
        on_attempt: Callable[[Context], None],
        variables: Variables | None,
    ) -> Outcome:
        on_attempt(context)
        tasks, executor, is_async_task = self._tasks, self._executor, is_async(step, self._tasks)
        isolation = isolation_for(step, tasks)
        if isolation is not None:
            ended = await self._isolated(step, args, context, isolation, variables)
            if not isinstance(ended.outcome, Value):
                log(step, context, ended)
            return ended.outcome
        timeout = _NO_TIMEOUT
        if step.timeout is not None:
            late = partial(self._late, step, context, may_go_on=not is_async_task)
            timeout = Timeout(step.timeout, late)
        fresh = copy_context() if variables is None else variables.copy()
        try:
            if is_async_task:
                work_async = partial(perform_async, step, args, tasks, context)
                ended = await executor.run_async(work_async, fresh, timeout)
            else:
                work = partial(perform, step, args, tasks, context)
                ended = await executor.run(work, fresh, timeout)
        except _CancelledItself:
            ended = AttemptEnd(_cancelled_itself(context))
        if not isinstance(ended.outcome, Value):
            log(step, context, ended)
        return ended.outcome

    async def _isolated(
        self,
        step: StepNode,
        args: Args,
        context: Context,
        isolation: Isolation,
        variables: Variables | None,
    ) -> AttemptEnd:
        """Makes an attempt in a child process, which its timeout and a cancel kill."""
        children, interrupt = self._its_children(), INTERRUPT.get()

        def is_over() -> bool:
            return context.is_cancelled() or (interrupt is not None and interrupt.is_set)

        call = partial(performed_apart, children=children, isolation=isolation, is_over=is_over)
        work = partial(perform, step, args, self._tasks, context, call)
        fresh = copy_context() if variables is None else variables.copy()
        ended = await self._executor.run(work, fresh, _NO_TIMEOUT)
        if ended.was_cancelled and interrupt is not None:
            raise Interrupted
        return ended

    def _its_children(self) -> RunsIsolated:
        tasks = self._tasks
        if isinstance(tasks, ServedTasks) and tasks.children is not None:
            return tasks.children
        if self._children is None:
            from onward.processes.children import Children  # only who isolates pays for it

            self._children = Children()
        return self._children

    def _late(self, step: StepNode, context: Context, *, may_go_on: bool) -> AttemptEnd:
        late = AttemptEnd(_timed_out(step, context, may_go_on=may_go_on))
        notify_observers(self._tasks, context, late.outcome)
        return late

    async def _fused(
        self,
        step: FusedNode,
        args: Args,
        context: Context,
        state: _AttemptState,
        on_attempt: Callable[[Context], None],
        variables: Variables | None,
    ) -> Outcome:
        async def run_step(inner: Runnable, args: Args, where: str) -> Outcome:
            if step.isolate is not None and inner.isolate is None:
                inner = replace(inner, isolate=step.isolate)

            async def once(attempt: int) -> Outcome:
                if state.is_over:
                    raise _Stopped
                name = inner.task if isinstance(inner, StepNode) else context.task
                inside = replace(context, task=name, step=where, attempt=attempt)
                return await self.make(inner, args, inside, on_attempt, variables)

            return await retried(inner, once, self._executor.pause, random.random)

        def on_timeout() -> Outcome:
            late = _timed_out(step, context, may_go_on=True)
            if not is_retried(step, late, context.attempt):
                log(step, context, AttemptEnd(late))
            return late

        whole = partial(
            evaluate,
            step.body,
            args,
            run_step,
            where=context.step,
            in_flight=self._executor.in_flight,
        )
        outcome = await self._executor.run_steps(whole, Timeout(step.timeout, on_timeout))
        # A failure that is not retried was logged by the inner step, or by `on_timeout`.
        if is_retried(step, outcome, context.attempt):
            log(step, context, AttemptEnd(outcome))
        return outcome


def is_async(step: Runnable, tasks: Tasks) -> bool:
    """Whether a step runs an async task on a loop here, and holds no thread while it waits."""
    task = tasks.get(step.task) if isinstance(step, StepNode) else None
    return task is not None and task.signature.is_async and isolation_for(step, tasks) is None


def _cancelled_itself(context: Context) -> Outcome:
    message = "it cancelled itself; nobody else cancelled it"
    return faulted(
        Raised(context.task, "asyncio.exceptions.CancelledError", message, attempts=context.attempt)
    )


def _timed_out(step: Delivery, context: Context, *, may_go_on: bool) -> Outcome:
    assert step.timeout is not None
    note = ""
    if may_go_on:
        note = (
            " (a sync task's thread runs on, because Python cannot stop it; with isolate=True, a "
            "timeout ends it)"
        )
    message = f"no value after {step.timeout:g} s{note}"
    return faulted(TimedOut(context.task, message, step.timeout, context.attempt))
