"""Keeps the calls of this process in memory and runs them on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import deque
from collections.abc import Collection, Iterable, Mapping

from msgspec import Raw
from msgspec.structs import replace
from returns.result import Failure, Result, Success

from onward.backend import (
    CallPage,
    CallQuery,
    HistoryPage,
    Schedule,
    Scheduled,
    State,
    Status,
    Submission,
    Worker,
    state_of,
)
from onward.backend.support import (
    ended_already,
    expired,
    is_cancelling,
    not_ended,
    sent_already,
    unknown,
)
from onward.backends.local.listing import call_page, history_page
from onward.backends.local.schedules import Timetable
from onward.backends.local.steps import Run, Runtime, StepRunner
from onward.backends.local.unique import OpenCalls
from onward.backends.local.worker import LocalWorker
from onward.catalog import Catalog, Tasks
from onward.evaluate import evaluate
from onward.execute import raised
from onward.fault import CLOSED, Cancelled, Fault, Moved, Unknown
from onward.opened import OpenResources
from onward.outcome import Outcome, faulted
from onward.past import steps_with_past, waits_with_past
from onward.plan import Plan, has_cleanup
from onward.scope import Scope
from onward.served import SharedTasks

_GRACE = 30.0
"""How long cleanups may take when the backend is closed or the process ends, in seconds."""


class Core:
    """The async backend behind `Local`; all of it runs on one event loop."""

    def __init__(self, workers: int, keep: float, resources: OpenResources | None = None) -> None:
        self.resources: OpenResources = resources or OpenResources()
        self.workers = workers
        self.runs: dict[str, Run] = {}
        self._here: dict[str, Run] = {}
        self._open_calls = OpenCalls()
        self._keep = keep
        self._finished: deque[tuple[float, str]] = deque()
        self._numbers = itertools.count(1)
        self._any_finished = asyncio.Event()
        self._with_cleanup: dict[Run, None] = {}
        self._served: list[Catalog] = []
        self._serving = asyncio.Event()
        self.runtime: Runtime = Runtime(workers, self.resources)
        self._timetable = Timetable(self.submit, self._is_open)

    async def submit(self, submission: Submission, /) -> Result[str, Fault]:
        self._forget()
        id = submission.plan.id
        if id not in self.runs:
            self.runs[id] = self._start(submission)
        return Success(id)

    async def submit_unique(self, submission: Submission, /) -> Result[str, Fault]:
        self._forget()
        run = self._open_calls.submit(submission, self._start, self._replace)
        self.runs[run.plan.id] = run
        return Success(run.plan.id)

    def _start(self, submission: Submission, after: Run | None = None) -> Run:
        finished = asyncio.get_running_loop().create_future()
        run = Run(submission.plan, finished, after=after, number=next(self._numbers))
        self._begin(run, submission)
        return run

    def _replace(self, run: Run, submission: Submission) -> None:
        """Puts a submission in the place of a call that has not started."""
        run.plan = replace(submission.plan, id=run.plan.id)
        run.job.cancel()
        if run.timer is not None:
            run.timer.cancel()
        self._begin(run, submission)

    def _begin(self, run: Run, submission: Submission) -> None:
        loop, deadline = asyncio.get_running_loop(), run.plan.deadline
        run.tasks = submission.tasks
        if run.tasks is None:  # a flow of waits alone has tasks: none
            run.tasks = self._tasks_of_first(run.plan)
        run.starts = time.time() + submission.delay if submission.delay else None
        if deadline is not None:
            run.timer = loop.call_later(deadline - time.time(), self._expire, run)
        run.job = loop.create_task(self._run(run, submission.delay))

    def _tasks_of_first(self, plan: Plan) -> Tasks | None:
        """The tasks of the call that a call continues, for one that was submitted without any."""
        first = None if plan.past is None else self.runs.get(plan.past.origin)
        return None if first is None else first.tasks

    async def run_here(self, submission: Submission, /) -> Result[Outcome, Fault]:
        """Runs a call for a caller that waits. If the caller stops waiting, the call ends."""
        run = self._start(submission)
        self._here[run.plan.id] = run  # so that it can be signalled, and cancelled
        try:
            await asyncio.wait([run.finished])
            return Success(run.finished.result())
        finally:
            self._end(run, Cancelled(run.plan.flow, "its caller stopped waiting"), "cancelled")
            del self._here[run.plan.id]

    async def submit_all(self, submissions: Iterable[Submission], /) -> Result[list[str], Fault]:
        ids: list[str] = []
        for submission in submissions:
            await self.submit(submission)
            ids.append(submission.plan.id)
        return Success(ids)

    def steps(self, run: Run) -> StepRunner:
        """Returns the step-runner of a call."""
        return StepRunner(self.runtime, run)

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

    def _known(self, id: str) -> Run | None:
        return self.runs.get(id) or self._here.get(id)

    async def status(self, id: str, /) -> Result[Status, Fault]:
        run = self._known(id)
        if run is None:
            return Failure(_unknown(id))
        return Success(run.status)

    async def send(self, id: str, name: str, raw: Raw, /) -> Result[None, Fault]:
        run = self._known(id)
        if run is None:
            return Failure(_unknown(id))
        if run.finished.done():
            return Failure(ended_already(run.plan.flow, name))
        is_first = run.waits.send(name, raw)
        return Success(None) if is_first else Failure(sent_already(run.plan.flow, name))

    async def cancel(self, id: str, /) -> Result[None, Fault]:
        run = self._known(id)
        if run is None:
            return Failure(_unknown(id))
        self._end(run, Cancelled(run.plan.flow, "it was cancelled"), "cancelled")
        return Success(None)

    async def history(
        self, id: str, /, after: str = "", limit: int = 1000
    ) -> Result[HistoryPage, Fault]:
        run = self._known(id)
        return Failure(_unknown(id)) if run is None else Success(history_page(run, after, limit))

    async def calls(self, query: CallQuery, /, after: str = "") -> Result[CallPage, Fault]:
        self._forget()
        return Success(call_page(reversed(self.runs.values()), query, after))

    async def give_up(self, id: str, moved: Moved, /) -> Result[None, Fault]:
        run = self._known(id)
        if run is None:
            return Failure(_unknown(id))
        if run.state == "cancelling":
            return Failure(is_cancelling(run.plan.flow))
        if not run.finished.done():
            self._finish(run, faulted(moved), "moved")
            run.job.cancel()
        return Success(None)

    async def forget(self, id: str, /) -> Result[None, Fault]:
        run = self.runs.get(id)
        if run is None:
            return Failure(_unknown(id))
        if not run.finished.done():
            return Failure(not_ended(run.plan.flow))
        del self.runs[id]
        return Success(None)

    async def schedule(self, schedule: Schedule, plan: Plan, /) -> Result[Schedule, Fault]:
        return self._timetable.declare(schedule, Submission(plan))

    async def schedule_here(
        self, schedule: Schedule, submission: Submission, /
    ) -> Result[Schedule, Fault]:
        return self._timetable.declare(schedule, submission)

    async def schedules(self) -> Result[list[Schedule], Fault]:
        return Success(self._timetable.listed())

    async def scheduled(self, name: str, /) -> Result[Scheduled, Fault]:
        return self._timetable.scheduled(name)

    async def pause_schedule(self, name: str, /) -> Result[None, Fault]:
        return self._timetable.pause(name, is_paused=True)

    async def resume_schedule(self, name: str, /) -> Result[None, Fault]:
        return self._timetable.pause(name, is_paused=False)

    async def unschedule(self, name: str, /) -> Result[None, Fault]:
        return self._timetable.remove(name)

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
        self.runtime.slots.add(concurrency or 0)
        self._serving.set()

        async def leave(grace: float) -> None:
            self._served.remove(catalog)
            if not self._served:
                self._serving.clear()
            states = ("running", "cancelling")
            running = [it.finished for it in self.runs.values() if it.status.state in states]
            if running:
                await asyncio.wait(running, timeout=grace)
            self.runtime.slots.add(-(concurrency or 0))

        return Success(LocalWorker(loop, leave))

    async def _run(self, run: Run, delay: float) -> None:
        """Runs a call until it has an outcome, whatever happens."""
        plan = run.plan
        try:
            await asyncio.sleep(delay)
            if run.after is not None:
                await asyncio.wait([run.after.finished])
                run.after = None
            if run.tasks is None:
                await self._serving.wait()
                served = [each.tasks for each in self._served]
                run.tasks = SharedTasks(served) if len(served) > 1 else served[0]
            outcome = await self._in_turn(run)
        except asyncio.CancelledError:
            if run.job is not asyncio.current_task():  # another submission has replaced this one
                return
            outcome = faulted(Cancelled(plan.flow, CLOSED))
        except BaseException as problem:  # a bug of Onward: what a step raises is an outcome
            outcome = faulted(raised(plan.flow, problem))
        self._finish(run, outcome, state_of(outcome))

    async def _in_turn(self, run: Run) -> Outcome:
        """Evaluates a call once the limit of its flow has a place."""
        limit = run.plan.call_limit
        if limit is None:
            run.state = "running"
            return await self._evaluated(run)
        run.waits_for = limit.name
        async with self.runtime.limits.place(limit, run.plan.limit_key) as begin:
            begin()
            run.waits_for, run.state = "", "running"
            return await self._evaluated(run)

    async def _evaluated(self, run: Run) -> Outcome:
        plan = run.plan
        steps = steps_with_past(self.steps(run), plan.past)
        wait = waits_with_past(run.records.waits(run.waits), plan.past)
        if not has_cleanup(plan):
            return await evaluate(plan.root, plan.args, steps, wait=wait)
        run.scope = Scope(steps)
        self._with_cleanup[run] = None
        try:
            outcome = await evaluate(plan.root, plan.args, run.scope, wait=wait)
            return run.scope.cancelled or outcome
        finally:
            del self._with_cleanup[run]

    def _end(self, run: Run, fault: Fault, state: State) -> None:
        """Ends a call from outside, even if its running step cannot be stopped."""
        if run.finished.done():
            return
        if run.scope is not None and run.scope.has_cleanup:
            run.state = "cancelling"
            run.scope.cancel(faulted(fault))  # the job ends once its cleanups have
        else:
            self._finish(run, faulted(fault), state)
            run.job.cancel()

    async def end_cleanly(self) -> None:
        """Cancels the calls that have a cleanup to run, and waits for them."""
        self._timetable.close()
        jobs = [run.job for run in self._with_cleanup]
        for run in list(self._with_cleanup):
            self._end(run, Cancelled(run.plan.flow, CLOSED), "cancelled")
        if jobs:
            await asyncio.wait(jobs, timeout=_GRACE)

    def _expire(self, run: Run) -> None:
        self._end(run, expired(run.plan.flow), "expired")

    def _finish(self, run: Run, outcome: Outcome, state: State) -> None:
        if run.finished.done():
            return
        if run.timer is not None:
            run.timer.cancel()
        run.state, run.progress, run.ended = state, None, time.time()
        run.finished.set_result(outcome)
        if self.runs.get(run.plan.id) is run:
            run.kept_since = time.monotonic()
            self._finished.append((run.kept_since, run.plan.id))
        self._any_finished.set()
        self._timetable.note_end(run.plan.id)

    def _is_open(self, id: str) -> bool:
        run = self.runs.get(id)
        return run is not None and not run.finished.done()

    def _forget(self) -> None:
        too_old = time.monotonic() - self._keep
        while self._finished and self._finished[0][0] < too_old:
            since, id = self._finished.popleft()
            if id in self.runs and self.runs[id].kept_since == since:
                del self.runs[id]


def _unknown(id: str) -> Unknown:
    return unknown(id, "this process, where local() keeps calls in memory")
