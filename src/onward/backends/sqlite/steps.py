"""Runs the steps of a job: here, or as jobs of their own that other workers take."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from functools import partial
from sqlite3 import Connection
from typing import Protocol

from onward import outcome as outcomes
from onward.backend.limiter import margin
from onward.backend.support import step_context, step_name
from onward.backends.sqlite import claim, limits
from onward.backends.sqlite.attempts import Attempt, Running
from onward.backends.sqlite.claim import Record
from onward.backends.sqlite.clock import Clock
from onward.backends.sqlite.errors import LARGEST, too_large
from onward.backends.sqlite.jobs import Job, Runtime
from onward.backends.sqlite.limits import Answer, Request
from onward.backends.sqlite.message import StepMessage, write
from onward.context import Context
from onward.execute import is_retried, limit_key, report_outcome
from onward.outcome import Faulted, Outcome, faulted
from onward.plan import Args, Past, Runnable, StepNode

_SOON = 0.05
"""How long a step of a fan-out waits for a slot here, in seconds, before others can have it."""

_LONGEST = 30.0
"""How long a step waits for a place before it asks again, in seconds."""

_PATIENCE = 0.25
"""How long a job that has not begun waits for a slot here, in seconds, before others can have it.
"""


class Host(Protocol):
    """What a step-runner needs of its worker."""

    name: str
    runtime: Runtime
    is_stopping: bool
    others: frozenset[str]
    """The queues that other workers serve."""

    @property
    def clock(self) -> Clock:
        """The time in the file."""
        ...

    async def write(self, job: Job, work: Callable[[Connection], bool]) -> None:
        """Writes until it is written; if the job is another's by then, it ends here."""
        ...

    def write_soon(self, work: Callable[[Connection], object]) -> None:
        """Writes what is for people to see, unless that fails."""
        ...

    async def part(self, job: Job, path: str) -> Outcome:
        """The outcome of a step that was delegated, once it has one."""
        ...

    def arrivals(self, job: Job, path: str) -> AbstractContextManager[asyncio.Event]:
        """An event that is set whenever something has come of a delegated step, or for a wait."""
        ...

    def withdraw(self, job: Job, path: str) -> None:
        """Takes back a step that was delegated, as nobody needs its outcome any more."""
        ...

    async def give_back(self, job: Job) -> None:
        """Lets another worker have a job at once, if that can be written; it ends here then."""
        ...

    async def let_go(self, job: Job) -> None:
        """Ends a job here that was given back."""
        ...

    def queue_of(self, job: Job, step: Runnable) -> str:
        """The queue that a step waits in."""
        ...

    def serves(self, queue: str) -> bool:
        """Whether the worker takes jobs from a queue."""
        ...


