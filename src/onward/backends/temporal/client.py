"""The connection to the server. It is made when it is first needed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from returns.result import Failure, Result, Success
from temporalio.client import Client, KeepAliveConfig, PayloadLimitsConfig, TLSConfig
from temporalio.converter import DataConverter
from temporalio.service import RPCError

from onward.backends.temporal.converter import data_converter
from onward.backends.temporal.errors import fault_of, unavailable
from onward.fault import Fault, Unavailable

T = TypeVar("T")

PROMPT = timedelta(seconds=10)
"""How long the server may take for a request that it should answer at once."""

_KEEP_ALIVE = KeepAliveConfig(interval_millis=12_000, timeout_millis=6_000)
"""A dead connection is closed after 18 s. Shorter intervals fail: servers refuse them."""


@dataclass(frozen=True)
class Address:
    """The server's address, and how to connect to it.

    Args:
        target: The server's host and port.
        namespace: The namespace.
        task_queue: The task queue of workflows, and of steps that name no queue.
        heartbeat: How long a worker that runs a step may send no heartbeat, in seconds.
        tls: See `Client.connect`, also for `api_key` and `rpc_metadata`.
        api_key: The API key.
        data_converter: A converter whose payload codec and failure converter are used.
        rpc_metadata: Headers of each request.
    """

    target: str
    namespace: str
    task_queue: str
    heartbeat: float
    tls: bool | TLSConfig | None = None
    api_key: str | None = field(default=None, repr=False)
    data_converter: DataConverter | None = None
    rpc_metadata: Mapping[str, str] = field(default_factory=dict, repr=False)


class Connection:
    """The SDK's client for one event loop."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._connecting: asyncio.Task[Client] | None = None

    async def client(self) -> Client:
        """Connects if needed; raises RuntimeError or TimeoutError if the server is not reached."""
        # Concurrent callers share one attempt. Otherwise each would wait for those before it.
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(self._connected)
        return await asyncio.shield(self._connecting)

    async def _connect(self) -> Client:
        at = self.address
        connecting = Client.connect(
            at.target,
            namespace=at.namespace,
            tls=at.tls,
            api_key=at.api_key,
            data_converter=data_converter(at.data_converter),
            rpc_metadata=dict(at.rpc_metadata),
            keep_alive_config=_KEEP_ALIVE,
            # Onward refuses payloads that are too large. The SDK would also warn on stderr.
            payload_limits=PayloadLimitsConfig(payloads_warn_size=0, memo_warn_size=0),
        )
        # The SDK would wait forever for a server that accepts a connection and never answers.
        return await asyncio.wait_for(connecting, PROMPT.total_seconds())

    def _connected(self, connecting: asyncio.Task[Client]) -> None:
        if connecting.cancelled() or connecting.exception() is not None:
            self._connecting = None

    async def request(self, what: str, send: Callable[[Client], Awaitable[T]]) -> Result[T, Fault]:
        """Sends a request; an error becomes a fault.

        Args:
            what: The flow or id that the request is about.
            send: Sends the request and returns the answer.
        """
        try:
            return Success(await send(await self.client()))
        except RPCError as problem:
            return Failure(fault_of(problem, what, self.address.target))
        except TimeoutError:
            return Failure(self._unavailable(what, f"timeout after {PROMPT.total_seconds():g} s"))
        except RuntimeError as problem:  # the SDK could not connect
            return Failure(self._unavailable(what, str(problem)))

    def _unavailable(self, what: str, error: str) -> Unavailable:
        return unavailable(what, self.address.target, error)
