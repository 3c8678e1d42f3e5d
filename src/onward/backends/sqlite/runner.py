"""Runs the jobs that a worker has taken up, and writes down what comes of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Coroutine, Generator
from concurrent.futures import Future
from functools import partial
from sqlite3 import Connection
from typing import Any

import msgspec
from returns.result import Failure

from onward import outcome as outcomes
from onward import plan as plans
from onward.backend.support import expired
from onward.backends.sqlite import claim, limits, lower
from onward.backends.sqlite.attempts import write_running
from onward.backends.sqlite.claim import Claimed, Record
from onward.backends.sqlite.clock import Clock
from onward.backends.sqlite.errors import PROBLEMS, Refused
from onward.backends.sqlite.jobs import Job, Runtime
from onward.backends.sqlite.limits import Answer, Request
from onward.backends.sqlite.message import CallHead, StepMessage, head_of, read
from onward.backends.sqlite.resources import Resources, Serving
from onward.backends.sqlite.settle import decided, expire
from onward.backends.sqlite.steps import StepRunner, for_ever
from onward.backends.sqlite.waiting import WaitRunner
from onward.backends.sqlite.wakeup import Changes
from onward.evaluate import evaluate
from onward.execute import raised
from onward.fault import BadPayload
from onward.limit import StepLimit
from onward.outcome import Faulted, Outcome, faulted, unreadable
from onward.past import steps_with_past, waits_with_past
from onward.plan import Plan, Runnable
from onward.scope import Scope

_AGAIN = 0.5
"""How long it is until a write that failed is tried again, in seconds."""

_NOTES_EVERY = 0.05
"""How often it is written down where jobs are, in seconds."""

_PARK_AFTER = 1.0
_PARK_FOR = 5.0
"""How long all of a job waits, and how long it still will, before it is given back meanwhile."""

_NOBODY = CallHead("", "")

_LOGGER = logging.getLogger("onward.sqlite")


class JobRunner:
    """Runs jobs on the running event loop.

    Args:
        resources: What the worker works with.
        serving: What it serves.
        runtime: Where its steps run.
    """

    def __init__(self, resources: Resources, serving: Serving, runtime: Runtime) -> None:
        self.name: str = serving.name
        self.runtime = runtime
        self.is_stopping = False
        self.others: frozenset[str] = frozenset()
        """The queues that other workers serve too."""
        self._resources = resources
        self._serving = serving
        self._loop = asyncio.get_running_loop()
        self._jobs: dict[tuple[int, int], Job] = {}
        self._of_call: dict[int, set[Job]] = {}
        self._arrived: dict[tuple[int, str], set[asyncio.Event]] = {}
        self._noted: dict[Job, None] = {}
        self._beside: set[asyncio.Task[None]] = set()

    @property
    def clock(self) -> Clock:
        """See `Host.clock`."""
        return self._resources.file.clock

    # -- jobs ----------------------------------------------------------------------------------

    def begin(self, claimed: Claimed) -> None:
        """Begins a job."""
        if claimed.path is None:
            decoded = plans.decode(claimed.raw)
            if isinstance(decoded, Failure):
                job = self._job(claimed, _NOBODY, lower.PRIORITY)
                self._start(job, self._end(job, unreadable("", "its plan", decoded.failure())))
                return
            plan = decoded.unwrap()
            job = self._job(claimed, head_of(plan), lower.priority_of(None, plan))
            job.queue = plan.queue
            self._start(job, self._run_call(job, plan))
            return
        try:
            message = read(claimed.raw)
        except msgspec.MsgspecError as problem:
            job = self._job(claimed, _NOBODY, lower.PRIORITY)
            outcome = unreadable("", "its message", BadPayload("", f"no step: {problem}"))
            record = Record(claimed.path, "", 1, time.time(), self.name, outcomes.encode(outcome))
            self._start(job, self._end_delegated(job, record))
            return
        job = self._job(claimed, message.call, lower.PRIORITY)
        self._start(job, self._run_delegated(job, message, claimed.path))

    def _job(self, claimed: Claimed, head: CallHead, priority: int) -> Job:
        return Job(claimed, head, priority, self.runtime, self._has_note, self._is_idle)

    def _start(self, job: Job, run: Coroutine[Any, Any, None]) -> None:
        claimed = job.claimed
        self._jobs[claimed.seq, claimed.claim] = job
        self._of_call.setdefault(claimed.call, set()).add(job)
        job.task = self._loop.create_task(self._live(job, run))
        if claimed.deadline is not None and claimed.path is None:
            left = max(0.0, claimed.deadline - self.clock.now())
            job.timer = self._loop.call_later(left, self._expire)

    async def _live(self, job: Job, run: Coroutine[Any, Any, None]) -> None:
        claimed = job.claimed
        try:
            await run
        except asyncio.CancelledError:
            if not job.is_over:  # a step has cancelled all that runs on its loop
                self._release(claimed)
            raise
        finally:
            job.end()
            self._jobs.pop((claimed.seq, claimed.claim), None)
            self._noted.pop(job, None)
            others = self._of_call[claimed.call]
            others.discard(job)
            if not others:
                del self._of_call[claimed.call]

    async def _run_call(self, job: Job, plan: Plan) -> None:
        runner = StepRunner(self, job, lower.last_path(plan.root), plan.past)
        run_step = steps_with_past(runner, plan.past)
        if plans.has_cleanup(plan):
            is_again = job.claimed.is_again or plan.past is not None
            job.scope = Scope(run_step, runner.known if is_again else None)
            await self._cancel_if_decided(job, job.scope)  # from now on, it hears of it
        if (limit := plan.call_limit) is not None:
            await self._enter(job, limit, plan.limit_key)
        try:
            wait = waits_with_past(WaitRunner(self, job, runner), plan.past)
            outcome = await evaluate(plan.root, plan.args, job.scope or run_step, wait=wait)
        except Exception as problem:  # ours; what a step raises is an outcome
            _LOGGER.exception("call %s could not be run", plan.id)
            outcome = faulted(raised(plan.flow, problem))
        record = runner.last
        is_all = isinstance(plan.root, Runnable) and record is not None and record.attempt == 1
        deadline = job.claimed.deadline
        if deadline is not None and deadline <= self.clock.now():
            outcome, is_all = faulted(expired(plan.flow)), False
        await self._end(job, outcome, record, is_all=is_all)

    async def _enter(self, job: Job, limit: StepLimit, key: str) -> None:
        """Goes on once the limit of the call's flow has a place; gives the job back until then."""
        request = Request(job.claimed, limits.CALL, "", limit, key, may_park=True)
        answers: list[Answer] = []

        def ask(db: Connection) -> bool:
            answer = limits.ask(db, request, self.clock)
            answers[:] = [] if answer is None else [answer]  # it may be done again
            return answer is not None

        await self.write(job, ask)
        if answers[0].is_parked:
            await self.let_go(job)

    async def _cancel_if_decided(self, job: Job, scope: Scope) -> None:
        """Cancels a call's steps if the call was cancelled, or has expired, before."""
        while True:
            try:
                outcome = await self._resources.reads.on_loop(
                    partial(decided, seq=job.claimed.call)
                )
            except (*PROBLEMS, Refused):
                await asyncio.sleep(_AGAIN)
                continue
            if isinstance(outcome, Faulted):
                scope.cancel(outcome)
            return

    async def _end(
        self, job: Job, outcome: Outcome, record: Record | None = None, *, is_all: bool = False
    ) -> None:
        end = partial(
            claim.end_call,
            job=job.claimed,
            outcome=outcome,
            clock=self.clock,
            last=job.last,
            record=record,
            is_all=is_all,
            running=write_running(0, job.interrupted.values()),
        )
        await self.write(job, end)

    async def _run_delegated(self, job: Job, message: StepMessage, path: str) -> None:
        runner = StepRunner(self, job, path)
        await runner.here(message.step, message.args, path)
        assert runner.last is not None  # it is the step whose outcome is written with the end
        await self._end_delegated(job, runner.last)

    async def _end_delegated(self, job: Job, record: Record) -> None:
        await self.write(job, lambda db: claim.end_delegated(db, job.claimed, record, self.clock))

    def _expire(self) -> None:
        with contextlib.suppress(*PROBLEMS):  # each second, it is tried again
            self._resources.commits.do(lambda db: expire(db, self.clock))

    # -- what steps need -----------------------------------------------------------------------

    async def write(self, job: Job, work: Callable[[Connection], bool]) -> None:
        """See `Host.write`."""
        with job.writing():
            while True:
                try:
                    is_ours = await self._resources.commits.on_loop(work)
                except (*PROBLEMS, Refused) as problem:
                    self._resources.outage.fails(problem)
                    await asyncio.sleep(_AGAIN)
                    continue
                self._resources.outage.works()
                if not is_ours:
                    self._let_go(job)
                    await for_ever()  # the job's task is cancelled
                return

    def write_soon(self, work: Callable[[Connection], object]) -> None:
        """See `Host.write_soon`."""
        with contextlib.suppress(*PROBLEMS):  # the backend was closed
            self._resources.commits.do(work, is_durable=False)

    async def part(self, job: Job, path: str) -> Outcome:
        """See `Host.part`."""
        find = partial(claim.delegated_outcome, call=job.claimed.call, path=path)
        with self.arrivals(job, path) as arrived:
            while True:
                arrived.clear()
                try:
                    found = await self._resources.reads.on_loop(find)
                except (*PROBLEMS, Refused):
                    await asyncio.sleep(_AGAIN)
                    continue
                if found is not None:
                    job.last = found.last
                    return outcomes.decode(found.outcome)
                await arrived.wait()

    @contextlib.contextmanager
    def arrivals(self, job: Job, path: str) -> Generator[asyncio.Event]:
        """See `Host.arrivals`."""
        # Another job of the call waits for it too, where the call was lost and taken up again.
        call, arrived = job.claimed.call, asyncio.Event()
        all_arrived = self._arrived.setdefault((call, path), set())
        all_arrived.add(arrived)
        try:
            yield arrived
        finally:
            all_arrived.discard(arrived)
            if not all_arrived:
                self._arrived.pop((call, path), None)

    def withdraw(self, job: Job, path: str) -> None:
        """See `Host.withdraw`."""
        if not job.is_over:  # or whoever has the call next still needs the step
            with contextlib.suppress(*PROBLEMS):  # then it runs in vain
                self._resources.commits.do(
                    lambda db: claim.withdraw(db, job.claimed, path, self.clock)
                )

    async def give_back(self, job: Job) -> None:
        """See `Host.give_back`."""
        with contextlib.suppress(*PROBLEMS):  # the backend was closed
            await self._let_go_after(self._put_off(job, self.clock.now()), job)
        if job.is_over:
            await for_ever()  # the job's task is cancelled

    async def let_go(self, job: Job) -> None:
        """See `Host.let_go`."""
        self._let_go(job)
        await for_ever()  # the job's task is cancelled

    def queue_of(self, job: Job, step: Runnable) -> str:
        """See `Host.queue_of`."""
        return step.queue or job.queue or lower.QUEUE

    def serves(self, queue: str) -> bool:
        """See `Host.serves`."""
        return queue in self._serving.queues

    # -- what happens meanwhile ----------------------------------------------------------------

    def hear(self, changes: Changes) -> None:
        """Lets go of the jobs whose call has ended or is cancelling; wakes who waits for a step."""
        ended = changes.ended & self._of_call.keys()
        if changes.is_gap:
            self.look_over()
        elif ended:  # one may be of another call by now, which has got the number
            self.look_over([job for call in ended for job in self._of_call[call]])
        for part in list(self._arrived) if changes.is_gap else changes.delegated:
            for arrived in self._arrived.get(part, ()):
                arrived.set()

    def look_over(self, jobs: Collection[Job] | None = None) -> None:
        """Lets go, soon, of those of these jobs, or of all, that are no longer ours.

        Of those that are, it cancels the steps if their call is cancelling.
        """
        held = list(self._jobs.values() if jobs is None else jobs)
        if not held:
            return

        def lost(db: Connection) -> list[Job]:
            return [job for job in held if not claim.is_held(db, job.claimed)]

        async def look() -> None:
            with contextlib.suppress(*PROBLEMS, Refused):  # writing will show it
                for job in await self._resources.reads.on_loop(lost):
                    self._let_go(job)
            for job in held:
                if job.scope is not None and not job.is_over:
                    await self._cancel_if_decided(job, job.scope)

        self._beside.add(looking := self._loop.create_task(look()))
        looking.add_done_callback(self._beside.discard)

    def _let_go(self, job: Job) -> None:
        """Ends what is left of a job; a step in a thread hears of it, and goes on unheard."""
        job.is_over = True
        if job.task is not None:
            job.task.cancel()

    def cancel_all(self) -> None:
        """Ends all jobs here, as others are to have them."""
        for job in list(self._jobs.values()):
            self._let_go(job)

    # -- long waits ----------------------------------------------------------------------------

    def _is_idle(self, job: Job) -> None:
        job.parking = self._loop.call_later(_PARK_AFTER, self._park, job)

    def _park(self, job: Job) -> None:
        """Gives a job back that waits for long: nobody need hold it meanwhile."""
        due = job.due
        if due is None or job.is_over or due - self.clock.now() < _PARK_FOR:
            return
        with contextlib.suppress(*PROBLEMS):  # the backend was closed
            # It is handed over at once: what comes of a wait later is not written down any more.
            written = self._put_off(job, due)
            self._beside.add(parking := self._loop.create_task(self._let_go_after(written, job)))
            parking.add_done_callback(self._beside.discard)

    def _put_off(self, job: Job, due: float) -> Future[None]:
        return self._resources.commits.do(partial(claim.put_off, job=job.claimed, due=due))

    async def _let_go_after(self, written: Future[None], job: Job) -> None:
        with contextlib.suppress(*PROBLEMS, Refused):  # then it stays here
            await asyncio.wrap_future(written)
            self._let_go(job)

    def _release(self, claimed: Claimed) -> None:
        """Gives back what does not run here any more, as soon as that can be written."""

        def release_later() -> None:
            self._loop.call_later(_AGAIN, self._release, claimed)

        def look(done: Future[None]) -> None:
            if isinstance(done.exception(), (*PROBLEMS, Refused)):
                with contextlib.suppress(RuntimeError):  # the loop has ended
                    self._loop.call_soon_threadsafe(release_later)

        work = partial(claim.put_off, job=claimed, due=self.clock.now())
        with contextlib.suppress(*PROBLEMS):  # the backend was closed
            self._resources.commits.do(work).add_done_callback(look)

    # -- status --------------------------------------------------------------------------------

    def _has_note(self, job: Job) -> None:
        if not self._noted:
            self._loop.call_later(_NOTES_EVERY, self._write_notes)
        self._noted[job] = None

    def _write_notes(self) -> None:
        notes = [job.note() for job in self._noted]
        self._noted.clear()
        if notes:
            self.write_soon(partial(claim.write_notes, notes=notes))
