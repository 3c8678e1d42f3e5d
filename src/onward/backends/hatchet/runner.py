"""Runs what the engine assigned to a worker: a step, a step of a DAG, or a flow."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from msgspec.structs import replace
from returns.result import Failure

from onward import plan as plans
from onward.backend.support import expired, step_name
from onward.backends.hatchet import lower
from onward.backends.hatchet.assignment import Assignment
from onward.backends.hatchet.call_places import CallPlace, hold
from onward.backends.hatchet.connection import Connection
from onward.backends.hatchet.errors import RpcError, with_retries
from onward.backends.hatchet.evaluation import Evaluation
from onward.backends.hatchet.eviction import evict_later
from onward.backends.hatchet.lower import Dag
from onward.backends.hatchet.message import (
    Payload,
    RunInput,
    StepResult,
    cancelled,
    decode_payload,
    result_of,
)
from onward.backends.hatchet.progress import Reporter
from onward.backends.hatchet.reader import Oversized
from onward.backends.hatchet.records import NOTHING
from onward.backends.hatchet.results import Share
from onward.backends.hatchet.steps import StepRunner
from onward.backends.hatchet.waiting import Waits
from onward.fault import Fault
from onward.limit import StepLimit
from onward.outcome import Faulted, Outcome, decode, faulted, unreadable
from onward.plan import Args, Plan, Runnable, has_cleanup


class AssignmentRunner:
    """Runs assignments.

    Args:
        connection: The connections to the engine.
        steps: Runs single steps.
        dags: The DAGs that the worker declared, by the ids of their versions.
        spawn: Runs a coroutine in the background.
    """

    def __init__(
        self,
        connection: Connection,
        steps: StepRunner,
        dags: Mapping[str, Dag],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._connection = connection
        self._steps = steps
        self._dags = dags
        self._spawn = spawn

    async def run(self, assignment: Assignment) -> StepResult:
        """Runs a step or a flow, at most until its deadline."""
        payload = decode_payload(assignment.action.action_payload)
        if isinstance(payload, Failure):
            return _unread("", payload.failure())
        if assignment.job.is_record:
            return await self._record(payload.unwrap().input)
        if payload.unwrap().input.holds:
            await hold(self._connection, payload.unwrap().input.call)
            return result_of(NOTHING, at="", ends=True)
        decoded = plans.decode(payload.unwrap().input.plan.encode())
        if isinstance(decoded, Failure):
            return _unread(assignment.name, decoded.failure())
        plan = assignment.plan = decoded.unwrap()
        assignment.name = plan.flow
        run_input = payload.unwrap().input
        if run_input.cleans_up:
            return await self._cleaned_up(assignment, plan, run_input)
        left = None if plan.deadline is None else plan.deadline - time.time()
        end = faulted(expired(plan.flow))
        late = result_of(end, at=run_input.at, ends=True)
        if left is not None and left <= 0:
            if assignment.job.is_flow:
                await self._expired(assignment, plan, end)
            return late
        work = asyncio.create_task(self._worked(assignment, plan, payload.unwrap()))
        try:
            await asyncio.wait([work], timeout=left)
            assignment.is_late = not work.done()
            if assignment.is_late and assignment.end(end):
                await asyncio.wait([work])
                return work.result()
            return late if assignment.is_late else work.result()
        finally:
            assignment.is_cancelled.set()
            work.cancel()

    async def _expired(self, assignment: Assignment, plan: Plan, end: Faulted) -> None:
        """Runs the cleanups of a call whose deadline has passed while no worker had it."""
        call = assignment.action.workflow_run_id
        if has_cleanup(plan):
            begun = await self._connection.cancelling.has_begun(plan, call, math.inf)
            if begun.value_or(True):
                await self._flow(assignment, plan, call, end)
        self._spawn(self._end_mailboxes(plan, call))

    async def _cleaned_up(
        self, assignment: Assignment, plan: Plan, run_input: RunInput
    ) -> StepResult:
        """Cancels a call, and runs its cleanups."""
        end, call = faulted(cancelled(plan.flow)), run_input.call
        if await self._connection.cancelling.stop(call):
            await self._flow(assignment, plan, call, end)
            self._spawn(self._end_mailboxes(plan, call))
        return result_of(end, at="", ends=True)

    async def _end_mailboxes(self, plan: Plan, call: str) -> None:
        with contextlib.suppress(RpcError):
            await self._connection.signals.end_all(plan, call)

    async def _record(self, run_input: RunInput) -> StepResult:
        """Reports the outcome that a record stores. If it is a signal's, its call gets it."""
        await self._connection.signals.deliver(run_input)
        outcome = decode(run_input.outcome.encode()) if run_input.outcome else NOTHING
        return result_of(outcome, at=run_input.at, ends=True)

    async def _worked(self, assignment: Assignment, plan: Plan, payload: Payload) -> StepResult:
        run_input, job = payload.input, assignment.job
        call = run_input.call or assignment.action.workflow_run_id
        if job.is_flow:
            await self._delay(assignment, plan, call, run_input.start)
            return result_of(await self._flow(assignment, plan, call), at=run_input.at, ends=True)
        if not isinstance(plan.root, Runnable):
            return await self._part(assignment, plan, payload, call)
        at = run_input.at or "0"
        outcome = await self._step(
            assignment, plan.root, plan.args, plan, call, at, only=run_input.attempt
        )
        return result_of(outcome, at=at, ends=True)

    async def _delay(self, assignment: Assignment, plan: Plan, call: str, start: float) -> None:
        """Waits until a delayed call begins; the engine has it meanwhile, as if it slept."""
        if start <= time.time():
            return

        def evict() -> None:
            if waits.active:
                self._evict_later(assignment, plan, waits)

        waits = Waits(self._connection, plan, call, evict)
        await waits.until(start)

    async def _part(
        self, assignment: Assignment, plan: Plan, payload: Payload, call: str
    ) -> StepResult:
        """Runs one step of a DAG."""
        parents = (payload.parents or {}).values()
        for parent in parents:
            if parent.ends:  # the parent has run the whole call
                return parent
        dag = lower.any_dag(plan.root)
        part = None if dag is None else dag.part(assignment.action.task_name)
        declared = self._dags.get(assignment.action.workflow_version_id)
        is_own = dag is not None and declared is not None and dag.shape == declared.shape
        if dag is None or part is None or not (parents or is_own):
            # The caller's or the engine's flow is of another release than the worker's.
            return await self._whole(assignment, plan, call)
        if dag.source != part.at:
            given = payload.parents or {}
            among = sum(each.name not in given and each.at != dag.source for each in dag.parts)
            assignment.share = Share(
                len(assignment.action.action_payload.encode()), among, part.step.queue
            )
        needed = set(lower.paths(part.source))
        outcomes = {each.at: await self._read(each) for each in parents if each.at in needed}
        args = lower.resolve(part.source, plan.args, outcomes)
        if not isinstance(args, Args):
            return result_of(args, at=part.at, ends=False)
        outcome = await self._step(assignment, part.step, args, plan, call, part.at)
        return result_of(outcome, at=part.at, ends=dag.source == part.at)

    async def _read(self, result: StepResult) -> Outcome:
        """Returns the outcome of a result; another run may store it."""
        if not result.kept:
            return result.read
        try:
            return await with_retries(lambda: self._connection.reader.kept(result.kept), math.inf)
        except Oversized as oversized:
            return faulted(oversized.fault)

    async def _whole(self, assignment: Assignment, plan: Plan, call: str) -> StepResult:
        # A flow mostly waits, and the steps that it waits for may need its slot.
        await self._connection.client.release_slot(assignment.action.task_run_external_id)
        done = result_of(await self._flow(assignment, plan, call), at="", ends=True)
        # The steps after it are skipped. Without a worker for their tasks they would wait forever.
        return replace(done, skips=True)

    async def _step(
        self,
        assignment: Assignment,
        step: Runnable,
        args: Args,
        plan: Plan,
        call: str,
        at: str,
        only: int = 0,
    ) -> Outcome:
        assignment.name = step_name(step, plan.flow)
        # A call's status is read from the log of the call's own run.
        is_part = not isinstance(plan.root, Runnable)
        log = assignment.action.task_run_external_id if is_part else call
        reporter = Reporter(self._connection.client, log)
        try:
            return await self._steps.run(
                step,
                args,
                plan,
                call=call,
                at=at,
                reporter=reporter,
                is_cancelled=assignment.is_cancelled,
                only=only,
            )
        finally:
            reporter.close()
            assignment.last = reporter.last

    async def _flow(
        self, assignment: Assignment, plan: Plan, call: str, ended: Faulted | None = None
    ) -> Outcome:
        if plan.call_limit is not None and ended is None:
            fault = await self._enter(assignment, plan, plan.call_limit, call)
            if fault is not None:
                return faulted(fault)
        if has_cleanup(plan) and ended is None:
            begun = await self._connection.cancelling.begin(plan, call)
            if isinstance(begun, Failure) or not begun.unwrap():
                fault = begun.failure() if isinstance(begun, Failure) else cancelled(plan.flow)
                return faulted(fault)

        def on_idle(waits: Waits) -> None:
            if ended is None and assignment.action.task_run_external_id == call:
                self._evict_later(assignment, plan, waits)

        evaluation = assignment.evaluation = Evaluation(
            self._connection,
            plan,
            call,
            assignment.action.task_run_external_id,
            self._steps.tasks,
            spawn=self._spawn,
            is_abandoned=assignment.is_cancelled.is_set,
            on_idle=on_idle,
        )
        try:
            outcome = await evaluation.run(plan.args, ended)
            assignment.last = evaluation.last
            self._spawn(evaluation.waits.close())
            return outcome
        except asyncio.CancelledError:
            self._spawn(self._abandoned(assignment, evaluation))
            raise
        finally:
            evaluation.close()

    async def _enter(
        self, assignment: Assignment, plan: Plan, limit: StepLimit, call: str
    ) -> Fault | None:
        """Waits until a call has its place in the limit of its flow."""

        def on_idle(waits: Waits) -> None:
            if task == call:
                self._evict_later(assignment, plan, waits)

        task = assignment.action.task_run_external_id
        place = CallPlace(self._connection, plan, limit, call, task, on_idle)
        try:
            return await place.enter()
        except asyncio.CancelledError:
            self._spawn(self._left(assignment, place))
            raise
        finally:
            place.close()

    async def _left(self, assignment: Assignment, place: CallPlace) -> None:
        """Gives up the place of a call that waited for it, unless the call goes on elsewhere."""
        with contextlib.suppress(RpcError):
            if await self._is_over(assignment):
                await place.leave()

    async def _is_over(self, assignment: Assignment) -> bool:
        """Whether a flow that this worker has given up does not go on elsewhere."""
        if assignment.is_late:
            return True
        details = await self._connection.client.details(assignment.action.workflow_run_id)
        return details is not None and details.done

    def _evict_later(self, assignment: Assignment, plan: Plan, waits: Waits) -> None:
        self._spawn(evict_later(self._connection, assignment, plan, waits, waits.version))

    async def _abandoned(self, assignment: Assignment, evaluation: Evaluation) -> None:
        """Cancels the running steps of a flow, unless another worker continues the flow."""
        with contextlib.suppress(RpcError):
            if not assignment.is_late:
                details = await self._connection.client.details(assignment.action.workflow_run_id)
                if details is None or not details.done:
                    return
                if evaluation.has_cleanup:
                    call = assignment.action.workflow_run_id
                    await self._connection.cancelling.pending(details, call)
            await evaluation.cancel()
            await evaluation.waits.close()


def _unread(flow: str, why: Fault) -> StepResult:
    """The end of a run whose input this worker cannot read."""
    return result_of(unreadable(flow, "its plan", why), at="", ends=True)
