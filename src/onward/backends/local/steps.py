"""Running the steps of a call in this process."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from onward.attempt import Attempts, InThread, OnLoop, is_async
from onward.backend import State
from onward.backend.support import step_context
from onward.catalog import Tasks
from onward.context import Context, Progress
from onward.evaluate import driven, evaluate
from onward.execute import retried
from onward.outcome import Outcome
from onward.plan import (
    Args,
    ChainNode,
    FusedNode,
    KeepNode,
    NamedNode,
    Node,
    Plan,
    RescueNode,
    Runnable,
    StepNode,
    TeeNode,
)
from onward.pool import Slots

T = TypeVar("T")

_HELD: ContextVar[Slots | None] = ContextVar("onward_held_slot", default=None)


def _no_variables(held: Slots | None) -> contextvars.Context:
    """What a task starts with: none of the caller's variables, which no engine carries."""
    variables = contextvars.Context()
    if held is not None:
        variables.run(_HELD.set, held)
    return variables


def giving_back(
    slots: Slots, start: Callable[[], Coroutine[Any, Any, T]]
) -> Callable[[], Coroutine[Any, Any, T]]:
    """A wait that, within a step, gives the step's slot back meanwhile.

    Otherwise the step and the call that it waits for could wait for each other.
    """
    if _HELD.get() is not slots:
        return start

    async def wait() -> T:
        slots.add(1)
        try:
            return await start()
        finally:
            slots.add(-1)

    return wait


def is_plain(node: Node, tasks: Tasks) -> bool:
    """Whether nothing in a flow awaits, has a timeout, or runs side by side."""
    if type(node) is StepNode:
        return node.timeout is None and not tasks[node.task].signature.is_async
    if type(node) is ChainNode:
        return all(is_plain(step, tasks) for step in node.steps)
    if type(node) is RescueNode:
        return is_plain(node.body, tasks) and is_plain(node.handler, tasks)
    if type(node) is NamedNode or (type(node) is FusedNode and node.timeout is None):
        return is_plain(node.body, tasks)
    if isinstance(node, KeepNode | TeeNode):
        return is_plain(node.body, tasks)
    return False


def run_in_this_thread(plan: Plan, tasks: Tasks) -> Outcome:
    """Runs a plan that `is_plain`, without a thread and without an event loop."""
    ground = InThread()
    attempts, variables = Attempts(tasks, ground), _no_variables(_HELD.get())

    async def run_step(step: Runnable, args: Args, where: str) -> Outcome:
        async def once(attempt: int) -> Outcome:
            name = step.task if type(step) is StepNode else plan.flow
            context = Context(plan.id, name, where, attempt, trace=plan.trace)
            return await attempts.make(step, args, context, variables=variables)

        return (
            await once(1)
            if step.attempts == 1
            else await retried(step, once, ground.pause, random.random)
        )

    return driven(evaluate(plan.root, plan.args, run_step, in_flight=1))


@dataclass(slots=True, eq=False)
class Run:
    """A submitted call, and where it is."""

    plan: Plan
    finished: asyncio.Future[Outcome]
    job: asyncio.Task[None] = field(init=False)
    timer: asyncio.TimerHandle | None = None
    tasks: Tasks | None = None
    state: State = "queued"
    task: str = ""
    step: str = ""
    attempt: int = 0
    progress: Progress | None = None

    def begins(self, context: Context) -> None:
        self.task, self.step, self.attempt = context.task, context.step, context.attempt
        self.progress = None

    def report(self, progress: Progress) -> None:
        self.progress = progress


class Room:
    """Where the steps of a backend run: its slots for sync steps, and its event loop."""

    def __init__(self, workers: int) -> None:
        self.slots: Slots = Slots(workers)
        self.ground: OnLoop = OnLoop()
        self.slotless: contextvars.Context = _no_variables(None)
        self.in_slot: contextvars.Context = _no_variables(self.slots)


class Steps:
    """Runs the steps of one call, for the evaluator."""

    def __init__(self, room: Room, run: Run) -> None:
        assert run.tasks is not None  # Core sets them before it evaluates
        self._room = room
        self._run = run
        self._tasks = run.tasks
        self._attempts = Attempts(run.tasks, room.ground)

    async def __call__(self, step: Runnable, args: Args, where: str, /) -> Outcome:
        async def once(attempt: int) -> Outcome:
            return await self._attempt(step, args, where, attempt)

        return await retried(step, once, asyncio.sleep, random.random)

    async def _attempt(self, step: Runnable, args: Args, where: str, attempt: int) -> Outcome:
        plan, room = self._run.plan, self._room
        context = step_context(
            step,
            call=plan.id,
            flow=plan.flow,
            path=where,
            attempt=attempt,
            key=plan.key,
            deadline=plan.deadline,
            trace=plan.trace,
            report=self._run.report,
        )
        make = partial(self._attempts.make, step, args, context, self._run.begins)
        if is_async(step, self._tasks):
            return await make(room.slotless)
        if isinstance(step, StepNode):
            self._run.begins(context)  # status names the step that waits for a slot
        await room.slots.take(plan.priority if step.priority is None else step.priority)
        try:
            return await make(room.in_slot)
        finally:
            room.slots.add(1)
