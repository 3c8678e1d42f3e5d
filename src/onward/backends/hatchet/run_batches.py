"""Starts runs in batches, many with one request."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import msgspec
from hatchet_sdk.contracts.v1.shared.trigger_pb2 import TriggerWorkflowRequest

from onward.backends.hatchet.client import Client
from onward.backends.hatchet.errors import Collision, RpcError, is_temporary, with_retries
from onward.backends.hatchet.message import KEY
from onward.backends.hatchet.reader import Reader

_AT_ONCE = 500
_BYTES_AT_ONCE = 3_500_000
"""The most runs, and the most bytes, of one request."""

_IN_FLIGHT = 3
"""How many requests are in flight at the same time. The engine accepts five."""

_APPEARS = (0.0, 0.1, 0.4, 1.5)
"""The pauses between checks whether a run exists, in seconds."""

_Pending: TypeAlias = tuple[TriggerWorkflowRequest, asyncio.Future[str]]


class RunBatches:
    """Starts runs in batches.

    Each run has an idempotency key, and starting it again returns the existing run. So a failed
    request can be retried without harm.

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
        """Starts a run, and returns its id.

        Args:
            request: The run.
            patience: How long to retry while the engine is away, in seconds.

        Raises:
            RpcError: If the run could not be started.
        """
        return await with_retries(lambda: self._once(request), patience)

    def _once(self, request: TriggerWorkflowRequest) -> asyncio.Future[str]:
        loop = asyncio.get_running_loop()
        sent: asyncio.Future[str] = loop.create_future()
        if not self._waiting:
            # Runs that are started in the same turn of the loop share a batch.
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
        """Starts runs in one request; returns None if each needs a request of its own."""
        if len(requests) == 1:
            return None
        try:
            async with self._turns:
                return await self._client.trigger_all([*map(_renewed, requests)])
        except Collision:
            # The engine does not say which one collided. All of them exist now, and starting each
            # again returns its id.
            return None
        except RpcError as problem:
            if is_temporary(problem):
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
        """Starts a run, or returns the existing run with its key."""
        while True:
            try:
                async with self._turns:
                    return await self._client.trigger(_renewed(request))
            except Collision as collision:
                if await self._is_there(collision.existing):
                    return collision.existing
            # The engine stored the key, but then failed to start the run. All callers try the same
            # next key.
            request = TriggerWorkflowRequest.FromString(request.SerializeToString())
            metadata = msgspec.json.decode(request.additional_metadata, type=dict[str, str])
            metadata[KEY] += " again"
            request.additional_metadata = msgspec.json.encode(metadata).decode()

    async def _is_there(self, id: str) -> bool:
        """Whether a run of this id exists; it may only just have been started."""
        for pause in _APPEARS:
            await asyncio.sleep(pause)
            if await self._reader.is_there(id):
                return True
        return False


def _renewed(request: TriggerWorkflowRequest) -> TriggerWorkflowRequest:
    """The request with a new child key, if it starts a child.

    The idempotency key identifies the run. If one request starts children with new child keys and
    with known ones, the engine (0.104) starts the known ones once more, with the same ids. If it
    has refused a request, it returns ids for its child keys of runs that it never started.
    """
    if request.HasField("parent_task_run_external_id"):
        request.child_key = uuid.uuid4().hex
    return request


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
