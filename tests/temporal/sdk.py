"""Temporal's own client, to see what Onward left there, and to do what others might."""

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

    def ask(self, question: Callable[[Client], Awaitable[T]]) -> T:
        """What the server answers; raises what the client does."""

        async def asked() -> T:
            if self._client is None:
                self._client = await Client.connect(self._target)
            return await question(self._client)

        return self._thread.call(asked)

    def describe(self, id: str) -> WorkflowExecutionDescription:
        """What the server says of a workflow."""
        return self.ask(lambda client: client.get_workflow_handle(id).describe())

    def cancel(self, id: str) -> None:
        """Asks a workflow to end, as an operator can."""
        self.ask(lambda client: client.get_workflow_handle(id).cancel())

    def history(self, id: str) -> WorkflowHistory:
        """What happened in a workflow."""
        return self.ask(lambda client: client.get_workflow_handle(id).fetch_history())

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
        """Ends its thread."""
        self._thread.close()
