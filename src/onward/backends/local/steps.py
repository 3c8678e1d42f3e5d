"""Runs the steps of a call in this process."""

from __future__ import annotations

import asyncio
import contextvars
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

from onward.attempt import Attempts, LoopExecutor, ThreadExecutor, is_async
from onward.backend import State, Status
from onward.backend.support import step_context, step_name
from onward.backends.local.limits import Limits
from onward.backends.local.records import Records
from onward.backends.local.waits import Waits
from onward.catalog import Tasks
from onward.context import Context, Progress
from onward.coroutines import drive
from onward.evaluate import evaluate
from onward.execute import limit_key, report_outcome, retried
from onward.outcome import Faulted, Outcome
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
from onward.processes.children import Children
from onward.resource import OPENS, Opens
from onward.scope import Scope

T = TypeVar("T")
_Make: TypeAlias = Callable[[contextvars.Context], Awaitable[Outcome]]

_HELD_SLOTS: ContextVar[Slots | None] = ContextVar("onward_held_slot", default=None)


def _empty_context(held: Slots | None, base: contextvars.Context) -> contextvars.Context:
    """A context without the caller's variables, because no engine carries them to a task."""
    variables = base.copy()
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
    """Whether a flow has no async or isolated task, no timeout, no limit and no fan-out."""
    if type(node) is StepNode:
        return _is_plain(node) and not tasks[node.task].signature.is_async
    if type(node) is ChainNode:
        for step in node.steps:  # not `all`, which takes twice as long
            if type(step) is StepNode:  # the most common case, without a call
                if step.timeout is not None or tasks[step.task].signature.is_async:
                    return False
                if step.limit is not None or step.isolate is not None:
                    return False
            elif not needs_no_loop(step, tasks):
                return False
        return True
    if type(node) is RescueNode:
        return needs_no_loop(node.body, tasks) and needs_no_loop(node.handler, tasks)
    if type(node) is FinallyNode:
        return needs_no_loop(node.body, tasks) and needs_no_loop(node.cleanup, tasks)
    if type(node) is NamedNode:
        return node.limit is None and needs_no_loop(node.body, tasks)
    if type(node) is FusedNode:
        return _is_plain(node) and needs_no_loop(node.body, tasks)
    if type(node) is CaseNode:
        return all(needs_no_loop(branch, tasks) for branch in node.branches)
    if isinstance(node, _PASSING):
        return needs_no_loop(node.body, tasks)
    return False


def _is_plain(step: Runnable) -> bool:
    return step.timeout is None and step.limit is None and step.isolate is None


_PASSING: Final = (KeepNode, TeeNode, SpreadNode, FixedNode)


def run_in_this_thread(
    plan: Plan, tasks: Tasks, executor: ThreadExecutor, base: contextvars.Context
) -> Outcome:
    """Runs a plan that `needs_no_loop` in the caller's thread.

    Args:
        plan: The plan.
        tasks: Its tasks.
        executor: Runs fused steps.
        base: The context variables that tasks start with.
    """
    attempts, variables = Attempts(tasks, executor), _empty_context(_HELD_SLOTS.get(), base)

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


async def _given(outcome: Outcome) -> Outcome:
    return outcome


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
    limits: dict[str, tuple[Context, str]] = field(default_factory=dict)
    """The steps that wait for a limit, by path, and the limit's name."""

    waits_for: str = ""
    """The limit of calls that it waits for."""

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
        if state == "queued" and self.waits_for:
            return Status("waiting", limit=self.waits_for)
        if state == "running" and self.limits and len(self.limits) == self.running:
            context, limit = next(iter(self.limits.values()))
            task, step, attempt = context.task, context.step, context.attempt
            return Status("waiting", task, step, attempt, limit=limit)
        return Status(state, self.task, self.step, self.attempt, self.progress, signal, until)

    @contextmanager
    def limited(self, path: str, context: Context, limit: str) -> Generator[Callable[[], object]]:
        """Notes that a step waits for a limit; gives what to call when it has its place."""
        self.limits[path] = context, limit
        try:
            yield lambda: self.limits.pop(path, None)
        finally:
            self.limits.pop(path, None)

    def on_attempt(self, context: Context) -> None:
        self.task, self.step, self.attempt = context.task, context.step, context.attempt
        self.progress = None

    def report(self, progress: Progress) -> None:
        self.progress = progress


class Runtime:
    """What the steps of a backend run on: slots for sync steps, and an executor.

    Args:
        workers: How many sync steps run at the same time.
        opens: What opens the resources of tasks.
    """

    def __init__(self, workers: int, opens: Opens) -> None:
        self.slots: Slots = Slots(workers)
        self.limits: Limits = Limits()
        self.executor: LoopExecutor = LoopExecutor()
        self.children: Children = Children()
        self.without_slot: contextvars.Context = contextvars.Context()
        self.without_slot.run(OPENS.set, opens)
        self.in_slot: contextvars.Context = _empty_context(self.slots, self.without_slot)


class StepRunner:
    """The step-runner of one call."""

    def __init__(self, runtime: Runtime, run: Run) -> None:
        assert run.tasks is not None  # Core sets them before it evaluates the plan
        self._runtime = runtime
        self._run = run
        self._tasks = run.tasks
        self._attempts = Attempts(run.tasks, runtime.executor, runtime.children)

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
        if step.limit is None:
            return await self._attempt_now(step, where, context, make)
        key = limit_key(step, args, self._tasks)
        if isinstance(key, Faulted):
            report_outcome(self._tasks, context, key)
            return await records.attempt(where, self._name(step), partial(_given, key))
        with self._run.limited(where, context, step.limit.name) as is_over:
            async with runtime.limits.place(step.limit, key) as begin:
                is_over()

                async def begun(variables: contextvars.Context) -> Outcome:
                    begin()
                    return await make(variables)

                return await self._attempt_now(step, where, context, begun)

    async def _attempt_now(
        self, step: Runnable, where: str, context: Context, make: _Make
    ) -> Outcome:
        plan, runtime, records = self._run.plan, self._runtime, self._run.records
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
