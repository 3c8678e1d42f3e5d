"""Starting many runs with one request."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import msgspec
from hatchet_sdk.contracts.v1.shared.trigger_pb2 import TriggerWorkflowRequest

from onward.backends.hatchet.client import Client
from onward.backends.hatchet.errors import Collision, Problem, is_away, patiently
from onward.backends.hatchet.message import KEY
from onward.backends.hatchet.reader import Reader

_AT_ONCE = 500
_BYTES_AT_ONCE = 3_500_000
"""How many runs one request starts, and how many bytes it has."""

_IN_FLIGHT = 3
"""How many requests are in flight at a time: the engine takes five, and refuses the sixth."""

_APPEARS = (0.0, 0.1, 0.4, 1.5)
"""The pauses between looking for a run whose key is taken, in seconds."""

_Pending: TypeAlias = tuple[TriggerWorkflowRequest, asyncio.Future[str]]


class Batches:
    """Starts runs in batches.

    Each run has an idempotency key, and starting it again gives the run that exists. So a request
    that failed can be sent again without harm.

    Args:
        client: The connection.
        reader: Reads runs.
    """

    def __init__(self, client: Client, reader: Reader) -> None:
        self._client = client
        self._reader = reader
        self._waiting: list[_Pending] = []
        self._sending: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(_IN_FLIGHT)

    async def send(self, request: TriggerWorkflowRequest, patience: float) -> str:
        """Starts a run, and gives its id.

        Args:
            request: The run.
            patience: How long to try while the engine is away, in seconds.

        Raises:
            Problem: If it could not be started.
        """
        return await patiently(lambda: self._once(request), patience)

    def _once(self, request: TriggerWorkflowRequest) -> asyncio.Future[str]:
        loop = asyncio.get_running_loop()
        sent: asyncio.Future[str] = loop.create_future()
        if not self._waiting:
            # Runs that are started in the same turn of the loop go with it.
            loop.call_soon(self._collect)
        self._waiting.append((request, sent))
        return sent

    def _collect(self) -> None:
        pending, self._waiting = self._waiting, []
        for some in _batches(pending):
            task = asyncio.get_running_loop().create_task(self._send_batch(some))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send_batch(self, pending: list[_Pending]) -> None:
        try:
            ids = await self._together([request for request, _ in pending])
        except Exception as problem:
            for _, sent in pending:
                if not sent.done():
                    sent.set_exception(problem)
        else:
            if ids is None:
                await asyncio.gather(*(self._alone(*one) for one in pending))
                return
            for (_, sent), id in zip(pending, ids, strict=True):
                _settle(sent, id)

    async def _together(self, requests: list[TriggerWorkflowRequest]) -> list[str] | None:
        """Starts them in one request; None if each needs a request of its own."""
        if len(requests) == 1:
            return None
        try:
            async with self._turns:
                return await self._client.trigger_all(requests)
        except Collision:
            # The engine does not say which one collided. All are there now, and each can be
            # found by itself.
            return None
        except Problem as problem:
            if is_away(problem):
                raise
            return None

    async def _alone(self, request: TriggerWorkflowRequest, sent: asyncio.Future[str]) -> None:
        try:
            id = await self._found(request)
        except Exception as problem:
            if not sent.done():
                sent.set_exception(problem)
        else:
            _settle(sent, id)

    async def _found(self, request: TriggerWorkflowRequest) -> str:
        """Starts a run, or finds the one of its key."""
        while True:
            try:
                async with self._turns:
                    return await self._client.trigger(request)
            except Collision as collision:
                if await self._is_there(collision.existing):
                    return collision.existing
            # The engine remembered the key, and then failed to start the run. All callers that
            # find this out go on to the same next key.
            request = TriggerWorkflowRequest.FromString(request.SerializeToString())
            metadata = msgspec.json.decode(request.additional_metadata, type=dict[str, str])
            metadata[KEY] += " again"
            request.additional_metadata = msgspec.json.encode(metadata).decode()

    async def _is_there(self, id: str) -> bool:
        """Whether there is a run of this id, which may have been started this very moment."""
        for pause in _APPEARS:
            await asyncio.sleep(pause)
            if await self._reader.is_there(id):
                return True
        return False


def _settle(sent: asyncio.Future[str], id: str) -> None:
    if not sent.done():
        sent.set_result(id)


def _batches(pending: Iterable[_Pending]) -> Iterator[list[_Pending]]:
    some: list[_Pending] = []
    size = 0
    for one in pending:
        bytes_ = one[0].ByteSize()
        if some and (len(some) == _AT_ONCE or size + bytes_ > _BYTES_AT_ONCE):
            yield some
            some, size = [], 0
        some.append(one)
        size += bytes_
    if some:
        yield some
