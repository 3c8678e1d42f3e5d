"""Sends signals to calls, and tells whether a signal was the first of its name.

A signal needs no worker. The history of a workflow has all signals in their order, so it tells
which one was the first.
"""

from __future__ import annotations

import asyncio
import secrets

from msgspec import Raw
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from onward.backend.support import ended_already, sent_already
from onward.backends.temporal.client import PROMPT
from onward.backends.temporal.converter import raw_value
from onward.backends.temporal.message import SINGLE, value_of_signal
from onward.backends.temporal.wait import has_ended
from onward.fault import Conflict

_LOOKS = 200
_PAUSE = 0.05
"""How often it is looked whether a signal is in the history, and the pause between, in seconds.

A signal that comes while a worker runs the workflow's code gets there when it has run.
"""


async def send(client: Client, id: str, name: str, raw: Raw) -> Conflict | None:
    """Sends a signal; raises RPCError.

    Args:
        client: The client.
        id: The call's id.
        name: The signal's name.
        raw: Its value.

    Returns:
        Why the signal was not taken; None if it was.
    """
    if id.startswith(SINGLE):
        ended = await has_ended(client, id)
        return ended_already(id, name) if ended else Conflict(id, "it is one step, without a wait")
    handle = client.get_workflow_handle(id)
    described = await handle.describe(rpc_timeout=PROMPT)
    flow = described.workflow_type
    if described.close_time is not None:
        return ended_already(flow, name)
    if await _first(client, id, name) is not None:
        return sent_already(flow, name)
    token = f'"{secrets.token_hex(8)}"'
    sent = [raw_value(raw), raw_value(token.encode())]
    try:
        await handle.signal(name, args=sent, rpc_timeout=PROMPT)
    except RPCError as problem:
        if problem.status == RPCStatusCode.NOT_FOUND and await has_ended(client, id):
            return ended_already(flow, name)
        raise
    for _ in range(_LOOKS):
        first = await _first(client, id, name)
        if first is not None:
            return None if first == token else sent_already(flow, name)
        await asyncio.sleep(_PAUSE)
    return None


async def _first(client: Client, id: str, name: str) -> str | None:
    """What identifies the first signal of a name in a history; None if there is none."""
    async for event in client.get_workflow_handle(id).fetch_history_events():
        if event.HasField("workflow_execution_signaled_event_attributes"):
            signal = event.workflow_execution_signaled_event_attributes
            if signal.signal_name == name:
                sent: list[bytes] = await client.data_converter.decode_wrapper(signal.input)
                if value_of_signal(sent) is not None:
                    return sent[1].decode() if len(sent) > 1 else ""
    return None
