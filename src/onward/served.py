"""Tasks as a worker serves them, and how an attempt at one ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

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
