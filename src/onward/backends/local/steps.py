"""Runs the steps of a call in this process."""

from __future__ import annotations

import asyncio
import contextvars
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from onward.attempt import Attempts, LoopExecutor, ThreadExecutor, is_async
from onward.backend import State, Status
from onward.backend.support import step_context, step_name
from onward.backends.local.records import Records
from onward.backends.local.waits import Waits
from onward.catalog import Tasks
from onward.context import Context, Progress
from onward.coroutines import drive
from onward.evaluate import evaluate
from onward.execute import retried
from onward.outcome import Outcome
from onward.plan import (
    Args,
    CaseNode,
    ChainNode,
    FinallyNode,
    FixedNode,
    FusedNode,
    KeepNode,
    NamedNode,
    Node,
    Plan,
    RescueNode,
    Runnable,
    SpreadNode,
    StepNode,
    TeeNode,
)
from onward.pool import Slots
from onward.scope import Scope

T = TypeVar("T")

_HELD_SLOTS: ContextVar[Slots | None] = ContextVar("onward_held_slot", default=None)


def _empty_context(held: Slots | None) -> contextvars.Context:
    """A context without the caller's variables, because no engine carries them to a task."""
    variables = contextvars.Context()
    if held is not None:
        variables.run(_HELD_SLOTS.set, held)
    return variables


def releasing_slot(
    slots: Slots, start: Callable[[], Coroutine[Any, Any, T]]
) -> Callable[[], Coroutine[Any, Any, T]]:
    """Wraps a wait, so that a step that waits for another call frees its slot meanwhile.

    Otherwise the step and the call that it waits for could wait for each other.
    """
    if _HELD_SLOTS.get() is not slots:
        return start

    async def wait() -> T:
        slots.add(1)
        try:
            return await start()
        finally:
            slots.add(-1)

    return wait


def needs_no_loop(node: Node, tasks: Tasks) -> bool:
    """Whether a flow has no async task, no timeout and no fan-out."""
    if type(node) is StepNode:
        return node.timeout is None and not tasks[node.task].signature.is_async
    if type(node) is ChainNode:
        for step in node.steps:  # not `all`, which takes twice as long
            if type(step) is StepNode:  # the most common case, without a call
                if step.timeout is not None or tasks[step.task].signature.is_async:
                    return False
            elif not needs_no_loop(step, tasks):
                return False
        return True
    if type(node) is RescueNode:
        return needs_no_loop(node.body, tasks) and needs_no_loop(node.handler, tasks)
    if type(node) is FinallyNode:
        return needs_no_loop(node.body, tasks) and needs_no_loop(node.cleanup, tasks)
    if type(node) is NamedNode or (type(node) is FusedNode and node.timeout is None):
        return needs_no_loop(node.body, tasks)
    if type(node) is CaseNode:
        return all(needs_no_loop(branch, tasks) for branch in node.branches)
    if isinstance(node, _PASSING):
        return needs_no_loop(node.body, tasks)
    return False


_PASSING: Final = (KeepNode, TeeNode, SpreadNode, FixedNode)


def run_in_this_thread(plan: Plan, tasks: Tasks, executor: ThreadExecutor) -> Outcome:
    """Runs a plan that `needs_no_loop` in the caller's thread."""
    attempts, variables = Attempts(tasks, executor), _empty_context(_HELD_SLOTS.get())

    async def attempt(step: Runnable, args: Args, where: str, attempt: int) -> Outcome:
        if type(step) is StepNode:
            context = Context(plan.id, step.task, where, attempt, trace=plan.trace)
            return attempts.make_here(step, args, context, variables)
        context = Context(plan.id, plan.flow, where, attempt, trace=plan.trace)
        return await attempts.make(step, args, context, variables=variables)

    def run_step(step: Runnable, args: Args, where: str) -> Awaitable[Outcome]:
        if step.attempts == 1:
            return attempt(step, args, where, 1)
        once = partial(attempt, step, args, where)
        return retried(step, once, executor.pause, random.random)

    return drive(evaluate(plan.root, plan.args, run_step, in_flight=1))


@dataclass(slots=True, eq=False)
class Run:
    """A submitted call and its status."""

    plan: Plan
    finished: asyncio.Future[Outcome]
    job: asyncio.Task[None] = field(init=False)
    after: Run | None = None
    timer: asyncio.TimerHandle | None = None
    tasks: Tasks | None = None
    scope: Scope | None = None
    state: State = "queued"
    task: str = ""
    step: str = ""
    attempt: int = 0
    progress: Progress | None = None
    waits: Waits = field(default_factory=Waits)
    records: Records = field(default_factory=Records)
    running: int = 0
    number: int = 0
    submitted: float = field(default_factory=time.time)
    starts: float | None = None
    ended: float | None = None
    kept_since: float | None = None

    @property
    def status(self) -> Status:
        """Where the call is. It waits while it has waits, and no step runs beside them."""
        state, signal, until = self.state, "", None
        if state == "running" and not self.running and (current := self.waits.current):
            state, (signal, until) = "waiting", current
        return Status(state, self.task, self.step, self.attempt, self.progress, signal, until)

    def on_attempt(self, context: Context) -> None:
        self.task, self.step, self.attempt = context.task, context.step, context.attempt
        self.progress = None

    def report(self, progress: Progress) -> None:
        self.progress = progress


class Runtime:
    """What the steps of a backend run on: slots for sync steps, and an executor."""

    def __init__(self, workers: int) -> None:
        self.slots: Slots = Slots(workers)
        self.executor: LoopExecutor = LoopExecutor()
        self.without_slot: contextvars.Context = _empty_context(None)
        self.in_slot: contextvars.Context = _empty_context(self.slots)


class StepRunner:
    """The step-runner of one call."""

    def __init__(self, runtime: Runtime, run: Run) -> None:
        assert run.tasks is not None  # Core sets them before it evaluates the plan
        self._runtime = runtime
        self._run = run
        self._tasks = run.tasks
        self._attempts = Attempts(run.tasks, runtime.executor)

    async def __call__(self, step: Runnable, args: Args, where: str, /) -> Outcome:
        async def once(attempt: int) -> Outcome:
            return await self._attempt(step, args, where, attempt)

        run = partial(retried, step, once, asyncio.sleep, random.random)
        self._run.running += 1
        try:
            return await self._run.records.step(where, self._name(step), run)
        finally:
            self._run.running -= 1

    def _name(self, step: Runnable) -> str:
        return step_name(step, self._run.plan.flow)

    async def _attempt(self, step: Runnable, args: Args, where: str, attempt: int) -> Outcome:
        plan, runtime, records = self._run.plan, self._runtime, self._run.records
        context = step_context(
            step,
            call=plan.origin,
            flow=plan.flow,
            path=where,
            attempt=attempt,
            key=plan.key,
            deadline=plan.deadline,
            trace=plan.trace,
            report=self._run.report,
        )
        make = partial(self._attempts.make, step, args, context, self._run.on_attempt)
        if is_async(step, self._tasks):
            return await records.attempt(
                where, self._name(step), partial(make, runtime.without_slot)
            )
        self._run.on_attempt(context)  # so that the status names a step that waits for a slot
        await runtime.slots.take(plan.priority if step.priority is None else step.priority)
        try:
            return await records.attempt(where, self._name(step), partial(make, runtime.in_slot))
        finally:
            runtime.slots.add(1)
            if not isinstance(step, StepNode):
                self._run.on_attempt(context)  # the fused step has ended, not a task within it
