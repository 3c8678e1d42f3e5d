"""Onward's only workflow. It evaluates a plan, and runs each step as an activity.

Temporal replays this code: given the same outcomes of activities, it must do the same again. A
change that breaks this breaks running calls. tests/temporal replays recorded histories.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from msgspec import MsgspecError, Raw
from msgspec.structs import replace
from returns.result import Failure
from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, CancelledError, ChildWorkflowError

from onward import plan as plans
from onward.backend.support import expired
from onward.backends.temporal import places
from onward.backends.temporal.converter import raw_value
from onward.backends.temporal.errors import failure, outcome_of
from onward.backends.temporal.limit_message import ASKING, PLACE, token_of
from onward.backends.temporal.lower import (
    LONGEST,
    Part,
    awaits_any,
    priority_of,
    retry_policy,
    split_into_parts,
    split_part,
)
from onward.backends.temporal.message import (
    LIMIT,
    FlowOptions,
    checked,
    decode_options,
    encode,
    foreign,
    name_of,
    omitted,
    outcome_of_value,
    size_of,
    step_message,
    too_large,
    values,
    workflow_type,
)
from onward.backends.temporal.paths import part_number, past_of_part, path_in
from onward.backends.temporal.places import WaitingSteps
from onward.backends.temporal.waits import Waits
from onward.evaluate import Wait, evaluate
from onward.execute import is_retried, raised
from onward.fault import Cancelled
from onward.limit import StepLimit
from onward.outcome import Outcome, Value, faulted, unreadable
from onward.past import steps_with_past, waits_with_past
from onward.plan import Args, FusedNode, Node, Plan, Runnable, Waiting, has_cleanup
from onward.scope import RunStep, Scope

_AT_ONCE = 2_000_000
"""How many bytes one workflow task may send. All of it is one message of at most 4 MB."""

_ENTERED = Value(Raw(b"null"))

_IN_FLIGHT = 100
"""How many items of an `each` without a limit run at the same time."""


@workflow.defn(dynamic=True, sandboxed=False)
class FlowWorkflow:
    """Runs any flow. The workflow type is the flow's name."""

    def __init__(self) -> None:
        self._waits = Waits()
        self._limited = WaitingSteps()

    @workflow.signal(dynamic=True)
    def on_signal(self, name: str, args: Sequence[RawValue]) -> None:
        """Takes the value of any signal."""
        if name == PLACE:
            self._limited.receive(args)
        else:
            self._waits.receive(name, args)

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> RawValue:
        """Runs a plan. The arguments are the plan and its `FlowOptions`."""
        name = workflow.info().workflow_type
        try:
            outcome = omitted(args, name)
            if outcome is None:
                sent = [each.payload.data for each in args]
                outcome = checked(await _run(sent, name, self._waits, self._limited), name)
        except Exception as problem:  # a bug of Onward: what a step raises is an outcome
            outcome = faulted(raised(name, problem))
        if isinstance(outcome, Value):
            return raw_value(outcome.raw)
        raise failure(outcome)


async def _run(sent: Sequence[bytes], name: str, waits: Waits, limited: WaitingSteps) -> Outcome:
    try:
        raw, raw_options = sent
        options = decode_options(raw_options)
    except (MsgspecError, ValueError) as problem:
        return foreign(name, problem)
    decoded = plans.decode(raw)
    if isinstance(decoded, Failure):
        return unreadable(name, "its plan", decoded.failure())
    plan = decoded.unwrap()
    root = split_part(plan.root) if options.at else split_into_parts(plan.root)
    runner = _StepRunner(plan, options, limited)
    await waits.until_begun(options.delay)
    run: Callable[[RunStep], Coroutine[Any, Any, Outcome]] = partial(
        evaluate,
        root,
        plan.args,
        where=options.at,
        in_flight=_IN_FLIGHT,
        wait=_waits(waits, plan, options),
        expand=_expanded,
    )
    if plan.call_limit is not None and not options.at:
        run = partial(_in_turn, run, plan.call_limit, plan.limit_key, limited)
    # Without cleanups, a call is terminated, and its deadline is the server's own time limit.
    return await (_cleaned_up(plan, options, runner, run) if has_cleanup(plan) else run(runner))


