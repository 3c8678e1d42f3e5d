"""Reporting a worker's results to the engine, and returning what it does not finish."""

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

from onward.backends.hatchet.client import event_of, now
from onward.backends.hatchet.connection import Connection
from onward.backends.hatchet.errors import Problem, is_away, patiently, said, sizes_said
from onward.backends.hatchet.message import (
    MARGIN,
    StepResult,
    input_of,
    result_of,
    size_of,
    too_large,
    write,
)
from onward.backends.hatchet.submit import Parent
from onward.fault import Fault, Unavailable
from onward.outcome import Outcome, Value, faulted
from onward.plan import Args, ChainNode, FusedNode, Plan

_PAUSE = 0.5
_PATIENCE = 600.0
"""How long to try to keep a value elsewhere while the engine is away, in seconds."""

_LOGGER = logging.getLogger("onward.hatchet")


class Share(Struct, frozen=True):
    """How many bytes the value of a DAG's step may have.

    The engine sends each step of a DAG the values of all steps before it, used or not, in one
    message. So the room left in that message is divided among the steps to come. A step never gives
    more than its part, and all values have room.

    Args:
        taken: How many bytes the step itself received.
        among: How many steps with successors have given no value yet, this one included.
        queue: The queue of the step, if it names one.
    """

    taken: int
    among: int
    queue: str | None = None

    def most(self, limit: int) -> int:
        """How many bytes its value may have."""
        return max(0, limit - self.taken) // max(1, self.among)


class Results:
    """Reports to the engine, and tries again while the engine is away.

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
            action: What the engine assigned.
            worker: The worker's id.
            done: The result.
            name: The task, or the flow.
            plan: The plan of the step; None if it could not be read.
            share: How large the value may be, for a step of a DAG that others follow.
        """
        done = await self._fitting(action, done, name, plan, share)
        try:
            await self._tell(action, worker, _kind(done), write(done))
            return
        except Problem as problem:
            fault = self._refused(name, done, problem)
        _LOGGER.error("the result of %s cannot be reported to Hatchet: %s", action.action_id, fault)
        instead = _instead(done, fault)
        with contextlib.suppress(Problem):  # the engine assigns it again after its lease
            await self._tell(action, worker, STEP_EVENT_TYPE_FAILED, write(instead))

    async def returned(self, action: AssignedAction, worker: str) -> None:
        """Returns a step, which the engine also notices by itself."""
        text = "its worker stops, and returns it"
        with contextlib.suppress(Problem):
            await self._tell(action, worker, STEP_EVENT_TYPE_FAILED, text, is_final=False)

    async def _fitting(
        self,
        action: AssignedAction,
        done: StepResult,
        name: str,
        plan: Plan | None,
        share: Share | None,
    ) -> StepResult:
        """The result, reduced until it fits the messages that the engine takes and sends."""
        text = write(done)
        size = len(text.encode())
        limit = await self._limit_for(size)
        if size > limit:
            return _instead(done, too_large(name, "its value", size, limit))
        if share is None or plan is None or done.error or done.ends:
            return done
        if size_of(text) <= share.most(limit):
            return done
        return await self._kept(action, done, plan, share.queue)

    async def _limit_for(self, size: int) -> int:
        """How many bytes an output may have."""
        client = self._connection.client
        try:
            return await patiently(lambda: client.limit_for(size + MARGIN), math.inf) - MARGIN
        except Problem:
            return size  # the engine says itself whether it is too large

    async def _kept(
        self, action: AssignedAction, done: StepResult, plan: Plan, queue: str | None
    ) -> StepResult:
        """Keeps a value as the input of a run of its own, which gives it back."""
        outcome: Outcome = done.read
        if not isinstance(outcome, Value):
            return done
        body = FusedNode(ChainNode(()), queue=queue)
        keeper = replace(plan, root=body, args=Args((outcome.raw,)))
        started = await self._connection.submitter.start(
            keeper,
            input_of(keeper, at=done.at),
            f"{action.workflow_run_id} {done.at} kept",
            parent=Parent(action.task_run_external_id, f"{done.at} kept"),
            patience=_PATIENCE,
        )
        if isinstance(started, Failure):
            return _instead(done, started.failure())
        return StepResult(at=done.at, kept=started.unwrap())

    def _refused(self, name: str, done: StepResult, problem: Problem) -> Fault:
        sizes = sizes_said(problem)
        if sizes is not None:
            return too_large(name, "its value", *sizes)
        return Unavailable(name, f"Hatchet does not take its value: {said(problem)}")

    async def _tell(
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
            except Problem as problem:
                if not is_away(problem):
                    raise
            await asyncio.sleep(_PAUSE)


def _kind(done: StepResult) -> StepActionEventType:
    return STEP_EVENT_TYPE_FAILED if done.error else STEP_EVENT_TYPE_COMPLETED


def _instead(done: StepResult, fault: Fault) -> StepResult:
    return replace(result_of(faulted(fault), at=done.at, ends=done.ends), last=done.last)
