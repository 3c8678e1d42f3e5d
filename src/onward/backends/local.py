"""`local()`: runs calls in this process, with no engine at all."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import os
import random
import threading
import time
from collections import ChainMap, deque
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from returns.result import Failure, Result, Success

from onward.attempt import Attempts, InThread, OnLoop, is_async
from onward.backend import State, Status, Submission, Worker, state_of
from onward.backend.adapters import BlockingCancels
from onward.backend.loop import LoopThread
from onward.catalog import Catalog, Tasks
from onward.context import Context, Progress, moment
from onward.evaluate import driven, evaluate
from onward.execute import raised, retried
from onward.fault import Cancelled, Expired, Fault, Unknown
from onward.outcome import Outcome, faulted
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


def local(*, workers: int | None = None, keep: float = 3600.0) -> Local:
    """The embedded backend: runs calls in this process, on threads and an event loop of its own.

    It needs no worker, for a call brings its own tasks along. What is submitted is gone when the
    process ends, or when nobody holds the backend any more.

    `run` of a plain chain of sync tasks, without timeouts, is done in the caller's own thread.

    Args:
        workers: How many steps of sync tasks run at a time; None for four more than there are
            processors. Steps of async tasks share one event loop and do not count.
        keep: How long the outcome of a finished call can be had by its ref, in seconds.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If it is out of bounds.

    Example:
        >>> from onward import local, run, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> backend = local(workers=2)
        >>> run(double(21), on=backend)
        <Success: 42>
    """
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int)):
        raise TypeError(f"workers is a whole number of steps, not {workers!r}")
    if workers is not None and workers < 1:
        raise ValueError(f"workers is 1 or more, not {workers}: leave it out for the default")
    if isinstance(keep, bool) or not isinstance(keep, int | float):
        raise TypeError(f"keep is a number of seconds, not {keep!r}")
    if not keep >= 0:
        raise ValueError(f"keep is a number of seconds from 0 up, not {keep}")
    return Local(Engine(workers or (os.cpu_count() or 1) + 4, keep))


class Local(BlockingCancels["Engine"]):
    """What `local()` gives."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine, LoopThread("onward-local"))
        self._engine = engine

    def __repr__(self) -> str:
        return f"local(workers={self._engine.workers})"

    def _wait(self, start: Callable[[], Coroutine[Any, Any, Result[T, Fault]]]) -> Result[T, Fault]:
        return super()._wait(_giving_back(self._engine.slots, start))

    async def _await(
        self, start: Callable[[], Coroutine[Any, Any, Result[T, Fault]]]
    ) -> Result[T, Fault]:
        return await super()._await(_giving_back(self._engine.slots, start))

    def run_here(self, submission: Submission, /) -> Result[Outcome, Fault]:
        """See `RunsHere.run_here`: a plain chain of sync tasks needs no thread and no loop."""
        plan, tasks = submission.plan, submission.tasks
        is_at_once = plan.deadline is None and not submission.delay
        is_open = not self._thread.is_closed  # or whoever runs it says so
        if tasks is not None and is_open and is_at_once and _is_plain(plan.root, tasks):
            return Success(_run_in_this_thread(plan, tasks))
        return self._wait(lambda: self._engine.run_here(submission))


_HELD: ContextVar[Slots | None] = ContextVar("onward_held_slot", default=None)


def _no_variables(held: Slots | None) -> contextvars.Context:
    """What a task starts with: nothing of the caller's, whose variables no engine carries."""
    variables = contextvars.Context()
    if held is not None:
        variables.run(_HELD.set, held)
    return variables


