"""How a step gets a place of its limit: in its workflow, and in the worker that runs it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import RawValue, RetryPolicy, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import FailureError
from temporalio.service import RPCError, RPCStatusCode

from onward.backend.limiter import Saved, margin
from onward.backend.support import step_context
from onward.backends.temporal import limit_message as messages
from onward.backends.temporal.client import PROMPT
from onward.backends.temporal.converter import raw_value
from onward.backends.temporal.errors import failure
from onward.backends.temporal.limit_message import Asked, holder_of, limiter_id, token_of
from onward.backends.temporal.message import WAITING, StepMessage, WaitNote, args_of, decode_step
from onward.catalog import Tasks
from onward.execute import limit_key, report_outcome
from onward.limit import StepLimit
from onward.outcome import Faulted
from onward.plan import Args

CALL = token_of("", 1)
"""What names a call as a whole within its workflow."""

WHOLE_CALL = b"null"
"""Stands in place of a step's message, if a call as a whole asks."""


class WaitingSteps:
    """The steps of a workflow that wait for places, and the places that came."""

    def __init__(self) -> None:
        self._came: set[str] = set()

    def receive(self, args: Sequence[RawValue]) -> None:
        """Takes a place."""
        for each in args:
            self._came.add(messages.decode(each.payload.data, str))

    async def wait(self, token: str, limit: str) -> None:
        """Waits for the place of an attempt, and says so in the workflow's memo."""
        if token not in self._came:
            path, _, attempt = token.rpartition("#")
            workflow.upsert_memo({WAITING: WaitNote(path=path, limit=limit, attempt=int(attempt))})
        await workflow.wait_condition(lambda: token in self._came)
        self._came.discard(token)


async def ask(args: list[RawValue], queue: str | None, id: str) -> str:
    """Has a worker ask for a place, because it has the key of the limit; gives the pool.

    Args:
        args: The step's values and its message.
        queue: The queue of the step.
        id: The id of the activity.

    Raises:
        ActivityError: If there is no key for these values.
    """
    given: RawValue = await workflow.execute_activity(
        messages.TYPE,
        args=args,
        result_type=RawValue,
        task_queue=queue,
        activity_id=id,
        start_to_close_timeout=timedelta(seconds=30),
        retry_policy=RetryPolicy(maximum_interval=timedelta(seconds=10)),
    )
    return messages.decode(given.payload.data, str)


async def enter(limit: StepLimit, key: str, waiting: WaitingSteps) -> None:
    """Waits until the limit of a flow's calls has a place for this one."""
    asked = Asked(holder_of(CALL, workflow.info().workflow_id), limit, key)
    sent = [raw_value(messages.encode(asked)), raw_value(WHOLE_CALL)]
    await ask(sent, None, messages.ASKING)
    await waiting.wait(CALL, limit.name)
    if limit.rate is not None:
        await _tell(messages.BEGIN, limit.pool(key), CALL)


async def leave(pool: str, token: str) -> None:
    """Gives a place back, or waits for it no longer."""
    await _tell(messages.LEAVE, pool, token)


async def _tell(signal: str, pool: str, token: str) -> None:
    limiter = workflow.get_external_workflow_handle(limiter_id(pool))
    holder = messages.encode(holder_of(token, workflow.info().workflow_id))
    with contextlib.suppress(FailureError):  # it has ended, as whatever waited for places has
        await limiter.signal(signal, args=[raw_value(holder)])


class PlaceKeeper:
    """What a worker does for the places of the steps that it runs.

    Args:
        client: The connection.
        tasks: The tasks that it serves.
        queue: The task queue of workflows.
    """

    def __init__(self, client: Client, tasks: Tasks, queue: str) -> None:
        self._client = client
        self._tasks = tasks
        self._queue = queue

    async def answer(self, args: Sequence[RawValue]) -> RawValue:
        """Asks for a place for a step; or, for a limit, says which calls have ended."""
        *values, last = [each.payload.data for each in args]
        if last == WHOLE_CALL:
            await self._start(messages.decode(values[0], Asked))
            return raw_value(messages.encode(""))
        if not last.startswith(b"["):
            message = decode_step(last)
            return raw_value(messages.encode(await self._ask(message, values)))
        holders = messages.decode(last, list[str])
        return raw_value(messages.encode([it for it in holders if await self._is_gone(it)]))

    async def _ask(self, message: StepMessage, values: Sequence[bytes]) -> str:
        limit = message.step.limit
        assert limit is not None  # the workflow asks for steps with a limit
        key = limit_key(message.step, args_of(values, message.keyword), self._tasks)
        if isinstance(key, Faulted):
            context = step_context(
                message.step,
                call=message.call,
                flow=message.flow,
                path=message.at,
                attempt=message.attempt,
                key=message.key,
                deadline=message.deadline,
                trace=message.trace,
                report=lambda progress: None,
            )
            report_outcome(self._tasks, context, key)
            raise failure(key)
        await self._start(Asked(_holder(message), limit, key))
        return limit.pool(key)

    async def _start(self, asked: Asked) -> None:
        """Sends a request to the workflow of its pool, and starts that if it does not run."""
        pool = asked.limit.pool(asked.key)
        await self._client.start_workflow(
            messages.TYPE,
            args=[raw_value(messages.encode(Saved(pool)))],
            id=limiter_id(pool),
            task_queue=self._queue,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            start_signal=messages.ASK,
            start_signal_args=[raw_value(messages.encode(asked))],
            rpc_timeout=PROMPT,
        )

    async def _is_gone(self, holder: str) -> bool:
        try:
            call = self._client.get_workflow_handle(messages.workflow_of(holder))
            described = await call.describe(rpc_timeout=PROMPT)
        except RPCError as problem:
            return problem.status == RPCStatusCode.NOT_FOUND
        return described.status != WorkflowExecutionStatus.RUNNING

    async def begin(self, message: StepMessage, limit: StepLimit, args: Args) -> None:
        """Says that an attempt begins, which counts for the limit's rate."""
        asked = -margin(limit.per)
        while limit.rate is not None and time.monotonic() - asked > margin(limit.per) / 2:
            asked = time.monotonic()
            await self._tell(messages.BEGIN, message, limit, args)

    async def leave(self, message: StepMessage, limit: StepLimit, args: Args) -> None:
        """Gives the place of a step back whose call has ended."""
        with contextlib.suppress(RPCError):  # the limit finds out by itself
            await self._tell(messages.LEAVE, message, limit, args)

    async def _tell(self, signal: str, message: StepMessage, limit: StepLimit, args: Args) -> None:
        key = limit_key(message.step, args, self._tasks)
        if isinstance(key, Faulted):
            return
        limiter = self._client.get_workflow_handle(limiter_id(limit.pool(key)))
        holder = messages.encode(_holder(message))
        try:
            await limiter.signal(signal, args=[raw_value(holder)], rpc_timeout=PROMPT)
        except RPCError as problem:
            if problem.status != RPCStatusCode.NOT_FOUND:
                raise


def _holder(message: StepMessage) -> str:
    return holder_of(token_of(message.at, message.attempt), activity.info().workflow_id or "")
