"""Tasks as a worker serves them, what surrounds attempts at them, and how an attempt ended."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeAlias

from msgspec import Struct

from onward.catalog import Tasks
from onward.context import Context
from onward.flows.flow import AnyTask
from onward.isolation import Isolation
from onward.outcome import Outcome
from onward.plan import Args, StepNode
from onward.policy import Delivery


class AttemptEnd(Struct, frozen=True):
    """How an attempt ended.

    Args:
        outcome: Its outcome.
        problem: The exception that the function raised, in this process.
        was_cancelled: Whether it was ended because nobody needs its outcome any more.
    """

    outcome: Outcome
    problem: BaseException | None = None
    was_cancelled: bool = False


Perform: TypeAlias = Callable[[StepNode, Args, Tasks, Context], AttemptEnd]
"""Makes one attempt at a step of a sync task, in this thread."""

PerformAsync: TypeAlias = Callable[
    [StepNode, Args, Tasks, Context], Coroutine[Any, Any, AttemptEnd]
]
"""Makes one attempt at a step of an async task, on this event loop."""


class Surrounds(Protocol):
    """Surrounds attempts; see `onward.middleware`."""

    def perform(
        self, call: Perform, step: StepNode, args: Args, tasks: Tasks, context: Context
    ) -> AttemptEnd:
        """Makes one attempt at a step, in this thread."""
        ...

    async def perform_async(
        self, call: PerformAsync, step: StepNode, args: Args, tasks: Tasks, context: Context
    ) -> AttemptEnd:
        """Makes one attempt at a step, on this event loop."""
        ...


class RunsIsolated(Protocol):
    """Runs steps in child processes; see `onward.processes.children`."""

    def perform(
        self,
        step: StepNode,
        args: Args,
        tasks: Tasks,
        context: Context,
        isolation: Isolation,
        is_over: Callable[[], bool],
    ) -> AttemptEnd:
        """Makes one attempt at a step, while this thread waits."""
        ...


class ServedTasks(dict[str, AnyTask]):
    """Tasks, and how a worker runs them."""

    isolation: Isolation | None = None
    """How all steps are isolated; None if only those are whose policy says so."""

    children: RunsIsolated | None = None
    """Runs isolated steps; None for the child processes of whoever makes the attempts."""

    middleware: Surrounds | None = None
    """What surrounds each attempt."""


class SharedTasks(ServedTasks):
    """The tasks of several workers in one process.

    Each task has the middleware of the first worker that has it. All steps are isolated if one of
    the workers isolates its steps.
    """

    def __init__(self, workers: Sequence[Tasks]) -> None:
        super().__init__(ChainMap(*map(dict, workers)))
        served = [tasks for tasks in workers if isinstance(tasks, ServedTasks)]
        isolated = (each.isolation for each in served if each.isolation)
        self.isolation: Isolation | None = next(isolated, None)
        is_surrounded = any(each.middleware is not None for each in served)
        self.middleware: Surrounds | None = _OfEach(workers) if is_surrounded else None


class _OfEach:
    """The middleware of each worker around its own tasks."""

    def __init__(self, workers: Sequence[Tasks]) -> None:
        self._workers = workers

    def _of(self, task: str) -> Surrounds | None:
        tasks = next((tasks for tasks in self._workers if task in tasks), self._workers[0])
        return tasks.middleware if isinstance(tasks, ServedTasks) else None

    def perform(
        self, call: Perform, step: StepNode, args: Args, tasks: Tasks, context: Context
    ) -> AttemptEnd:
        """See `Surrounds.perform`."""
        its = self._of(step.task)
        if its is None:
            return call(step, args, tasks, context)
        return its.perform(call, step, args, tasks, context)

    async def perform_async(
        self, call: PerformAsync, step: StepNode, args: Args, tasks: Tasks, context: Context
    ) -> AttemptEnd:
        """See `Surrounds.perform_async`."""
        its = self._of(step.task)
        if its is None:
            return await call(step, args, tasks, context)
        return await its.perform_async(call, step, args, tasks, context)


def isolation_for(step: Delivery, tasks: Tasks) -> Isolation | None:
    """How a step is isolated; None if it is not.

    Args:
        step: The step's policy.
        tasks: The tasks of the worker, which may isolate all steps.
    """
    own, its_worker = step.isolate, tasks.isolation if isinstance(tasks, ServedTasks) else None
    if own is None or its_worker is None:
        return own or its_worker
    most = its_worker.max_tasks if own.max_tasks is None else own.max_tasks
    memory = its_worker.max_memory if own.max_memory is None else own.max_memory
    return Isolation(most, memory)
