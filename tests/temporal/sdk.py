"""Temporal's own client, to inspect what Onward does, and to do what others might do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowHistory

from onward.backend.loop import LoopThread

T = TypeVar("T")


class Sdk:
    """One client, for callers that block."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._thread = LoopThread("sdk")
        self._client: Client | None = None

    def run(self, request: Callable[[Client], Awaitable[T]]) -> T:
        """Sends a request and returns the answer; raises the client's errors."""

        async def send() -> T:
            if self._client is None:
                self._client = await Client.connect(self._target)
            return await request(self._client)

        return self._thread.call(send)

    def describe(self, id: str) -> WorkflowExecutionDescription:
        """The server's description of a workflow."""
        return self.run(lambda client: client.get_workflow_handle(id).describe())

    def cancel(self, id: str) -> None:
        """Cancels a workflow, as an operator can."""
        self.run(lambda client: client.get_workflow_handle(id).cancel())

    def history(self, id: str, run: str = "") -> WorkflowHistory:
        """The history of a workflow, by default of its latest run."""
        return self.run(
            lambda client: client.get_workflow_handle(id, run_id=run or None).fetch_history()
        )

    def scheduled(self, id: str) -> list[HistoryEvent]:
        """The activities that a workflow scheduled, in order."""
        kind = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
        return [event for event in self.history(id).events if event.event_type == kind]

    def children(self, id: str) -> list[str]:
        """The ids of the workflows that a workflow started."""
        return [
            event.start_child_workflow_execution_initiated_event_attributes.workflow_id
            for event in self.history(id).events
            if event.HasField("start_child_workflow_execution_initiated_event_attributes")
        ]

    def close(self) -> None:
        """Ends the thread."""
        self._thread.close()
