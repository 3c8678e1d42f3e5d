"""The runs, tasks and workers of the double."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hatchet_sdk.contracts.dispatcher_pb2 import AssignedAction, WorkerRegisterRequest
from hatchet_sdk.contracts.v1.shared.trigger_pb2 import TriggerWorkflowRequest
from hatchet_sdk.contracts.v1.workflows_pb2 import (
    CreateTaskOpts,
    CreateWorkflowVersionRequest,
    RunStatus,
)

Output = dict[str, Any]


@dataclass(eq=False)
class Task:
    """A task of a run."""

    run: Run
    spec: CreateTaskOpts
    id: str
    number: int
    status: Any = None
    """None until the task's parents are done."""
    worker: Worker | None = None
    retries: int = 0
    output: Output | None = None
    error: str = ""
    has_slot: bool = False
    events: list[TaskEvent] = field(default_factory=list)

    def note(self, kind: str) -> None:
        """Notes an event of the task."""
        self.events.append(TaskEvent(kind, self.retries))

    @property
    def is_over(self) -> bool:
        return self.status in (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED)

    @property
    def is_skipping(self) -> bool:
        return self.status == RunStatus.COMPLETED and bool((self.output or {}).get("skipped"))


@dataclass(eq=False)
class Run:
    """A run of a workflow."""

    id: str
    workflow: CreateWorkflowVersionRequest
    version: str
    request: TriggerWorkflowRequest
    input: Output
    marks: dict[str, str]
    tasks: dict[str, Task] = field(default_factory=dict)
    created: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def status(self) -> str:
        """Its state, as the HTTP API shows it."""
        statuses = [RunStatus.Name(task.status or RunStatus.QUEUED) for task in self.tasks.values()]
        for status in ("RUNNING", "EVICTED", "QUEUED", "FAILED", "CANCELLED"):
            if status in statuses:
                is_begun = status == "QUEUED" and "COMPLETED" in statuses
                return "RUNNING" if status == "EVICTED" or is_begun else status
        return "COMPLETED"

    @property
    def is_over(self) -> bool:
        return all(task.is_over for task in self.tasks.values())


@dataclass(frozen=True)
class TaskEvent:
    """What happened to a task, for the HTTP API."""

    kind: str
    retries: int
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(eq=False)
class Worker:
    """A worker, and the actions that are sent to it."""

    id: str
    request: WorkerRegisterRequest
    used: dict[str, int] = field(default_factory=dict)
    stream: asyncio.Queue[AssignedAction] | None = None
    is_paused: bool = False

    def takes(self, task: Task) -> bool:
        wanted = {**task.spec.worker_labels, **task.run.request.desired_worker_labels}
        return (
            self.stream is not None
            and not self.is_paused
            and task.spec.action in self.request.actions
            and all(
                self.request.labels[name].str_value == label.str_value
                for name, label in wanted.items()
            )
            and all(
                self.used.get(slot, 0) + count <= self.request.slot_config[slot]
                for slot, count in task.spec.slot_requests.items()
            )
        )
