"""Reports to the engine which steps have started, many in one request; the dashboard shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from hatchet_sdk.contracts.dispatcher_pb2 import (
    STEP_EVENT_TYPE_STARTED,
    AssignedAction,
    BatchActionEvent,
    BatchActionEventItem,
)

from onward.backends.hatchet.action_events import event_of, now
from onward.backends.hatchet.client import Client
from onward.backends.hatchet.errors import RpcError

_GATHERS = 0.02
"""How long events are collected for one request, in seconds."""


class _Kind(NamedTuple):
    """The fields that all events of one request share."""

    worker: str
    job: str
    action: str


class StartedEvents:
    """Reports the steps that a worker has started.

    Args:
        client: The connection.
        spawn: Runs a coroutine in the background.
    """

    def __init__(
        self, client: Client, spawn: Callable[[Coroutine[Any, Any, None]], object]
    ) -> None:
        self._client = client
        self._spawn = spawn
        self._waiting: dict[_Kind, list[AssignedAction]] = {}
        self._takes_many = True

    def add(self, action: AssignedAction, worker: str) -> None:
        """Has a step soon reported as started."""
        kind = _Kind(worker, action.job_id, action.action_id)
        waiting = self._waiting.setdefault(kind, [])
        if not waiting:
            since = now()
            asyncio.get_running_loop().call_later(
                _GATHERS, lambda: self._spawn(self._report(kind, self._waiting.pop(kind), since))
            )
        waiting.append(action)

    async def _report(self, kind: _Kind, actions: list[AssignedAction], since: Timestamp) -> None:
        try:
            if self._takes_many:
                await self._together(kind, actions, since)
            else:
                await asyncio.gather(*(self._alone(kind, action, since) for action in actions))
        except RpcError as problem:
            if self._takes_many and problem.code() == grpc.StatusCode.UNIMPLEMENTED:
                self._takes_many = False  # an older engine
                await self._report(kind, actions, since)

    async def _together(self, kind: _Kind, actions: list[AssignedAction], since: Timestamp) -> None:
        await self._client.events(
            BatchActionEvent(
                worker_id=kind.worker,
                job_id=kind.job,
                action_id=kind.action,
                event_timestamp=since,
                event_type=STEP_EVENT_TYPE_STARTED,
                items=[
                    BatchActionEventItem(
                        task_run_external_id=action.task_run_external_id,
                        retry_count=action.retry_count,
                    )
                    for action in actions
                ],
            )
        )

    async def _alone(self, kind: _Kind, action: AssignedAction, since: Timestamp) -> None:
        event = event_of(action, kind.worker, STEP_EVENT_TYPE_STARTED, since)
        await self._client.event(event)
