"""Running what the engine assigned to a worker: a step, a step of a DAG, or a flow."""

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
from onward.backends.hatchet.connection import Connection
from onward.backends.hatchet.errors import Problem, patiently
from onward.backends.hatchet.flows import Evaluation
from onward.backends.hatchet.lower import Dag
from onward.backends.hatchet.message import Payload, StepResult, read_payload, result_of
from onward.backends.hatchet.progress import Reporter
from onward.backends.hatchet.reader import Oversized
from onward.backends.hatchet.results import Share
from onward.backends.hatchet.steps import Steps
from onward.outcome import Outcome, faulted
from onward.plan import Args, Plan, Runnable


class Work:
    """Runs assignments.

    Args:
        connection: The connections to the engine.
        steps: Runs the steps.
        dags: The DAGs that the worker declared, by the ids of their versions.
        spawn: Runs a coroutine in the background.
    """

    def __init__(
        self,
        connection: Connection,
        steps: Steps,
        dags: Mapping[str, Dag],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._connection = connection
        self._steps = steps
        self._dags = dags
        self._spawn = spawn

    async def run(self, held: Assignment) -> StepResult:
        """Runs a step or a flow, until its deadline at the latest."""
        payload = read_payload(held.action.action_payload)
        if isinstance(payload, Failure):
            return result_of(faulted(payload.failure()), at="", ends=True)
        decoded = plans.decode(payload.unwrap().input.plan.encode())
        if isinstance(decoded, Failure):
            return result_of(faulted(decoded.failure()), at="", ends=True)
        plan = held.plan = decoded.unwrap()
        held.name = plan.flow
        left = None if plan.deadline is None else plan.deadline - time.time()
        late = result_of(faulted(expired(plan.flow)), at=payload.unwrap().input.at, ends=True)
        if left is not None and left <= 0:
            return late
        work = asyncio.create_task(self._worked(held, plan, payload.unwrap()))
        try:
            await asyncio.wait([work], timeout=left)
            held.is_late = not work.done()
            return late if held.is_late else work.result()
        finally:
            held.given_up.set()
            work.cancel()

    async def _worked(self, held: Assignment, plan: Plan, payload: Payload) -> StepResult:
        run_input, job = payload.input, held.job
        call = run_input.call or held.action.workflow_run_id
        if job.is_flow:
            await asyncio.sleep(run_input.start - time.time())
            return result_of(await self._flow(held, plan, call), at=run_input.at, ends=True)
        if not isinstance(plan.root, Runnable):
            return await self._part(held, plan, payload, call)
        at = run_input.at or "0"
        outcome = await self._step(held, plan.root, plan.args, plan, call, at)
        return result_of(outcome, at=at, ends=True)

    async def _part(self, held: Assignment, plan: Plan, payload: Payload, call: str) -> StepResult:
        """Runs one step of a DAG."""
        parents = (payload.parents or {}).values()
        for parent in parents:
            if parent.ends:  # it has run the whole call
                return parent
        dag = lower.dag_of(plan.root)
        part = None if dag is None else dag.part(held.action.task_name)
        declared = self._dags.get(held.action.workflow_version_id)
        is_own = dag is not None and declared is not None and dag.shape == declared.shape
        if dag is None or part is None or not (parents or is_own):
            # The flow of the caller or of the engine is of another release than the worker's.
            return await self._whole(held, plan, call)
        if dag.source != part.at:
            given = payload.parents or {}
            among = sum(each.name not in given and each.at != dag.source for each in dag.parts)
            held.share = Share(len(held.action.action_payload.encode()), among, part.step.queue)
        needed = set(lower.places(part.source))
        outcomes = {each.at: await self._read(each) for each in parents if each.at in needed}
        args = lower.resolve(part.source, plan.args, outcomes)
        if not isinstance(args, Args):
            return result_of(args, at=part.at, ends=False)
        outcome = await self._step(held, part.step, args, plan, call, part.at)
        return result_of(outcome, at=part.at, ends=dag.source == part.at)

    async def _read(self, result: StepResult) -> Outcome:
        """The outcome in a result, which another run may keep."""
        if not result.kept:
            return result.read
        try:
            return await patiently(lambda: self._connection.reader.kept(result.kept), math.inf)
        except Oversized as oversized:
            return faulted(oversized.fault)

    async def _whole(self, held: Assignment, plan: Plan, call: str) -> StepResult:
        # A flow mostly waits, and the steps that it waits for need its slot.
        await self._connection.client.release_slot(held.action.task_run_external_id)
        done = result_of(await self._flow(held, plan, call), at="", ends=True)
        # Steps after it would wait for ever if no worker serves their tasks any more.
        return replace(done, skips=True)

    async def _step(
        self, held: Assignment, step: Runnable, args: Args, plan: Plan, call: str, at: str
    ) -> Outcome:
        held.name = step_name(step, plan.flow)
        # The status of a call is read from the log of its own run.
        is_part = not isinstance(plan.root, Runnable)
        log = held.action.task_run_external_id if is_part else call
        reporter = Reporter(self._connection.client, log)
        try:
            return await self._steps.run(
                step, args, plan, call=call, at=at, reporter=reporter, given_up=held.given_up
            )
        finally:
            reporter.close()
            held.last = reporter.last

    async def _flow(self, held: Assignment, plan: Plan, call: str) -> Outcome:
        evaluation = Evaluation(self._connection, plan, call, held.action.task_run_external_id)
        try:
            outcome = await evaluation.run(plan.args)
            held.last = evaluation.last
            return outcome
        except asyncio.CancelledError:
            self._spawn(self._abandoned(held, evaluation))
            raise

    async def _abandoned(self, held: Assignment, evaluation: Evaluation) -> None:
        """Cancels the steps of a flow that has ended, unless another worker runs the flow."""
        with contextlib.suppress(Problem):
            if not held.is_late:
                details = await self._connection.client.details(held.action.workflow_run_id)
                if details is None or not details.done:
                    return
            await evaluation.cancel()