class StepRunner:
    """Runs steps of one job, for the evaluator.

    Args:
        host: The worker.
        job: The job.
        unwritten: The path of the step whose outcome is written down with the job's end.
        past: What the call takes over, if it continues another one.
    """

    def __init__(
        self, host: Host, job: Job, unwritten: str | None, past: Past | None = None
    ) -> None:
        self._host = host
        self._job = job
        self._unwritten = unwritten
        self._past = past
        self.last: Record | None = None
        """What is to be written down with the job's end."""

    async def __call__(self, step: Runnable, args: Args, where: str, /) -> Outcome:
        outcome = await self.known(where)
        if outcome is not None:
            return outcome
        if self._host.is_stopping:
            with self._job.waiting():
                await for_ever()  # what waits is given back
        if where in self._job.claimed.delegated:  # it may run there, and must not run twice at once
            with self._job.waiting():
                return await self._delegated(where)
        queue = self._host.queue_of(self._job, step)
        if not self._host.serves(queue):
            return await self._elsewhere(step, args, where, queue)
        if where in self._job.claimed.known or "[" not in where:
            return await self.here(step, args, where)
        if not await self._has_slot_soon(step, queue):
            return await self._elsewhere(step, args, where, queue)
        return await self.here(step, args, where, has_slot=True)

    async def known(self, where: str) -> Outcome | None:
        """The outcome of a step that was there before the job was taken up."""
        if self._past is not None and where in self._past.outcomes:
            return self._past.outcomes[where]
        known = self._job.claimed.known.get(where)
        return None if known is None or known.outcome is None else outcomes.decode(known.outcome)

    async def _has_slot_soon(self, step: Runnable, queue: str) -> bool:
        """Takes a slot for a step of a fan-out; gives up if another worker may have one sooner."""
        with self._job.active():
            while True:
                try:
                    async with asyncio.timeout(_SOON):
                        await self._host.runtime.slots.take(self._priority_of(step))
                except TimeoutError:
                    if queue in self._host.others:
                        return False
                else:
                    return True

    def _priority_of(self, step: Runnable) -> int:
        return self._job.priority if step.priority is None else step.priority

    async def here(
        self, step: Runnable, args: Args, path: str, *, has_slot: bool = False
    ) -> Outcome:
        """Runs a step in this worker, retries and all, and writes down what comes of it."""
        job, host = self._job, self._host
        known = job.claimed.known.get(path)
        attempt = 1
        if known is not None and known.outcome is None:
            attempt = known.attempt + 1
            await self._wait_until(known.due)
        name = step_name(step, job.head.flow)
        first: float | None = None
        while True:
            outcome, began = await self._attempt(step, args, path, attempt, has_slot=has_slot)
            has_slot = False
            first = began if first is None else first
            if not is_retried(step, outcome, attempt):
                break
            pause = step.backoff.delay(attempt, random.random())
            due = host.clock.now() + pause
            raw = outcomes.encode(outcome)
            work = partial(
                claim.write_step,
                job=job.claimed,
                record=Record(path, name, attempt, first, host.name, due=due),
                attempt=Attempt(path, attempt, began, time.time(), host.name, raw),
            )
            if pause > 0:
                await host.write(job, work)
                await self._wait_until(due)
            else:
                host.write_soon(work)
            attempt += 1
        raw = outcomes.encode(outcome)
        if len(raw) > LARGEST:
            outcome = faulted(too_large(name, "its value", len(raw)))
            raw = outcomes.encode(outcome)
        tried = began if attempt > 1 else None
        record = Record(path, name, attempt, first, host.name, raw, tried=tried)
        if path == self._unwritten:
            self.last = record
        else:
            await host.write(job, partial(claim.write_step, job=job.claimed, record=record))
        return outcome

    async def _wait_until(self, due: float | None) -> None:
        if due is not None:
            with self._job.waiting_until(due):
                await asyncio.sleep(max(0.0, due - self._host.clock.now()))

    async def _attempt(
        self, step: Runnable, args: Args, path: str, attempt: int, *, has_slot: bool
    ) -> tuple[Outcome, float]:
        """Makes one attempt; gives its outcome, and when it began, in seconds since 1970."""
        job, head = self._job, self._job.head
        context = step_context(
            step,
            call=head.id,
            flow=head.flow,
            path=path,
            attempt=attempt,
            key=head.key,
            deadline=head.deadline,
            trace=head.trace,
            report=job.report,
            is_cancelled=lambda: job.is_over,
        )
        in_slot = partial(self._in_slot, step, args, context)
        if step.limit is not None:
            return await self._limited(step, args, context, in_slot, has_slot=has_slot)
        with job.active():
            if not has_slot:
                await self._take_slot(step)
            return await in_slot()

    async def _in_slot(self, step: Runnable, args: Args, context: Context) -> tuple[Outcome, float]:
        job, runtime, path, attempt = self._job, self._host.runtime, context.step, context.attempt
        began, start = time.time(), time.monotonic()
        job.running[path] = Running(path, context.task, attempt, began)
        try:
            outcome = await runtime.attempts.make(
                step, args, context, job.on_attempt, runtime.variables
            )
        except asyncio.CancelledError:
            job.interrupted[path] = job.running[path]
            raise
        else:
            return outcome, began
        finally:
            del job.running[path]
            runtime.took(time.monotonic() - start)
            runtime.slots.add(1)
            if not isinstance(step, StepNode):
                job.on_attempt(context)  # the fused step has ended, not a task within it

    async def _limited(
        self,
        step: Runnable,
        args: Args,
        context: Context,
        in_slot: Callable[[], Awaitable[tuple[Outcome, float]]],
        *,
        has_slot: bool,
    ) -> tuple[Outcome, float]:
        """Makes an attempt once its limit has a place; what waits for that holds no slot."""
        job, host, path, slots = self._job, self._host, context.step, self._host.runtime.slots
        assert step.limit is not None
        key = limit_key(step, args, host.runtime.tasks)
        if isinstance(key, Faulted):
            if has_slot:
                slots.add(1)
            report_outcome(host.runtime.tasks, context, key)
            return key, time.time()
        # Beside a fan-out, other steps of the job may run.
        may_park = job.claimed.path is not None or "[" not in path
        request = Request(job.claimed, path, context.task, step.limit, key, may_park)
        give_back = partial(limits.give_back, job=job.claimed, path=path, clock=host.clock)
        try:
            with host.arrivals(job, path) as arrived:
                while True:
                    arrived.clear()
                    with job.active():
                        if not has_slot:
                            await self._take_slot(step)
                        has_slot = False
                        answer = await self._ask_in_slot(request)
                        if answer.began is not None:
                            outcome = await in_slot()
                            await host.write(job, give_back)
                            return outcome
                    with job.waiting(), contextlib.suppress(TimeoutError):
                        if answer.is_parked:
                            await host.let_go(job)
                        left = (answer.opens or limits.NEVER) - host.clock.now()
                        async with asyncio.timeout(min(max(0.0, left), _LONGEST)):
                            await arrived.wait()
        except asyncio.CancelledError:
            if not job.is_over:  # the step was cancelled, and its call goes on
                host.write_soon(give_back)
            raise

    async def _ask_in_slot(self, request: Request) -> Answer:
        """Asks for a place; without one, it frees the slot."""
        host, found = self._host, list[Answer]()

        def ask(db: Connection) -> bool:
            answer = limits.ask(db, request, host.clock)
            found[:] = [] if answer is None else [answer]  # it may be done again
            return answer is not None

        try:
            await host.write(self._job, ask)
            [answer] = found
            if answer.began is not None and request.limit.rate is not None:
                await self._begin_now(request, answer.began)
        except BaseException:
            host.runtime.slots.add(1)
            raise
        if answer.began is None:
            host.runtime.slots.add(1)
        return answer

    async def _begin_now(self, request: Request, began: float) -> None:
        """Corrects when an attempt begins, as long as that is later than was written down."""
        host, most = self._host, margin(request.limit.per) / 2
        while (now := host.clock.now()) - began > most:
            late = partial(limits.begin_late, request=request, began=began, now=now)
            await host.write(self._job, late)
            began = now

    async def _take_slot(self, step: Runnable) -> None:
        job, host = self._job, self._host
        if job.has_begun:
            await host.runtime.slots.take(self._priority_of(step))
            return
        while True:
            try:
                async with asyncio.timeout(_PATIENCE):
                    await host.runtime.slots.take(self._priority_of(step))
            except TimeoutError:
                host.runtime.took(_PATIENCE)  # what runs is not as short as it was
                if host.queue_of(job, step) in host.others:
                    await host.give_back(job)
            else:
                return

    async def _elsewhere(self, step: Runnable, args: Args, path: str, queue: str) -> Outcome:
        job, priority = self._job, self._priority_of(step)
        message = write(StepMessage(job.head, step, args))
        with job.waiting():
            await self._host.write(
                job,
                lambda db: claim.delegate(db, job.claimed, path, queue, priority, message),
            )
            return await self._delegated(path)

    async def _delegated(self, path: str) -> Outcome:
        try:
            return await self._host.part(self._job, path)
        except asyncio.CancelledError:  # the step was cancelled, or the job is over
            self._host.withdraw(self._job, path)
            raise


async def for_ever() -> None:
    """Waits until it is cancelled."""
    await asyncio.Event().wait()
