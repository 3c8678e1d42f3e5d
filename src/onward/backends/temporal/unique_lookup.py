"""Finds calls that share a key where they have not begun: the key's holder knows them."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import NamedTuple

from msgspec import MsgspecError
from temporalio.client import (
    Client,
    WorkflowContinuedAsNewError,
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from onward.backends.temporal import unique_message as messages
from onward.backends.temporal.client import PROMPT
from onward.backends.temporal.converter import raw_value
from onward.backends.temporal.message import CANCELLED, workflow_type
from onward.backends.temporal.unique_message import Place, holder_of, next_id

_MOST_DROPPED = 20
"""How many calls in a row that would have come next may have been cancelled."""

_SOON = 0.02
"""The pause before a call is looked for again that is just beginning, in seconds."""

_NEVER = timedelta(days=365)
_AT_ONCE = timedelta(seconds=1)


class Held(NamedTuple):
    """A run of a holder."""

    run: str
    place: Place
    is_running: bool


async def described(
    client: Client, id: str, run: str | None = None
) -> WorkflowExecutionDescription | None:
    """Describes a workflow; None if there is none. Raises RPCError."""
    try:
        return await client.get_workflow_handle(id, run_id=run).describe(rpc_timeout=PROMPT)
    except RPCError as problem:
        if problem.status != RPCStatusCode.NOT_FOUND:
            raise
        return None


async def held(client: Client, holder: str, run: str | None = None) -> Held | None:
    """Looks at a run of a holder, by default the latest; None if there is none."""
    found = await described(client, holder, run)
    place = None if found is None else await place_of(found)
    if found is None or place is None:
        return None
    return Held(found.run_id or "", place, found.status == WorkflowExecutionStatus.RUNNING)


async def place_of(found: WorkflowExecution) -> Place | None:
    """What a run of a holder is about, or a call that was cancelled before it began."""
    raw = await found.memo_value(messages.MEMO, b"")
    with contextlib.suppress(MsgspecError):
        return messages.decode(raw, Place)
    return None


async def was_dropped(client: Client, id: str) -> bool:
    """Whether a call was cancelled before it began."""
    found = await described(client, id)
    return found is not None and await place_of(found) is not None


async def pending(client: Client, id: str) -> Held | None:
    """The run of a holder that a call waits for; None if no holder knows it as one that waits."""
    holder = holder_of(id)
    found = None if holder is None else await held(client, holder)
    if holder is None or found is None or not found.is_running:
        return None
    if found.place.call == id:
        return found
    following = (next_id(holder, found.run, number) for number in range(_MOST_DROPPED))
    return found if not found.place.waits and id in following else None


async def has_begun(client: Client, id: str) -> bool:
    """Whether a call has a workflow of its own; raises RPCError if nobody knows it."""
    if holder_of(id) is None or await described(client, id) is not None:
        return True
    if await pending(client, id) is not None:
        return False
    # It may have begun between these looks; if not, this raises that there is none.
    await client.get_workflow_handle(id).describe(rpc_timeout=PROMPT)
    return True


async def wait_until_begun(client: Client, id: str) -> None:
    """Waits until a call has a workflow of its own; raises RPCError if nobody knows it."""
    holder = holder_of(id)
    while holder is not None and not await has_begun(client, id):
        found = await pending(client, id)
        if found is not None and (found.place.waits or found.place.call != id):
            # It has ended, in whichever way.
            with contextlib.suppress(WorkflowFailureError, WorkflowContinuedAsNewError):
                handle = client.get_workflow_handle(holder, run_id=found.run)
                await handle.result(follow_runs=False)
        await asyncio.sleep(_SOON)


async def drop(client: Client, id: str) -> bool:
    """Cancels a call that has not begun; gives whether it was one. Raises RPCError.

    The call gets a workflow that ends at once, so that it can never begin, and everybody finds that
    it was cancelled. Then its holder is told.
    """
    holder, found = holder_of(id), await pending(client, id)
    if holder is None or found is None:
        return False
    flow = found.place.flow if found.place.call == id else messages.TYPE
    try:
        made = await client.start_workflow(
            workflow_type(flow or messages.TYPE),
            id=id,
            task_queue=messages.TYPE,
            start_delay=_NEVER,
            run_timeout=_AT_ONCE,  # if this client dies before the next request
            memo={messages.MEMO: messages.encode(Place(id, flow))},
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            rpc_timeout=PROMPT,
        )
    except WorkflowAlreadyStartedError:
        return False  # it has begun, or was cancelled by another client
    await made.terminate(reason=CANCELLED, rpc_timeout=PROMPT)
    handle = client.get_workflow_handle(holder, run_id=found.run)
    with contextlib.suppress(RPCError):  # the run has ended, and the next one finds it cancelled
        if found.place.waits:
            await handle.terminate(reason=CANCELLED, rpc_timeout=PROMPT)
        else:
            await handle.signal(messages.DROP, raw_value(b'"%b"' % id.encode()), rpc_timeout=PROMPT)
    return True