async def _in_turn(
    run: Callable[[RunStep], Coroutine[Any, Any, Outcome]],
    limit: StepLimit,
    key: str,
    limited: WaitingSteps,
    runner: RunStep,
) -> Outcome:
    """Runs a call while it has a place of the limit of its flow."""

    async def enter() -> Outcome:
        await places.enter(limit, key, limited)
        return _ENTERED

    try:
        outcome = await (runner.guard(enter, "") if isinstance(runner, Scope) else enter())
        if outcome is _ENTERED:
            outcome = await run(runner)
    except (asyncio.CancelledError, Exception):
        await places.leave(limit.pool(key), places.CALL)
        raise
    await places.leave(limit.pool(key), places.CALL)
    return outcome


def _waits(waits: Waits, plan: Plan, options: FlowOptions) -> Wait:
    wait = waits_with_past(
        partial(waits, recorded=options.records), plan.past, lambda: workflow.now().timestamp()
    )

    def wait_at(node: Waiting, where: str, /) -> Awaitable[Outcome]:
        return wait(node, path_in(plan, options, where))

    return wait_at


async def _cleaned_up(
    plan: Plan,
    options: FlowOptions,
    runner: RunStep,
    run: Callable[[RunStep], Coroutine[Any, Any, Outcome]],
) -> Outcome:
    """Runs a call that may be cancelled, or reach its deadline, until its cleanups have ended.

    Raises:
        asyncio.CancelledError: If it was cancelled. The workflow ends as cancelled then.
    """
    scope = Scope(runner)
    job = asyncio.create_task(run(scope))
    left: float | None = None
    if plan.deadline is not None and not options.at:  # a part is cancelled by its parent
        left = max(0.0, plan.deadline - workflow.now().timestamp())
    is_cancelled = False
    while not job.done():
        try:
            await asyncio.wait([job], timeout=left)
            if not job.done():
                scope.cancel(faulted(expired(plan.flow)))
                left = None
        except asyncio.CancelledError:
            is_cancelled = scope.cancelled is None
            scope.cancel(faulted(Cancelled(plan.flow, "it was cancelled")))
    outcome = job.result()
    if is_cancelled:
        raise asyncio.CancelledError
    return scope.cancelled or outcome


def _expanded(part: FusedNode, args: Args) -> Node | None:
    """What a part runs here; None if the history is so long that a child workflow runs it."""
    is_long = workflow.info().is_continue_as_new_suggested()
    # A signal is sent to the call, and does not reach its children.
    if is_long and size_of(args) < LIMIT and not awaits_any(part.body):
        return None
    return split_part(part.body)


def _outcome_of_error(error: ActivityError | ChildWorkflowError, name: str) -> Outcome:
    """Returns the outcome of a step or a part that failed."""
    if isinstance(error.cause, CancelledError):
        # The call itself is ending, so no other step may run.
        raise asyncio.CancelledError from error
    return outcome_of(error, name)


