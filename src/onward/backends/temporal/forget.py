"""Deletes calls: their workflows with all parts, and what holds the key of a unique call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    DeleteActivityExecutionRequest,
    DeleteWorkflowExecutionRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from onward.backend.support import not_ended
from onward.backends.temporal.client import PROMPT
from onward.backends.temporal.message import SINGLE
from onward.backends.temporal.unique_lookup import described
from onward.backends.temporal.unique_message import holder_of
from onward.backends.temporal.wait import has_ended
from onward.fault import Conflict

_LOOKS = 600
_PAUSE = 0.1
"""How often it is looked whether something is deleted, and the pause between, in seconds.

A server may take half a minute to delete a workflow that has just ended.
"""


class _Run(NamedTuple):
    """A run of a workflow."""

    workflow: str
    id: str


async def forget(client: Client, id: str) -> Conflict | None:
    """Deletes a call that has ended; raises RPCError.

    Returns:
        Why it was not deleted; None if it was.
    """
    if not await has_ended(client, id):
        return not_ended(id)
    if id.startswith(SINGLE):
        await client.workflow_service.delete_activity_execution(
            DeleteActivityExecutionRequest(namespace=client.namespace, activity_id=id),
            timeout=PROMPT,
        )
        await _until(partial(_is_single_gone, client, id))
        return None
    runs = await _runs(client, id)
    for run in runs:
        await _delete(client, run)
    await asyncio.gather(*(_until(partial(_is_gone, client, run)) for run in runs))
    return None


async def _runs(client: Client, id: str) -> list[_Run]:
    """What has to be deleted: the parts of a call first, so that it can be done again."""
    runs: list[_Run] = []
    holder = holder_of(id)
    if holder is not None:  # its runs have plans of calls of this key
        query = f"WorkflowId = '{holder}' AND ExecutionStatus != 'Running'"
        ended = client.list_workflows(query, rpc_timeout=PROMPT)
        runs += [_Run(holder, each.run_id) async for each in ended]
    todo = [id]
    while todo:
        workflow = todo.pop()
        found = await described(client, workflow)
        if found is None:
            continue
        runs.insert(0, _Run(workflow, found.run_id))
        handle = client.get_workflow_handle(workflow, run_id=found.run_id)
        async for event in handle.fetch_history_events():
            part = event.start_child_workflow_execution_initiated_event_attributes.workflow_id
            if part:
                todo.append(part)
    return runs


async def _delete(client: Client, run: _Run) -> None:
    request = DeleteWorkflowExecutionRequest(
        namespace=client.namespace,
        workflow_execution=WorkflowExecution(workflow_id=run.workflow, run_id=run.id),
    )
    try:
        await client.workflow_service.delete_workflow_execution(request, timeout=PROMPT)
    except RPCError as problem:
        if problem.status != RPCStatusCode.NOT_FOUND:  # it is deleted already
            raise


async def _until(is_gone: Callable[[], Awaitable[bool]]) -> None:
    """Waits until the server has done what it has accepted."""
    for _ in range(_LOOKS):
        if await is_gone():
            return
        await asyncio.sleep(_PAUSE)
    message = "it has accepted to delete the call, and has not done so yet"
    raise RPCError(message, RPCStatusCode.DEADLINE_EXCEEDED, b"")


async def _is_gone(client: Client, run: _Run) -> bool:
    if await described(client, run.workflow, run.id) is not None:
        return False
    latest = await described(client, run.workflow)
    return latest is None or latest.run_id != run.id


async def _is_single_gone(client: Client, id: str) -> bool:
    try:
        await client.get_activity_handle(id).describe(rpc_timeout=PROMPT)
    except RPCError as problem:
        if problem.status != RPCStatusCode.NOT_FOUND:
            raise
        return True
    return False
