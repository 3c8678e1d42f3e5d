"""Reports a worker's results to the engine, and returns steps that it does not finish."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math

from hatchet_sdk.contracts.dispatcher_pb2 import (
    STEP_EVENT_TYPE_COMPLETED,
    STEP_EVENT_TYPE_FAILED,
    AssignedAction,
    StepActionEventType,
)
from msgspec import Struct
from msgspec.structs import replace
from returns.result import Failure

from onward.backends.hatchet.action_events import event_of, now
from onward.backends.hatchet.connection import Connection
from onward.backends.hatchet.errors import (
    RpcError,
    is_temporary,
    message_sizes,
    text_of,
    with_retries,
)
from onward.backends.hatchet.message import (
    MARGIN,
    StepResult,
    encode,
    input_of,
    result_of,
    size_of,
    too_large,
)
from onward.fault import Fault, Unavailable
from onward.outcome import Outcome, Value, faulted
from onward.plan import Args, ChainNode, FusedNode, Plan

_PAUSE = 0.5
_PATIENCE = 600.0
"""How long storing a large value is retried while the engine is away, in seconds."""

_LOGGER = logging.getLogger("onward.hatchet")


class Share(Struct, frozen=True):
    """How many bytes the value of a DAG's step may have.

    The engine sends each step of a DAG the values of all steps before it, used or not, in one
    message. So the free space of that message is divided among the steps to come.

    Args:
        taken: How many bytes the step itself received.
        among: How many steps with successors have no value yet, including this one.
        queue: The queue of the step, if it names one.
    """

    taken: int
    among: int
    queue: str | None = None

    def most(self, limit: int) -> int:
        """Returns how many bytes the value may have, given the limit of a message."""
        return max(0, limit - self.taken) // max(1, self.among)


class Results:
    """Reports to the engine, and retries while the engine is away.

    Args:
        connection: The connections to the engine.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def send(
        self,
        action: AssignedAction,
        worker: str,
        done: StepResult,
        *,
        name: str,
        plan: Plan | None,
        share: Share | None,
    ) -> None:
        """Reports a result.

        Args:
            action: The assigned action.
            worker: The worker's id.
            done: The result.
            name: The name of the task or flow.
            plan: The plan of the step; None if it could not be decoded.
            share: How large the value may be, if the step of a DAG has successors.
        """
        done = await self._fitting(action, done, name, plan, share)
        try:
            await self._report(action, worker, _kind(done), encode(done))
            return
        except RpcError as problem:
            fault = self._refused(name, done, problem)
        _LOGGER.error("the result of %s cannot be reported to Hatchet: %s", action.action_id, fault)
        instead = _instead(done, fault)
        with contextlib.suppress(RpcError):  # the engine reassigns it after its lease
            await self._report(action, worker, STEP_EVENT_TYPE_FAILED, encode(instead))

    async def returned(self, action: AssignedAction, worker: str) -> None:
        """Returns a step to the engine. If this fails, the engine notices it by the lease."""
        text = "its worker stops, and returns it"
        with contextlib.suppress(RpcError):
            await self._report(action, worker, STEP_EVENT_TYPE_FAILED, text, is_final=False)

    async def _fitting(
        self,
        action: AssignedAction,
        done: StepResult,
        name: str,
        plan: Plan | None,
        share: Share | None,
    ) -> StepResult:
        """Reduces a result so that it fits into the engine's messages."""
        text = encode(done)
        size = len(text.encode())
        limit = await self._limit_for(size)
        if size > limit and done.last is not None and done.last.earlier:
            done = replace(done, last=replace(done.last, earlier=()))
            text = encode(done)
            size = len(text.encode())
        if size > limit:
            return _instead(done, too_large(name, "its value", size, limit))
        if share is None or plan is None or done.error or done.ends:
            return done
        if size_of(text) <= share.most(limit):
            return done
        return await self._kept(action, done, plan, share.queue)

    async def _limit_for(self, size: int) -> int:
        """Returns how many bytes an output may have."""
        client = self._connection.client
        try:
            return await with_retries(lambda: client.limit_for(size + MARGIN), math.inf) - MARGIN
        except RpcError:
            return size  # the engine itself will refuse it if it is too large

    async def _kept(
        self, action: AssignedAction, done: StepResult, plan: Plan, queue: str | None
    ) -> StepResult:
        """Stores a value as the input of another run, and returns a result that refers to it."""
        outcome: Outcome = done.read
        if not isinstance(outcome, Value):
            return done
        body = FusedNode(ChainNode(()), queue=queue)
        keeper = replace(plan, root=body, args=Args((outcome.raw,)))
        started = await self._connection.submitter.start(
            keeper,
            input_of(keeper, at=done.at),
            f"{action.workflow_run_id} {done.at} kept",
            parent=action.task_run_external_id,
            patience=_PATIENCE,
        )
        if isinstance(started, Failure):
            return _instead(done, started.failure())
        return StepResult(at=done.at, kept=started.unwrap())

    def _refused(self, name: str, done: StepResult, problem: RpcError) -> Fault:
        sizes = message_sizes(problem)
        if sizes is not None:
            return too_large(name, "its value", *sizes)
        return Unavailable(name, f"Hatchet does not accept its value: {text_of(problem)}")

    async def _report(
        self,
        action: AssignedAction,
        worker: str,
        kind: StepActionEventType,
        text: str,
        *,
        is_final: bool = True,
    ) -> None:
        event = event_of(action, worker, kind, now())
        event.event_payload = text
        event.should_not_retry = kind == STEP_EVENT_TYPE_FAILED and is_final
        while True:
            try:
                await self._connection.client.event(event)
                return
            except RpcError as problem:
                if not is_temporary(problem):
                    raise
            await asyncio.sleep(_PAUSE)


def _kind(done: StepResult) -> StepActionEventType:
    return STEP_EVENT_TYPE_FAILED if done.error else STEP_EVENT_TYPE_COMPLETED


def _instead(done: StepResult, fault: Fault) -> StepResult:
    return replace(result_of(faulted(fault), at=done.at, ends=done.ends), last=done.last)