class _StepRunner:
    """Runs steps as activities, and parts as child workflows if the history is long."""

    def __init__(self, plan: Plan, options: FlowOptions, limited: WaitingSteps) -> None:
        self._plan = plan
        self._limited = limited
        self._options = options
        self._call = plan.id or workflow.info().workflow_id
        self._origin = self._call if plan.past is None else plan.past.origin or self._call
        self._task = 0
        self._sent = 0

    async def __call__(self, step: Runnable, args: Args, where: str, /) -> Outcome:
        if isinstance(step, Part):
            return await self._as_child(step, args, where)
        activity = self._activity if step.limit is None else self._in_turn
        run = steps_with_past(partial(activity, id=where), self._plan.past)
        return await run(step, args, self._path(where))

    async def _in_turn(self, step: Runnable, args: Args, path: str, /, *, id: str) -> Outcome:
        """Runs a step with a limit, which has a place during each attempt."""
        attempt = 1
        while True:
            outcome = await self._with_place(step, args, path, attempt, id)
            if not is_retried(step, outcome, attempt):
                return outcome
            await workflow.sleep(step.backoff.delay(attempt, workflow.random().random()))
            attempt += 1

    async def _with_place(
        self, step: Runnable, args: Args, path: str, attempt: int, id: str
    ) -> Outcome:
        assert step.limit is not None
        message = step_message(step, args, path, self._plan, self._origin)
        raw = encode(replace(message, attempt=attempt))
        size = size_of(args) + len(raw)
        if size > LIMIT:
            return too_large(message.name, size)
        await self._wait_for_room(size)
        sent, token = [*map(raw_value, values(args)), raw_value(raw)], token_of(path, attempt)
        try:
            asking = f"{id}{ASKING}{attempt}"
            pool = await places.ask(sent, step.queue or self._plan.queue, asking)
        except ActivityError as error:
            return _outcome_of_error(error, message.name)
        try:
            await self._limited.wait(token, step.limit.name)
            outcome = await self._activity(step, args, path, id=id, attempt=attempt)
        except (asyncio.CancelledError, Exception):  # not GeneratorExit: the worker forgets the run
            await places.leave(pool, token)
            raise
        await places.leave(pool, token)
        return outcome

    async def _activity(
        self, step: Runnable, args: Args, path: str, /, *, id: str, attempt: int = 1
    ) -> Outcome:
        name = name_of(step, self._plan.flow)
        sent = step_message(step, args, path, self._plan, self._origin)
        message = encode(sent if attempt == 1 else replace(sent, attempt=attempt))
        size = size_of(args) + len(message)
        if size > LIMIT:
            return too_large(name, size)
        await self._wait_for_room(size)
        try:
            given: RawValue = await workflow.execute_activity(
                name,
                args=[*map(raw_value, values(args)), raw_value(message)],
                result_type=RawValue,
                task_queue=step.queue or self._plan.queue,
                activity_id=id,
                start_to_close_timeout=LONGEST,
                heartbeat_timeout=timedelta(seconds=self._options.heartbeat),
                retry_policy=retry_policy(
                    step if step.limit is None else replace(step, attempts=1),
                    self._options.crashes,
                ),
                priority=priority_of(step, self._plan),
            )
        except ActivityError as error:
            return _outcome_of_error(error, name)
        return outcome_of_value(given, name)

    async def _as_child(self, part: Part, args: Args, where: str) -> Outcome:
        place, index = self._path(where), part_number(where)
        past = past_of_part(self._plan.past, part.body, place, index)
        plan = replace(self._plan, id=self._call, root=part.body, args=args, past=past)
        raw = plans.encode(plan)
        if len(raw) > LIMIT:
            return too_large(plan.flow, len(raw))
        await self._wait_for_room(len(raw))
        options = replace(self._options, at=where, place=place)
        try:
            given: RawValue = await workflow.execute_child_workflow(
                workflow_type(plan.flow),
                args=[raw_value(raw), raw_value(encode(options))],
                result_type=RawValue,
                id=f"{self._call}/{where}",
            )
        except ChildWorkflowError as error:
            return _outcome_of_error(error, plan.flow)
        return outcome_of_value(given, plan.flow)

    def _path(self, where: str) -> str:
        """The path that the step's task and people see, without parts."""
        return path_in(self._plan, self._options, where)

    async def _wait_for_room(self, size: int) -> None:
        """Waits for the next workflow task if this one cannot send so many more bytes."""
        while True:
            task = workflow.info().get_current_history_length()
            if task != self._task:
                self._task, self._sent = task, 0
            if self._sent == 0 or self._sent + size <= _AT_ONCE:
                self._sent += size
                return
            await workflow.sleep(0.001)
