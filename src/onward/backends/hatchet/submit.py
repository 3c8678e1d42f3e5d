"""Starting runs of plans: their workflow, input, labels and priority."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import msgspec
from hatchet_sdk.contracts.v1.shared.trigger_pb2 import DesiredWorkerLabels, TriggerWorkflowRequest
from msgspec import Struct
from returns.result import Failure, Result, Success

from onward.backend.support import step_name
from onward.backends.hatchet import names
from onward.backends.hatchet.batches import Batches
from onward.backends.hatchet.client import Client
from onward.backends.hatchet.errors import Problem, is_too_large, is_unknown_name, patiently
from onward.backends.hatchet.message import DUE, KEY, MARGIN, RunInput, size_of, too_large, write
from onward.backends.hatchet.reader import Reader
from onward.fault import Fault, Unknown
from onward.plan import FusedNode, NamedNode, Plan, Runnable, StepNode

_MISSING = 0.2
"""How long an undeclared workflow is not tried again, in seconds."""

_APPEARS = 0.25
"""How long a run that another worker is starting may take to appear, in seconds."""


class Parent(Struct, frozen=True):
    """The run that starts another run.

    Args:
        task: The id of the engine's task that starts it.
        place: The place of the run within that task; the engine starts one run for each place.
    """

    task: str
    place: str


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
        self._batches = Batches(client, reader)
        self._declared: set[str] = set()
        self._missing: dict[str, float] = {}
        self._checking: dict[str, asyncio.Future[bool]] = {}

    async def start(
        self,
        plan: Plan,
        run_input: RunInput,
        key: str,
        *,
        parent: Parent | None = None,
        workflow: str | None = None,
        patience: float,
    ) -> Result[str, Fault]:
        """Starts a run of a plan, in its own workflow if there is one.

        Args:
            plan: The plan.
            run_input: Its input.
            key: Its idempotency key; for a key that exists, the id of that run comes back.
            parent: What starts it, if it is part of another run.
            workflow: The workflow to run it in, if not the plan's own.
            patience: How long to try while the engine is away, in seconds.

        Returns:
            Its id; `Unknown` if no worker has ever declared its task.
        """
        text = write(run_input)
        size = size_of(text)
        request = TriggerWorkflowRequest(
            input=text,
            additional_metadata=msgspec.json.encode(self._metadata(plan, key)).decode(),
            priority=priority_of(plan),
            desired_worker_labels=self._labels(plan),
        )
        if parent is not None:
            request.parent_task_run_external_id = parent.task
            request.child_index = 0
            request.child_key = parent.place
        try:
            limit = await self._limit_for(size, patience)
            if size > limit:
                return Failure(too_large(plan.flow, "its arguments", size, limit))
            others = [names.FLOW] if run_input.start else workflows_of(plan)
            for name in others if workflow is None else [workflow]:
                id = await self._started(names.workflow(name, self._prefix), request, patience)
                if id is not None:
                    return Success(id)
        except Problem as problem:
            if is_too_large(problem):
                limit = await self._limit_for(size, patience)
                return Failure(too_large(plan.flow, "its arguments", size, limit))
            return Failure(self._client.fault(problem, plan.flow))
        return Failure(undeclared(plan))

    async def _started(
        self, name: str, request: TriggerWorkflowRequest, patience: float
    ) -> str | None:
        """Starts a run of a workflow; None if no worker has declared it."""
        if self._missing.get(name, 0.0) > time.monotonic():
            return None
        request = TriggerWorkflowRequest.FromString(request.SerializeToString())
        request.name = name
        try:
            id = await self._batches.send(request, patience)
        except Problem as problem:
            if is_unknown_name(problem):
                return None
            raise
        if name in self._declared:
            return id
        # For an undeclared workflow the engine gives an id, but there is no run.
        checking = self._checking.get(name)
        if checking is None:
            checking = self._checking[name] = asyncio.ensure_future(self._is_there(id, patience))
            checking.add_done_callback(lambda _: self._checking.pop(name))
        found = await asyncio.shield(checking)
        is_part = request.HasField("parent_task_run_external_id")
        if not found and is_part:
            # There is none either for a place whose start a dying worker broke off. That says
            # nothing about the workflow or other places.
            await asyncio.sleep(_APPEARS)
            found = await self._is_there(id, patience)
        if found:
            self._declared.add(name)
            return id
        if not is_part:
            self._missing[name] = time.monotonic() + _MISSING
        return None

    async def _is_there(self, id: str, patience: float) -> bool:
        """Whether a run exists; the engine may have started it just before it went away."""
        return await patiently(lambda: self._reader.is_there(id), patience)

    async def _limit_for(self, size: int, patience: float) -> int:
        """How many bytes an input may have."""
        whole = size + MARGIN
        return await patiently(lambda: self._client.limit_for(whole), patience) - MARGIN

    def _metadata(self, plan: Plan, key: str) -> dict[str, str]:
        """The metadata by which people find a run, and the engine knows a key."""
        # A key is one for all workflows.
        metadata = {KEY: f"{self._prefix}{key}", DUE: "", "flow": plan.flow[:200]}
        return metadata if plan.key is None else metadata | {"key": plan.key}

    def _labels(self, plan: Plan) -> Mapping[str, DesiredWorkerLabels]:
        if not isinstance(plan.root, Runnable):
            return {}  # the workflow of a flow has it
        return {label(plan.root.queue or plan.queue or self._queue): required()}


def workflows_of(plan: Plan) -> list[str]:
    """The workflows that can run a plan, the most specific first."""
    match plan.root:
        case StepNode(task=name):
            return [name]
        case FusedNode():
            return [names.FUSED]
        case NamedNode(name) if names.is_allowed(name) and plan.queue is None:
            return [name, names.FLOW]
        case _:
            return [names.FLOW]


def label(queue: str) -> str:
    """The label of a worker that serves a queue."""
    return f"queue:{queue}"


def required() -> DesiredWorkerLabels:
    """The requirement that a worker has a label."""
    return DesiredWorkerLabels(str_value="yes", required=True)


def undeclared(plan: Plan) -> Unknown:
    """The fault of a task that no worker has declared."""
    return Unknown(
        step_name(plan.root, plan.flow),
        "no worker has declared it to Hatchet: start one that serves it, then submit again",
    )


def priority_of(plan: Plan) -> int | None:
    """Its priority on Hatchet, which has three levels where Onward has ten."""
    priority = plan.priority
    if isinstance(plan.root, Runnable) and plan.root.priority is not None:
        priority = plan.root.priority
    if priority is None:
        return None
    return 1 if priority < 4 else 2 if priority < 7 else 3
