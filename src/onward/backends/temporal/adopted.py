"""Runs workflows and activities that exist on Temporal without Onward."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from temporalio.client import ActivityFailureError, Client, WorkflowFailureError
from temporalio.common import (
    ActivityIDConflictPolicy,
    ActivityIDReusePolicy,
    RawValue,
    RetryPolicy,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import (
    ActivityAlreadyStartedError,
    ApplicationError,
    WorkflowAlreadyStartedError,
)

from onward.backend.outside import Outside, RunsTasks, failed
from onward.backends.temporal.backend import TemporalBackend
from onward.backends.temporal.client import Connection
from onward.backends.temporal.converter import raw_value


@dataclass(frozen=True, slots=True)
class Workflows:
    """Runs workflows.

    Args:
        client: The SDK's client.
        task_queue: The task queue of the workers that serve them.
    """

    client: Client
    task_queue: str

    async def run(self, asked: Outside, /) -> bytes:
        """See `RunsTasks.run`."""
        try:
            handle = await self.client.start_workflow(
                asked.name,
                args=list(map(raw_value, asked.args)),
                id=asked.id,
                task_queue=self.task_queue,
                result_type=RawValue,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            )
        except WorkflowAlreadyStartedError:  # and it has ended
            handle = self.client.get_workflow_handle(asked.id, result_type=RawValue)
        try:
            found: RawValue = await handle.result()
        except WorkflowFailureError as problem:
            raise _error(problem) from problem
        return bytes(found.payload.data)

    async def cancel(self, asked: Outside, /) -> None:
        """See `RunsTasks.cancel`."""
        await self.client.get_workflow_handle(asked.id).cancel()


@dataclass(frozen=True, slots=True)
class Activities:
    """Runs activities, each by itself. The server must be able to do that.

    Args:
        client: The SDK's client.
        task_queue: The task queue of the workers that serve them.
        longest: How long one may take.
    """

    client: Client
    task_queue: str
    longest: timedelta

    async def run(self, asked: Outside, /) -> bytes:
        """See `RunsTasks.run`."""
        try:
            handle = await self.client.start_activity(
                asked.name,
                args=list(map(raw_value, asked.args)),
                id=asked.id,
                task_queue=self.task_queue,
                result_type=RawValue,
                start_to_close_timeout=self.longest,
                retry_policy=RetryPolicy(maximum_attempts=1),  # Onward makes the attempts
                id_reuse_policy=ActivityIDReusePolicy.REJECT_DUPLICATE,
                id_conflict_policy=ActivityIDConflictPolicy.USE_EXISTING,
            )
        except ActivityAlreadyStartedError:
            handle = self.client.get_activity_handle(asked.id, result_type=RawValue)
        try:
            found: RawValue = await handle.result()
        except ActivityFailureError as problem:
            raise _error(problem) from problem
        return bytes(found.payload.data)

    async def cancel(self, asked: Outside, /) -> None:
        """See `RunsTasks.cancel`."""
        await self.client.get_activity_handle(asked.id).cancel()


@asynccontextmanager
async def workflows(on: TemporalBackend, task_queue: str) -> AsyncGenerator[RunsTasks]:
    """A connection that runs workflows; closes it at the end."""
    yield Workflows(await Connection(on.address).client(), task_queue)


@asynccontextmanager
async def activities(
    on: TemporalBackend, task_queue: str, longest: float
) -> AsyncGenerator[RunsTasks]:
    """A connection that runs activities, each for so many seconds at most."""
    client = await Connection(on.address).client()
    yield Activities(client, task_queue, timedelta(seconds=longest))


def _error(problem: WorkflowFailureError | ActivityFailureError) -> Exception:
    cause: BaseException = problem.cause
    while not isinstance(cause, ApplicationError) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, ApplicationError):
        return failed("temporal", cause.type or "ApplicationError", cause.message)
    return failed("temporal", type(cause).__name__, str(cause))
