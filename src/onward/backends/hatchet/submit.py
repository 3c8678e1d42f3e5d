"""Starts runs of plans: chooses their workflow, labels and priority."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from hatchet_sdk.contracts.v1.shared.trigger_pb2 import DesiredWorkerLabels, TriggerWorkflowRequest
from msgspec import Struct
from returns.result import Failure, Result, Success

from onward.backend.support import step_name
from onward.backends.hatchet import marks, names
from onward.backends.hatchet.client import Client
from onward.backends.hatchet.errors import RpcError, is_too_large, is_unknown_name, with_retries
from onward.backends.hatchet.message import MARGIN, RunInput, encode, size_of, too_large
from onward.backends.hatchet.reader import Reader
from onward.backends.hatchet.run_batches import RunBatches
from onward.fault import Fault, Unknown
from onward.limit import StepLimit
from onward.plan import FusedNode, NamedNode, Plan, Runnable, StepNode

_MISSING = 0.2
"""The pause before an undeclared workflow is tried again, in seconds."""

_APPEARS = 0.25
"""How long a run that another worker is starting may take to appear, in seconds."""


class Place(Struct, frozen=True):
    """The place that an attempt at a step, or a call, needs in a limit.

    Args:
        limit: The limit.
        key: The limit's key; empty without one.
        of_call: Whether a call needs it, and not an attempt at a step.
    """

    limit: StepLimit
    key: str
    of_call: bool = False

    @property
    def marks(self) -> dict[str, str]:
        """The metadata by which the engine knows it."""
        return {marks.POOL: self.limit.pool(self.key), marks.LIMIT_KEY: f"key {self.key}"}


class Submitter:
    """Starts runs.

    Args:
        client: The connection.
        reader: Reads runs.
        prefix: The prefix of the workflows' names.
        queue: The queue of steps that name none.
    """

    def __init__(self, client: Client, reader: Reader, prefix: str, queue: str) -> None:
        self._client = client
        self._reader = reader
        self._prefix = prefix
        self._queue = queue
        self._batches = RunBatches(client, reader)
        self._declared: set[str] = set()
        self._missing: dict[str, float] = {}
        self._checking: dict[str, asyncio.Future[bool]] = {}

    async def start(
        self,
        plan: Plan,
        run_input: RunInput,
        key: str,
        *,
        parent: str | None = None,
        workflow: str | None = None,
        place: Place | None = None,
        patience: float,
    ) -> Result[str, Fault]:
        """Starts a run of a plan.

        Args:
            plan: The plan.
            run_input: The run's input.
            key: The run's idempotency key.
            parent: The task that starts it, if it is a part of another run.
            workflow: The workflow of the run; None to choose it by the plan.
            place: The place that it needs in a limit.
            patience: How long to retry while the engine is away, in seconds.

        Returns:
            The run's id, or the id of the existing run with this key; `Unknown` if no worker has
            ever declared its task.
        """
        text = encode(run_input)
        size = size_of(text)
        request = TriggerWorkflowRequest(
            input=text,
            additional_metadata=marks.of_run(
                plan,
                run_input,
                key,
                self._prefix,
                is_part=parent is not None,
                place={} if place is None else place.marks,
            ),
            priority=priority_of(plan),
            desired_worker_labels=self._labels(
                plan, is_part=bool(run_input.call), is_limited=place is not None
            ),
        )
        if parent is not None:
            request.parent_task_run_external_id = parent
            request.child_index = 0
        try:
            limit = await self._limit_for(size, patience)
            if size > limit:
                return Failure(too_large(plan.flow, _sent(plan), size, limit))
            # A call that continues another one goes by the evaluator, which knows what has run.
            # So does one whose only step has a limit, because that gives a place for each attempt.
            is_evaluated = plan.past is not None or _is_limited(plan)
            is_flow = run_input.start or (is_evaluated and not run_input.call)
            others = [names.FLOW] if is_flow else workflows_of(plan)
            full = [names.workflow(name, self._prefix) for name in others]
            if workflow is not None:
                full = [names.workflow(workflow, self._prefix)]
            if place is not None:
                name = place.limit.name
                full = [names.limit(name, self._prefix, of_calls=place.of_call)]
            for name in full:
                id = await self._started(name, request, patience)
                if id is not None:
                    return Success(id)
        except RpcError as problem:
            if is_too_large(problem):
                limit = await self._limit_for(size, patience)
                return Failure(too_large(plan.flow, _sent(plan), size, limit))
            return Failure(self._client.fault(problem, plan.flow))
        return Failure(undeclared(plan))

    async def schedule(
        self, plan: Plan, run_input: RunInput, key: str, *, workflow: str, at: float
    ) -> None:
        """Has the engine start a run of a plan at a moment.

        Args:
            plan: The plan.
            run_input: The run's input.
            key: The run's idempotency key.
            workflow: The workflow of the run.
            at: The moment, in seconds since 1970.

        Raises:
            RpcError: If the engine refuses it, or is away.
        """
        name = names.workflow(workflow, self._prefix)
        metadata = marks.of_run(plan, run_input, key, self._prefix, is_part=False)
        await self._client.schedule(name, at, encode(run_input), metadata)

    async def _started(
        self, name: str, request: TriggerWorkflowRequest, patience: float
    ) -> str | None:
        """Starts a run of a workflow; returns None if no worker has declared the workflow."""
        if self._missing.get(name, 0.0) > time.monotonic():
            return None
        request = TriggerWorkflowRequest.FromString(request.SerializeToString())
        request.name = name
        try:
            id = await self._batches.send(request, patience)
        except RpcError as problem:
            if is_unknown_name(problem):
                return None
            raise
        if name in self._declared:
            return id
        # For an undeclared workflow the engine returns an id, but starts no run.
        checking = self._checking.get(name)
        if checking is None:
            checking = self._checking[name] = asyncio.ensure_future(self._is_there(id, patience))
            checking.add_done_callback(lambda _: self._checking.pop(name))
        found = await asyncio.shield(checking)
        is_part = request.HasField("parent_task_run_external_id")
        if not found and is_part:
            # If a worker died while it started this run, the engine knows the key but has no run.
            # So this does not prove that the workflow is undeclared.
            await asyncio.sleep(_APPEARS)
            found = await self._is_there(id, patience)
        if found:
            self._declared.add(name)
            return id
        if not is_part:
            self._missing[name] = time.monotonic() + _MISSING
        return None

    async def _is_there(self, id: str, patience: float) -> bool:
        """Whether a run exists; retries while the engine is away."""
        return await with_retries(lambda: self._reader.is_there(id), patience)

    async def _limit_for(self, size: int, patience: float) -> int:
        """Returns how many bytes an input may have."""
        whole = size + MARGIN
        return await with_retries(lambda: self._client.limit_for(whole), patience) - MARGIN

    def _labels(
        self, plan: Plan, *, is_part: bool, is_limited: bool
    ) -> Mapping[str, DesiredWorkerLabels]:
        is_evaluated = plan.past is not None or _is_limited(plan)
        if not isinstance(plan.root, Runnable) or (is_evaluated and not is_part):
            return {}  # the workflow of a flow has the label
        labels = {label(plan.root.queue or plan.queue or self._queue): required()}
        if is_limited and isinstance(plan.root, StepNode):
            labels[task_label(plan.root.task)] = required()
        return labels


def _sent(plan: Plan) -> str:
    return (
        "its arguments" if plan.past is None else "the outcomes that it takes over, all together,"
    )


def workflows_of(plan: Plan) -> list[str]:
    """Returns the workflows that can run a plan, the most specific one first."""
    match plan.root:
        case StepNode(task=name):
            return [name]
        case FusedNode():
            return [names.FUSED]
        case NamedNode(name, limit=None) if names.is_allowed(name) and plan.queue is None:
            return [name, names.FLOW]
        case _:
            return [names.FLOW]


def label(queue: str) -> str:
    """Returns the label of workers that serve a queue."""
    return f"queue:{queue}"


def task_label(task: str) -> str:
    """Returns the label of workers that serve a task, for steps with a limit."""
    return f"task:{task.lower()}"


def _is_limited(plan: Plan) -> bool:
    return isinstance(plan.root, Runnable) and plan.root.limit is not None


def required() -> DesiredWorkerLabels:
    """Returns the requirement that a worker has a label."""
    return DesiredWorkerLabels(str_value="yes", required=True)


def undeclared(plan: Plan) -> Unknown:
    """The fault for a task that no worker has declared."""
    return Unknown(
        step_name(plan.root, plan.flow),
        "no worker has declared it to Hatchet: start one that serves it, then submit again",
    )


def priority_of(plan: Plan) -> int | None:
    """Converts a plan's priority to Hatchet's, which has three levels instead of ten."""
    priority = plan.priority
    if isinstance(plan.root, Runnable) and plan.root.priority is not None:
        priority = plan.root.priority
    if priority is None:
        return None
    return 1 if priority < 4 else 2 if priority < 7 else 3
