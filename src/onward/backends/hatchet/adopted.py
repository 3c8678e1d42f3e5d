"""Runs workflows and tasks that exist on Hatchet without Onward."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
from hatchet_sdk.contracts.v1.shared.trigger_pb2 import TriggerWorkflowRequest
from hatchet_sdk.contracts.v1.workflows_pb2 import GetRunDetailsResponse, RunStatus
from msgspec import Raw
from returns.result import Failure

from onward.backend.outside import Outside, RunsTasks, failed
from onward.backends.hatchet import names
from onward.backends.hatchet.backend import HatchetBackend
from onward.backends.hatchet.connection import Connection
from onward.backends.hatchet.runs import list_runs

_MARK = "onward_attempt"
"""The entry of a run's metadata with the attempt at the step that started it."""

_SHORTEST, _LONGEST, _GROWTH = 0.02, 1.0, 1.3
"""The pause between two looks at a run, in seconds."""

_MISSING = 30.0
"""How long the engine may not know a run that it has just started, in seconds."""

_PAST = timedelta(days=1)
"""How long ago a worker that died may have started a run."""


@dataclass(frozen=True, slots=True)
class Workflows:
    """Runs workflows.

    Args:
        connection: The connection to the engine.
    """

    connection: Connection

    async def run(self, asked: Outside, /) -> bytes:
        """See `RunsTasks.run`."""
        id = await self._found(asked) or await self._start(asked)
        until, pause = time.monotonic() + _MISSING, _SHORTEST
        while True:
            details = await self.connection.client.details(id)
            if details is not None and details.done:
                return _value(details)
            if details is None and time.monotonic() > until:
                raise failed(
                    "hatchet",
                    "Undeclared",
                    f"no worker has declared {asked.name!r} to Hatchet: start one that serves it",
                )
            await asyncio.sleep(pause)
            pause = min(_LONGEST, pause * _GROWTH)

    async def cancel(self, asked: Outside, /) -> None:
        """See `RunsTasks.cancel`."""
        id = await self._found(asked)
        if id is not None:
            await self.connection.client.cancel([id])

    async def _start(self, asked: Outside) -> str:
        given = {name: Raw(raw) for name, raw in asked.kwargs.items()}
        return await self.connection.client.trigger(
            TriggerWorkflowRequest(
                name=names.workflow(asked.name, self.connection.settings.prefix),
                input=msgspec.json.encode(given).decode(),
                additional_metadata=msgspec.json.encode({_MARK: asked.id}).decode(),
            )
        )

    async def _found(self, asked: Outside) -> str | None:
        """The run that was started before for this attempt, if the engine lists it."""
        since = datetime.now(UTC) - _PAST
        tenant = self.connection.settings.tenant
        found = await list_runs(
            self.connection.http, tenant, [f"{_MARK}:{asked.id}"], since=since, limit=1
        )
        if isinstance(found, Failure):
            raise failed("hatchet", type(found.failure()).__name__, str(found.failure()))
        rows = found.unwrap().rows
        return rows[0].id if rows else None


@asynccontextmanager
async def workflows(on: HatchetBackend) -> AsyncGenerator[RunsTasks]:
    """A connection that runs workflows; closes it at the end."""
    connection = Connection(on.settings)
    try:
        yield Workflows(connection)
    finally:
        await connection.close()


def _value(details: GetRunDetailsResponse) -> bytes:
    """The output of a run's only task, or of all its tasks by their names."""
    tasks = details.task_runs
    for name, task in tasks.items():
        if task.status == RunStatus.FAILED:
            raise failed("hatchet", "Failed", f"{name}: {task.error or 'it gives no reason'}")
        if task.status == RunStatus.CANCELLED:
            raise failed("hatchet", "Cancelled", f"{name}: it was cancelled")
    outputs = {name: Raw(task.output or b"null") for name, task in tasks.items()}
    [only] = outputs.values() if len(outputs) == 1 else [outputs]
    return msgspec.json.encode(only)
