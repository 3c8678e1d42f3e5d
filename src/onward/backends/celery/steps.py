"""Runs one step to its outcome, in a worker's thread or process."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from functools import partial
from typing import Any

from onward.attempt import in_time, timed_out
from onward.catalog import Tasks
from onward.colour import LoopThread
from onward.context import Context
from onward.execute import perform, perform_async, retried, told_if_late
from onward.outcome import Outcome
from onward.plan import Args, FusedNode, Runnable, StepNode, evaluate


class StepRunner:
    """Runs steps of a catalog's tasks: sync ones here, async ones on one loop beside.

    Args:
        tasks: The tasks that may be run.
    """

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._loop = LoopThread("onward-async")

    def attempt(self, step: Runnable, args: Args, context: Context) -> Outcome:
        """One attempt at a step, as long as it may take."""
        if isinstance(step, FusedNode):
            whole = partial(self._fused, step, args, context)
            return _in_time(step, context, whole)
        task = self._tasks.get(step.task)
        if task is not None and task.signature.is_async:
            return self._loop.call(partial(self._awaited, step, args, context))
        work = partial(perform, step, args, self._tasks, context)
        return told_if_late(self._tasks, context, _in_time(step, context, work))

    def close(self) -> None:
        """Ends the loop."""
        self._loop.close()

    async def _awaited(self, step: StepNode, args: Args, context: Context) -> Outcome:
        work = partial(perform_async, step, args, self._tasks, context)
        outcome = await in_time(step, context.task, context.attempt, work)
        return told_if_late(self._tasks, context, outcome)

    def _fused(self, step: FusedNode, args: Args, context: Context) -> Outcome:
        async def run_step(inner: Runnable, args: Args, where: str) -> Outcome:
            async def once(attempt: int) -> Outcome:
                name = inner.task if isinstance(inner, StepNode) else context.task
                inside = Context(
                    context.id,
                    name,
                    where,
                    attempt,
                    context.key,
                    context.deadline,
                    context.report,
                    context.is_cancelled,
                    context.trace,
                )
                return self.attempt(inner, args, inside)

            return await retried(inner, once, _nap, random.random)

        return _driven(evaluate(step.body, args, run_step, where=context.step, in_flight=1))


def _in_time(step: Runnable, context: Context, work: Callable[[], Outcome]) -> Outcome:
    if step.timeout is None:
        return work()
    done: Future[Outcome] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as problem:  # such as Closed, which is no timeout
            done.set_exception(problem)

    threading.Thread(target=run, daemon=True).start()
    wait([done], step.timeout)
    return done.result() if done.done() else timed_out(step, context.task, context.attempt)


def _driven(evaluation: Coroutine[Any, Any, Outcome]) -> Outcome:
    # With nothing side by side, no step-runner ever waits for an event loop.
    try:
        evaluation.send(None)
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome
    raise AssertionError("it waited for an event loop")


async def _nap(seconds: float) -> None:
    time.sleep(seconds)  # noqa: ASYNC251 - there is no loop here: the worker's thread waits
