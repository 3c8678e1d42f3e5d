"""Waits for the outcomes of calls, also of thousands at the same time."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Collection, Mapping
from itertools import compress

from returns.result import Failure, Result, Success
from temporalio import exceptions
from temporalio.client import (
    ActivityExecutionStatus,
    ActivityFailureError,
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
)
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from onward.backend.support import Patience, expired
from onward.backends.temporal import ending
from onward.backends.temporal.client import PROMPT, Connection
from onward.backends.temporal.errors import outcome_of
from onward.backends.temporal.message import SINGLE, outcome_of_value
from onward.backends.temporal.unique_lookup import has_begun, wait_until_begun
from onward.fault import Fault, Unavailable, Unknown
from onward.outcome import Outcome, Value, faulted

_AT_ONCE = 500
"""How many calls are waited for at the same time. A server allows about 1,000."""

_TURN = 2.0
"""How long one batch of calls is waited for before the next, in seconds."""

_AT_LEAST = 1.0
"""A wait shorter than this, in seconds, first checks which calls have ended already."""

_PAUSE = 0.2
"""The pause before a server that is not reached is asked again, in seconds."""


class Listener:
    """Waits for the ends of calls, for all callers of this process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._arrived = asyncio.Event()
        self._waits: dict[str, asyncio.Task[Outcome | Fault]] = {}

    async def wait_for_any(
        self, ids: Collection[str], timeout: float | None
    ) -> Result[Mapping[str, Outcome], Fault]:
        """See `Backend.settled`."""
        patience, is_over = Patience(timeout), False
        if timeout is not None and timeout < _AT_LEAST and (over := await self._ended(ids)):
            ids, is_over = over, True  # these outcomes only need to be fetched
        todo = list(ids)
        while todo:
            some, todo = todo[:_AT_ONCE], todo[_AT_ONCE:]
            left = math.inf if is_over else patience.left
            settled = await self._wait_for_batch(some, min(left, _TURN) if todo else left)
            found = {id: what for id, what in settled.items() if not isinstance(what, Fault)}
            faults = [what for what in settled.values() if isinstance(what, Fault)]
            if found:
                return Success(found)
            if faults and (patience.is_exhausted or not isinstance(faults[0], Unavailable)):
                return Failure(faults[0])
            if patience.is_over and not is_over:
                break
            if faults:
                await asyncio.sleep(min(_PAUSE, left))
            else:
                patience.answered()
            todo += some
        return Success({})

    async def _wait_for_batch(
        self, ids: Collection[str], timeout: float
    ) -> Mapping[str, Outcome | Fault]:
        """Waits until one of these calls has an outcome or a fault; returns all that have."""
        waits = {id: self._wait(id) for id in ids}
        patience = None if timeout == math.inf else timeout
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                # `asyncio.wait` would add a callback to each wait every time, which is too slow.
                while not any(wait.done() for wait in waits.values()):
                    await self._arrived.wait()
        settled: dict[str, Outcome | Fault] = {}
        for id, wait in waits.items():
            if wait.done():
                self._waits.pop(id, None)
                if not wait.cancelled():  # it was cancelled to make room for others
                    settled[id] = wait.result()
        return settled

    def _wait(self, id: str) -> asyncio.Task[Outcome | Fault]:
        if id not in self._waits:
            while len(self._waits) >= 2 * _AT_ONCE:
                self._waits.pop(next(iter(self._waits))).cancel()
            self._waits[id] = wait = asyncio.create_task(self._listen(id))
            wait.add_done_callback(self._notify)
        return self._waits[id]

    def _notify(self, _: object) -> None:
        self._arrived.set()
        self._arrived = asyncio.Event()

    async def _listen(self, id: str) -> Outcome | Fault:
        expiring = asyncio.create_task(self._expire(id))
        try:
            found = await self._connection.request(id, lambda client: outcome_of_call(client, id))
        finally:
            expiring.cancel()
        if not isinstance(found, Failure):
            return found.unwrap()
        fault = found.failure()
        return faulted(fault) if isinstance(fault, Unknown) else fault

    async def _expire(self, id: str) -> None:
        """Ends a call that no worker begins, when it expires, if the server does not."""
        await asyncio.sleep(_AT_LEAST)  # most calls have ended by then
        request = self._connection.request
        left = await request(id, lambda client: ending.late_after(client, id))
        if (seconds := left.value_or(None)) is not None:
            await asyncio.sleep(seconds)
            await request(id, lambda client: ending.expire(client, id))

    async def _ended(self, ids: Collection[str]) -> list[str]:
        """Returns those of these calls that have ended."""
        some = list(ids)[:_AT_ONCE]

        async def is_ended(id: str) -> bool:
            ended = await self._connection.request(id, lambda client: has_ended(client, id))
            return ended.value_or(True)

        return list(compress(some, await asyncio.gather(*map(is_ended, some))))


async def outcome_of_call(client: Client, id: str) -> Outcome:
    """Waits for the outcome of a call; raises RPCError."""
    try:
        if id.startswith(SINGLE):
            given = await client.get_activity_handle(id, result_type=RawValue).result()
        else:
            await wait_until_begun(client, id)
            given = await client.get_workflow_handle(id, result_type=RawValue).result()
    except (ActivityFailureError, WorkflowFailureError) as problem:
        if isinstance(problem.cause, ApplicationError):
            return outcome_of(problem.cause, id)
        name = await _name(client, id)
        if isinstance(problem, WorkflowFailureError) and isinstance(
            problem.cause, exceptions.TimeoutError
        ):
            return faulted(expired(name))  # a workflow's only time limit is its call's deadline
        return outcome_of(problem.cause, name)
    outcome = outcome_of_value(given, id)
    return (
        outcome if isinstance(outcome, Value) else outcome_of_value(given, await _name(client, id))
    )


async def _name(client: Client, id: str) -> str:
    """Returns the name of a call's task or flow; raises RPCError."""
    if id.startswith(SINGLE):
        return (await client.get_activity_handle(id).describe(rpc_timeout=PROMPT)).activity_type
    return (await client.get_workflow_handle(id).describe(rpc_timeout=PROMPT)).workflow_type


async def has_ended(client: Client, id: str) -> bool:
    """Whether a call has an outcome; raises RPCError."""
    if id.startswith(SINGLE):
        single = await client.get_activity_handle(id).describe(rpc_timeout=PROMPT)
        return single.status != ActivityExecutionStatus.RUNNING
    if not await has_begun(client, id):
        return False
    flow = await client.get_workflow_handle(id).describe(rpc_timeout=PROMPT)
    return flow.status != WorkflowExecutionStatus.RUNNING