def _giving_back(
    slots: Slots, start: Callable[[], Coroutine[Any, Any, T]]
) -> Callable[[], Coroutine[Any, Any, T]]:
    """What waits, if in a step, gives that step's slot back meanwhile.

    Else the step and the call that it waits for could wait for each other.
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


def _is_plain(node: Node, tasks: Tasks) -> bool:
    """Whether nothing in it awaits, has a limit of time, or runs side by side."""
    if type(node) is StepNode:
        return node.timeout is None and not tasks[node.task].signature.is_async
    if type(node) is ChainNode:
        return all(_is_plain(step, tasks) for step in node.steps)
    if type(node) is RescueNode:
        return _is_plain(node.body, tasks) and _is_plain(node.handler, tasks)
    if type(node) is NamedNode or (type(node) is FusedNode and node.timeout is None):
        return _is_plain(node.body, tasks)
    if isinstance(node, KeepNode | TeeNode):
        return _is_plain(node.body, tasks)
    return False


def _run_in_this_thread(plan: Plan, tasks: Tasks) -> Outcome:
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


class Engine:
    """The awaitable side of `Local`; all of it lives on one event loop."""

    def __init__(self, workers: int, keep: float) -> None:
        self.workers = workers
        self.runs: dict[str, Run] = {}
        self._keep = keep
        self._finished: deque[tuple[float, str]] = deque()
        self._any_finished = asyncio.Event()
        self._served: list[Catalog] = []
        self._serving = asyncio.Event()
        self.slots = Slots(workers)
        self.ground = OnLoop()
        self.slotless = _no_variables(None)
        self.in_slot = _no_variables(self.slots)

    async def submit(self, submission: Submission, /) -> Result[str, Fault]:
        self._forget()
        id = submission.plan.id
        if id not in self.runs:
            self.runs[id] = self._start(submission)
        return Success(id)

    def _start(self, submission: Submission) -> Run:
        loop = asyncio.get_running_loop()
        plan = submission.plan
        run = Run(plan, loop.create_future())
        run.tasks = submission.tasks
        if plan.deadline is not None:
            run.timer = loop.call_later(plan.deadline - time.time(), self._expire, run)
        run.job = loop.create_task(self._live(run, submission.delay))
        return run

    async def run_here(self, submission: Submission, /) -> Result[Outcome, Fault]:
        """Runs a call for the one who waits; if that ends, so does the call."""
        run = self._start(submission)
        try:
            await asyncio.wait([run.finished])
            return Success(run.finished.result())
        finally:
            run.job.cancel()

    async def submit_all(self, submissions: Iterable[Submission], /) -> Result[list[str], Fault]:
        ids: list[str] = []
        for submission in submissions:
            await self.submit(submission)
            ids.append(submission.plan.id)
        return Success(ids)

    def steps(self, run: Run) -> Steps:
        """The step-runner of a call."""
        return Steps(self, run)

    async def outcome(
        self, id: str, /, timeout: float | None = None
    ) -> Result[Outcome | None, Fault]:
        run = self.runs.get(id)
        if run is None:
            return Failure(_unknown(id))
        await asyncio.wait([run.finished], timeout=timeout)
        return Success(run.finished.result() if run.finished.done() else None)

    async def settled(
        self, ids: Collection[str], /, timeout: float | None = None
    ) -> Result[Mapping[str, Outcome], Fault]:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not (found := self._outcomes(ids)) and ids:
                    self._any_finished.clear()
                    await self._any_finished.wait()
                return Success(found)
        return Success(self._outcomes(ids))

    def _outcomes(self, ids: Collection[str]) -> dict[str, Outcome]:
        found: dict[str, Outcome] = {}
        for id in ids:
            run = self.runs.get(id)
            if run is None:
                found[id] = faulted(_unknown(id))
            elif run.finished.done():
                found[id] = run.finished.result()
        return found

    async def status(self, id: str, /) -> Result[Status, Fault]:
        run = self.runs.get(id)
        if run is None:
            return Failure(_unknown(id))
        return Success(Status(run.state, run.task, run.step, run.attempt, run.progress))

    async def cancel(self, id: str, /) -> Result[None, Fault]:
        run = self.runs.get(id)
        if run is None:
            return Failure(_unknown(id))
        self._end(run, Cancelled(run.plan.flow, "it was cancelled"), "cancelled")
        return Success(None)

    async def serve(
        self,
        catalog: Catalog,
        /,
        *,
        concurrency: int | None = None,
        queues: Collection[str] | None = None,
    ) -> Result[Worker, Fault]:
        loop = asyncio.get_running_loop()
        self._served.append(catalog)
        self.slots.add(concurrency or 0)
        self._serving.set()

        async def leave(grace: float) -> None:
            self._served.remove(catalog)
            if not self._served:
                self._serving.clear()
            held = [run.finished for run in self.runs.values() if run.state == "running"]
            if held:
                await asyncio.wait(held, timeout=grace)
            self.slots.add(-(concurrency or 0))

        return Success(_Worker(loop, leave))

    async def _live(self, run: Run, delay: float) -> None:
        """Sees one call through, whatever comes of it."""
        plan = run.plan
        try:
            await asyncio.sleep(delay)
            if run.tasks is None:
                await self._serving.wait()
                first, *others = (each.tasks for each in self._served)
                run.tasks = ChainMap(dict(first), *map(dict, others)) if others else first
            run.state = "running"
            outcome = await evaluate(plan.root, plan.args, self.steps(run))
        except asyncio.CancelledError:
            outcome = faulted(Cancelled(plan.flow, "the backend was closed"))
        except BaseException as problem:  # not a step's, which is an outcome, but ours
            outcome = faulted(raised(plan.flow, problem))
        self._finish(run, outcome, state_of(outcome))

    def _end(self, run: Run, fault: Fault, state: State) -> None:
        """Settles a call from outside, whether or not its step lets itself be stopped."""
        if not run.finished.done():
            self._finish(run, faulted(fault), state)
            run.job.cancel()

    def _expire(self, run: Run) -> None:
        message = "its deadline passed before it had an outcome"
        self._end(run, Expired(run.plan.flow, message), "expired")

    def _finish(self, run: Run, outcome: Outcome, state: State) -> None:
        if run.finished.done():
            return
        if run.timer is not None:
            run.timer.cancel()
        run.state, run.progress = state, None
        run.finished.set_result(outcome)
        if self.runs.get(run.plan.id) is run:
            self._finished.append((time.monotonic(), run.plan.id))
        self._any_finished.set()

    def _forget(self) -> None:
        too_old = time.monotonic() - self._keep
        while self._finished and self._finished[0][0] < too_old:
            _, id = self._finished.popleft()
            self.runs.pop(id, None)


def _unknown(id: str) -> Unknown:
    return Unknown(
        id, "no such call in this process; local() keeps calls in memory, and outcomes for a while"
    )


class Steps:
    """Runs the steps of one call: the step-runner that the evaluator is given."""

    def __init__(self, engine: Engine, run: Run) -> None:
        assert run.tasks is not None  # as _live has seen to
        self._engine = engine
        self._run = run
        self._tasks = run.tasks
        self._attempts = Attempts(run.tasks, engine.ground)

    async def __call__(self, step: Runnable, args: Args, where: str, /) -> Outcome:
        async def once(attempt: int) -> Outcome:
            return await self._attempt(step, args, where, attempt)

        return await retried(step, once, asyncio.sleep, random.random)

    async def _attempt(self, step: Runnable, args: Args, where: str, attempt: int) -> Outcome:
        plan, engine = self._run.plan, self._engine
        context = Context(
            id=plan.id,
            task=step.task if isinstance(step, StepNode) else plan.flow,
            step=where,
            attempt=attempt,
            key=plan.key,
            deadline=moment(plan.deadline),
            report=self._run.report,
            trace=plan.trace,
        )
        make = partial(self._attempts.make, step, args, context, self._run.begins)
        if is_async(step, self._tasks):
            return await make(engine.slotless)
        if isinstance(step, StepNode):
            self._run.begins(context)  # it is this step that waits
        await engine.slots.take(plan.priority if step.priority is None else step.priority)
        try:
            return await make(engine.in_slot)
        finally:
            engine.slots.add(1)


@dataclass(slots=True)
class _Worker:
    """A catalog that is being served."""

    loop: asyncio.AbstractEventLoop
    leave: Callable[[float], Coroutine[Any, Any, None]]
    stopped: threading.Event = field(default_factory=threading.Event)

    def stop(self, grace: float = 30.0) -> None:
        if self.stopped.is_set():
            return
        self.stopped.set()
        leaving = self.leave(grace)
        try:
            asyncio.run_coroutine_threadsafe(leaving, self.loop).result()
        except (RuntimeError, concurrent.futures.CancelledError):  # the backend was closed
            leaving.close()

    def wait(self, timeout: float | None = None) -> bool:
        return self.stopped.wait(timeout)
