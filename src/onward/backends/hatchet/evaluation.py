"""Runs a flow that is not a DAG, by the evaluator; each step is a run of its own.

The engine identifies the run of a step by the step's path in the call. So if a worker dies and
another one starts the flow again, steps that have ended keep their outcomes and do not run again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any

from msgspec.structs import replace
from returns.result import Failure

from onward.backend.support import step_name
from onward.backends.hatchet.cancelling import is_cancelled
from onward.backends.hatchet.connection import Connection
from onward.backends.hatchet.errors import RpcError
from onward.backends.hatchet.message import LastAttempt, input_of
from onward.backends.hatchet.progress import Reporter
from onward.backends.hatchet.submit import Place, undeclared
from onward.backends.hatchet.waiting import Waits
from onward.catalog import Tasks
from onward.evaluate import evaluate
from onward.execute import limit_key, retried
from onward.fault import Fault, Lost, Raised, TimedOut, Unknown
from onward.limit import StepLimit
from onward.outcome import Faulted, Outcome, faulted, is_unknown
from onward.past import steps_with_past, waits_with_past
from onward.plan import Args, Past, Plan, Runnable, StepNode, cancels_on_failure, has_cleanup, walk
from onward.scope import Scope, in_cleanup

_PLACES = 20
"""How many keys to try, if the engine knows a key but has no run for it."""

_BROKEN_OFF = 2
"""How many failures to start a step do not prove yet that its task is undeclared."""

_SETTLES = 10.0
"""How long it may take until the failure of a branch is known again, in seconds."""

_PAUSE = 1.0
"""The pause between waits for a step while the engine is away, in seconds."""

_PATIENCE = 600.0
"""How long the start of a step is retried while the engine is away, in seconds."""


class Evaluation:
    """One flow, as one worker runs it.

    Args:
        connection: The connections to the engine.
        plan: The flow.
        call: The call's id.
        task: The id of the engine's task that runs the flow.
        tasks: The tasks that give the keys of limits.
        spawn: Runs a coroutine in the background.
        is_abandoned: Whether this worker does not run the flow any more.
        on_idle: Called when all that the flow does is to wait.
    """

    def __init__(
        self,
        connection: Connection,
        plan: Plan,
        call: str,
        task: str,
        tasks: Tasks,
        *,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        is_abandoned: Callable[[], bool],
        on_idle: Callable[[Waits], None],
    ) -> None:
        self._connection = connection
        self._plan = plan
        self._call = call
        self._task = task
        self._tasks = tasks
        self._spawn = spawn
        self._is_abandoned = is_abandoned
        self._on_idle = on_idle
        self._running: dict[str, str] = {}
        self._started: set[str] = set()
        self._reporter = Reporter(connection.client, task)
        self._is_waiting = False
        self._cancels_branches = any(map(cancels_on_failure, walk(plan.root)))
        self._steps_with_past = steps_with_past(self._run_step, plan.past)
        self._scope = Scope(self._steps_with_past)
        self.waits: Waits = Waits(connection, plan, call, self._note)
        """The waits of the flow."""
        self.last: LastAttempt | None = None
        """The step that ended last."""

    async def run(self, args: Args, ended: Faulted | None = None) -> Outcome:
        """Runs the flow.

        Args:
            args: The flow's arguments.
            ended: How the call has ended, if it has, and only its cleanups are left to run.
        """
        if ended is not None:
            self._scope = Scope(self._steps_with_past, self._known)
            self._scope.cancel(ended)
        wait = waits_with_past(self.waits, self._plan.past)
        outcome = await evaluate(self._plan.root, args, self._scope, wait=wait)
        return self._scope.cancelled or outcome

    def end(self, outcome: Faulted) -> bool:
        """Ends the flow, except for its cleanups; False if there are none to run."""
        if not self._scope.has_cleanup:
            return False
        self._scope.cancel(outcome)
        return True

    @property
    def has_cleanup(self) -> bool:
        """Whether a flow has begun whose cleanup has not ended."""
        return self._scope.has_cleanup

    @property
    def runs(self) -> int:
        """How many runs of steps it has."""
        return len(self._started)

    def close(self) -> None:
        """Ends the reports of what the flow waits for."""
        self._reporter.close()

    async def cancel(self) -> None:
        """Cancels the running steps, except those of cleanups."""
        ids = sorted(id for id, where in self._running.items() if not in_cleanup(where))
        if ids:
            await self._connection.client.cancel(ids)

    async def _known(self, where: str) -> Outcome | None:
        past = self._plan.past
        if past is not None and where in past.outcomes:
            return past.outcomes[where]
        return await self._connection.cancelling.known(self._plan, self._call, where)

    def _note(self) -> None:
        """Reports what the flow waits for, if all that it does is to wait."""
        if self.waits.is_idle:
            where, (signal, until) = next(iter(self.waits.active.items()))
            self._reporter.on_wait(where, signal, until)
            self._is_waiting = True
            self._on_idle(self.waits)
        elif self._is_waiting:
            self._reporter.on_wait("")
            self._is_waiting = False

    async def _run_step(self, step: Runnable, args: Args, where: str) -> Outcome:
        try:
            with self.waits.work():
                if step.limit is not None:
                    return await self._attempts(step, step.limit, args, where)
                return await self._start_step(step, args, where)
        except asyncio.CancelledError:
            if not self._is_abandoned():  # the scope has cancelled this step alone
                self._spawn(self._end_step(where))
            raise

    async def _attempts(self, step: Runnable, limit: StepLimit, args: Args, where: str) -> Outcome:
        """Runs a step with a limit: each attempt is a run, which has a place as long as it runs."""
        key = await asyncio.to_thread(limit_key, step, args, self._tasks)
        if isinstance(key, Faulted):
            return key
        workflows = self._connection.limit_workflows
        task = step.task if isinstance(step, StepNode) else None
        if task and task not in self._tasks and not await workflows.is_served(task):
            return faulted(undeclared(replace(self._plan, root=step)))
        fault = await workflows.declare(limit)
        if fault is not None:
            return faulted(fault)

        async def once(attempt: int) -> Outcome:
            self._reporter.on_wait(where, limit=limit.name)
            return await self._start_step(step, args, where, Place(limit, key), attempt)

        outcome = await retried(step, once, asyncio.sleep, random.random)
        if step.attempts == 1 or not has_cleanup(self._plan):
            return outcome
        # After a cancel, this is what tells how the step has ended.
        stored = await self._connection.records.outcome_at(
            self._call, where, outcome, flow=self._plan.flow, patience=_PATIENCE
        )
        return stored.value_or(outcome)

    async def _start_step(
        self,
        step: Runnable,
        args: Args,
        where: str,
        needs: Place | None = None,
        attempt: int = 0,
    ) -> Outcome:
        past = None if self._plan.past is None else Past(self._plan.past.origin)
        plan = replace(self._plan, root=step, args=args, past=past)
        if in_cleanup(where):
            plan = replace(plan, deadline=None)  # it runs in spite of the call's
        fault: Fault = Lost(plan.flow, f"the engine lost its step at {where}")
        bound = self._connection.settings.undeclared
        end = time.monotonic() + bound
        for again in range(_PLACES):
            place = where + f" attempt {attempt}" * (step.attempts > 1 and attempt > 0)
            place += " again" * again
            started = await self._connection.submitter.start(
                plan,
                replace(input_of(plan, at=where, call=self._call), attempt=attempt),
                f"{self._call} {place}",
                parent=self._task,
                place=needs,
                patience=_PATIENCE,
            )
            if isinstance(started, Failure):
                fault = started.failure()
                if isinstance(fault, Unknown) and (again < _BROKEN_OFF or time.monotonic() < end):
                    await asyncio.sleep(bound / _PLACES)  # its worker may be starting
                    continue
                break
            id = started.unwrap()
            self._running[id] = where
            self._started.add(id)
            outcome, last = await self._outcome(id)
            del self._running[id]
            if self._cancels_branches and is_cancelled(outcome):
                # A worker that had the flow before may have cancelled this branch. Then the failure
                # of another one is about to cancel it here too.
                await asyncio.sleep(_SETTLES)
            if not is_unknown(outcome, id):
                name = step_name(step, plan.flow)
                last = last or LastAttempt(name, where, str(attempt or _count(outcome)))
                self.last = replace(last, earlier=())
                return outcome
            # The engine stored the key, but then failed to start the run.
            self._started.discard(id)
        return faulted(fault)

    async def _outcome(self, id: str) -> tuple[Outcome, LastAttempt | None]:
        while True:
            try:
                return await self._connection.waiter.step(id)
            except RpcError:  # the connection failed, not the step
                await asyncio.sleep(_PAUSE)

    async def _end_step(self, where: str) -> None:
        with contextlib.suppress(RpcError):
            await self._known(where)  # this cancels it


def _count(outcome: Outcome) -> int:
    fault = outcome.fault if isinstance(outcome, Faulted) else None
    return fault.attempts if isinstance(fault, Raised | TimedOut) else 1
