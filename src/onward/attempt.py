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
from onward.execute import perform, perform_async, retried
from onward.fault import Raised, TimedOut
from onward.outcome import Outcome, faulted
from onward.plan import Args, FusedNode, Runnable, StepNode, evaluate
from onward.pool import Threads

_Work: TypeAlias = Callable[[], Coroutine[Any, Any, Outcome]]


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
            return await _in_time(step, context, partial(self._fused, step, args, context, begins))
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
            return await _in_time(step, context, work)
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


async def _in_time(step: Runnable, context: Context, work: _Work) -> Outcome:
    # A task of its own, for a step may cancel itself, and may not let itself be cancelled.
    job = asyncio.create_task(work())
    try:
        await asyncio.wait([job], timeout=step.timeout)
        if not job.done():
            return _timed_out(step, context)
        if not job.cancelled():
            return job.result()
        message = "it cancelled itself: nobody had asked for it"
        return faulted(Raised(context.task, "asyncio.exceptions.CancelledError", message))
    finally:
        job.cancel()


def _timed_out(step: Runnable, context: Context) -> Outcome:
    assert step.timeout is not None
    note = "(a sync task's thread goes on, for Python cannot stop it)"
    message = f"no value after {step.timeout:g} s {note}"
    return faulted(TimedOut(context.task, message, step.timeout, context.attempt))
