"""Which workflows the double can run."""

from __future__ import annotations

from hatchet_sdk.contracts.v1.workflows_pb2 import CreateWorkflowVersionRequest

KEY = "additional_metadata.onward + additional_metadata.hatchet__cron_scheduled_at"
"""The only expression that the double can evaluate."""


class NotModelled(Exception):
    """The real engine can do this, but the double cannot."""


def refuse_unmodelled(request: CreateWorkflowVersionRequest) -> None:
    """Refuses a workflow that the double cannot run."""
    known = {"name", "description", "tasks", "default_priority", "idempotency"}
    of_task = {
        "readable_id",
        "action",
        "timeout",
        "parents",
        "retries",
        "worker_labels",
        "schedule_timeout",
        "slot_requests",
    }
    used = {each.name for each, _ in request.ListFields()} - known
    for task in request.tasks:
        used |= {each.name for each, _ in task.ListFields()} - of_task
    if used:
        raise NotModelled(f"workflow {request.name} has {sorted(used)}")
    if request.idempotency.expression != KEY:
        raise NotModelled(f"the key {request.idempotency.expression}")
