"""One attempt at a step, for a worker that lives on an event loop.

Async tasks run on the loop, sync ones on threads beside it; each as long as its timeout allows.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeAlias

from msgspec.structs import replace

from onward.catalog import Tasks
from onward.context import Context
from onward.execute import perform, perform_async, retried, told_if_late
from onward.fault import Raised, TimedOut
from onward.outcome import Outcome, faulted
from onward.plan import Args, Delivery, FusedNode, Runnable, StepNode, evaluate
from onward.pool import Threads

Work: TypeAlias = Callable[[], Coroutine[Any, Any, Outcome]]


class Attempts:
    """Makes attempts at the steps of a catalog's tasks.

    Args:
        tasks: The tasks that may be run.
    """

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._threads = Threads()

    async def make(
        self,
        step: Runnable,
        args: Args,
        context: Context,
        begins: Callable[[Context], None] = lambda _: None,
    ) -> Outcome:
        """One attempt.

        Args:
            step: A task, or a whole flow that is fused into one step.
            args: What came from the step before, or the call's own arguments.
            context: What `current()` gives meanwhile; its `task` is the flow where it is fused.
            begins: Is told of each attempt at a task, those within a fused step included.
        """
        if isinstance(step, FusedNode):
            whole = partial(self._fused, step, args, context, begins)
            return await in_time(step, context.task, context.attempt, whole)
        begins(context)
        given_up = threading.Event()
        is_cancelled = context.is_cancelled
        context = replace(context, is_cancelled=lambda: given_up.is_set() or is_cancelled())
        task = self._tasks.get(step.task)
        try:
            if task is not None and task.signature.is_async:
                work = partial(perform_async, step, args, self._tasks, context)
            else:
                here = partial(perform, step, args, self._tasks, context)
                work = partial(self._threads.run, here)
            outcome = await in_time(step, context.task, context.attempt, work)
            return told_if_late(self._tasks, context, outcome)
        finally:
            given_up.set()

    async def _fused(
        self,
        step: FusedNode,
        args: Args,
        context: Context,
        begins: Callable[[Context], None],
    ) -> Outcome:
        async def run_step(inner: Runnable, args: Args, where: str) -> Outcome:
            async def once(attempt: int) -> Outcome:
                name = inner.task if isinstance(inner, StepNode) else context.task
                inside = replace(context, task=name, step=where, attempt=attempt)
                return await self.make(inner, args, inside, begins)

            return await retried(inner, once, asyncio.sleep, random.random)

        return await evaluate(step.body, args, run_step, where=context.step)


async def in_time(step: Delivery, name: str, attempt: int, work: Work) -> Outcome:
    """What comes of an attempt, for as long as the step's timeout allows.

    Args:
        step: Its policy.
        name: The task, or the flow that is fused.
        attempt: Which attempt it is, from 1.
        work: Makes the attempt.
    """
    # A task of its own, for a step may cancel itself, and may not let itself be cancelled.
    job = asyncio.create_task(work())
    try:
        await asyncio.wait([job], timeout=step.timeout)
        if not job.done():
            return timed_out(step, name, attempt)
        if not job.cancelled():
            return job.result()
        message = "it cancelled itself: nobody had asked for it"
        return faulted(Raised(name, "asyncio.exceptions.CancelledError", message))
    finally:
        job.cancel()


def timed_out(step: Delivery, name: str, attempt: int) -> Outcome:
    """The outcome of an attempt that took too long."""
    assert step.timeout is not None
    note = "(a sync task's thread goes on, for Python cannot stop it)"
    message = f"no value after {step.timeout:g} s {note}"
    return faulted(TimedOut(name, message, step.timeout, attempt))
