"""What the double's HTTP API shows of runs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from hatchet_sdk.contracts.v1.workflows_pb2 import RunStatus
from multidict import MultiMapping

from tests.hatchet.double.states import Run, Task


def details(run: Run) -> dict[str, Any]:
    """A run with its tasks."""
    return {
        "run": _row(run, has_payloads=True),
        "shape": [
            {"taskExternalId": task.id, "taskName": name} for name, task in run.tasks.items()
        ],
        "tasks": [_task(task) for task in run.tasks.values()],
    }


def listed(runs: Iterable[Run], query: MultiMapping[str]) -> dict[str, Any]:
    """A page of runs, the newest first."""
    found = [run for run in runs if _matches(run, query)]
    found.sort(key=lambda run: run.created, reverse=True)
    offset, limit = int(query["offset"]), int(query["limit"])
    has_payloads = query.get("include_payloads") == "true"
    return {
        "rows": [_row(run, has_payloads=has_payloads) for run in found[offset : offset + limit]],
        "pagination": {"num_pages": math.ceil(len(found) / limit)},
    }


def _matches(run: Run, query: MultiMapping[str]) -> bool:
    wanted = [entry.split(":", 1) for entry in query.getall("additional_metadata", [])]
    statuses = query.getall("statuses", [run.status])
    parent = query.get("parent_task_external_id")
    return (
        all(run.marks.get(name) == value for name, value in wanted)
        and run.status in statuses
        and run.created >= datetime.fromisoformat(query["since"])
        and ("until" not in query or run.created <= datetime.fromisoformat(query["until"]))
        and parent in (None, run.request.parent_task_run_external_id)
    )


def _row(run: Run, *, has_payloads: bool) -> dict[str, Any]:
    tasks = [_task(task) for task in run.tasks.values()]
    ended = [task["finishedAt"] for task in tasks if task["finishedAt"]]
    given = {"input": run.input} if len(tasks) == 1 else run.input
    return {
        "metadata": {"id": run.id, "createdAt": run.created.isoformat()},
        "status": run.status,
        "taskExternalId": tasks[0]["taskExternalId"],
        "startedAt": min((task["startedAt"] for task in tasks if task["startedAt"]), default=None),
        "finishedAt": max(ended) if len(ended) == len(tasks) else None,
        "errorMessage": next((task["errorMessage"] for task in tasks if task["errorMessage"]), ""),
        "additionalMetadata": run.marks,
        "input": given if has_payloads else {},
        "output": tasks[0]["output"] if has_payloads else {},
    }


def _task(task: Task) -> dict[str, Any]:
    over = (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED)
    status = "QUEUED" if task.status is None else RunStatus.Name(task.status)
    times = {event.kind: event.at.isoformat() for event in reversed(task.events)}
    last = task.events[-1].at.isoformat() if task.events else None
    return {
        "metadata": {"id": task.id, "createdAt": task.run.created.isoformat()},
        "taskExternalId": task.id,
        "status": "RUNNING" if status == "EVICTED" else status,
        "startedAt": times.get("STARTED"),
        "finishedAt": last if task.status in over else None,
        "output": task.output or {},
        "errorMessage": task.error,
    }
