"""The connection to the server, made late and kept, and what its errors mean."""

from __future__ import annotations

import asyncio
import re
import textwrap
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from returns.result import Failure, Result, Success
from temporalio.client import Client, KeepAliveConfig, PayloadLimitsConfig, TLSConfig
from temporalio.converter import DataConverter
from temporalio.service import RPCError, RPCStatusCode

from onward.backends.temporal.converter import converter
from onward.backends.temporal.message import LIMIT
from onward.fault import Fault, Misconfigured, TooLarge, Unavailable, Unknown

T = TypeVar("T")

PROMPT = timedelta(seconds=10)
"""How long the server may take for what it answers at once."""

_MEANS = {
    "refused": ("nothing listens at {}", "start Temporal there, or correct the host and port"),
    "tcp connect error": ("{} cannot be reached", "see that it runs, and that no firewall forbids"),
    "dns error": ("nobody knows the host of {}", "correct its name"),
    "InvalidCertificate": (
        "the certificate of {} does not hold",
        "name the authority that signed it, and the host that it is for",
    ),
    "InvalidContentType": ("{} speaks no TLS", "leave TLS out, or name the port that does"),
    "h2 protocol error": ("{} speaks no gRPC", "name the port where Temporal itself listens"),
    "nauth": ("{} lets nobody in with these credentials", "correct the API key"),
    "ermission": ("{} forbids it", "see what the API key or the certificate is for"),
    "transport error": ("{} hangs up", "see whether it wants TLS, or a client's certificate"),
    "canceled": ("{} hangs up", "see that it is Temporal, and whether it wants TLS"),
    "imeout": ("{} does not answer", "see that it runs, and that it is Temporal"),
    "deadline exceeded": ("{} does not answer in time", "see whether it has too much to do"),
}
"""What the SDK says of a server that is of no use: what that means, and what helps."""

_CAUSE = re.compile(r'(?:message|error): "([^"]+)"|Invalid\w+\((\w+)')
"""What people can read of an error that the SDK shows as its own language would."""


@dataclass(frozen=True)
class Address:
    """Where the server is, and how it is spoken to.

    Args:
        target: Its host and port.
        namespace: The namespace.
        task_queue: The task queue of workflows, and of steps that name no queue.
        heartbeat: How long a worker that is at a step may be silent, in seconds.
        tls: See `Client.connect`, as for what follows.
        api_key: See there.
        data_converter: Whose codec and failure converter are used.
        rpc_metadata: See there.
    """

    target: str
    namespace: str
    task_queue: str
    heartbeat: float
    tls: bool | TLSConfig | None = None
    api_key: str | None = field(default=None, repr=False)
    data_converter: DataConverter | None = None
    rpc_metadata: Mapping[str, str] = field(default_factory=dict, repr=False)


_KEEP_ALIVE = KeepAliveConfig(interval_millis=12_000, timeout_millis=6_000)
"""A connection whose peer is gone is given up after 18 s; servers allow no ping within 10 s."""


class Connection:
    """A client of the SDK, for one event loop."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._connecting: asyncio.Task[Client] | None = None

    async def client(self) -> Client:
        """The client; raises RuntimeError or TimeoutError if there is no connection to be had."""
        # All who ask meanwhile wait for the same one: one after the other, each would wait longer.
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
            data_converter=converter(at.data_converter),
            rpc_metadata=dict(at.rpc_metadata),
            keep_alive_config=_KEEP_ALIVE,
            # What is too large we say ourselves, and what is not needs no lines on stderr.
            payload_limits=PayloadLimitsConfig(payloads_warn_size=0, memo_warn_size=0),
        )
        # One that takes the connection and says nothing would be waited for without end.
        return await asyncio.wait_for(connecting, PROMPT.total_seconds())

    def _connected(self, connecting: asyncio.Task[Client]) -> None:
        if connecting.cancelled() or connecting.exception() is not None:
            self._connecting = None

    async def ask(self, what: str, question: Callable[[Client], Awaitable[T]]) -> Result[T, Fault]:
        """What the server answers, or the fault that it does not.

        Args:
            what: The flow or id that is asked about.
            question: Asks.
        """
        try:
            return Success(await question(await self.client()))
        except RPCError as problem:
            return Failure(self.fault(what, problem))
        except TimeoutError:
            return Failure(self._away(what, f"timeout after {PROMPT.total_seconds():g} s"))
        except RuntimeError as problem:  # so the SDK says that it could not connect
            return Failure(self._away(what, str(problem)))

    def fault(self, what: str, problem: RPCError) -> Fault:
        """What an error of the server's means."""
        text = problem.message.rstrip(".")
        if problem.status == RPCStatusCode.NOT_FOUND and "amespace" in text:
            return Misconfigured("namespace", f"{text}: create it, or name another one")
        if problem.status == RPCStatusCode.NOT_FOUND:
            return unknown(what)
        is_size = problem.status in (
            RPCStatusCode.INVALID_ARGUMENT,
            RPCStatusCode.RESOURCE_EXHAUSTED,
        )
        if is_size and any(word in text for word in ("exceeds", "larger than")):
            return TooLarge(what, text, 0, LIMIT)
        if problem.status == RPCStatusCode.INVALID_ARGUMENT:
            return Misconfigured(what, text)
        if problem.status == RPCStatusCode.UNIMPLEMENTED and "ctivity" in text:
            return unknown(what)  # it is the id of a single task, and there are none
        return self._away(what, f"{problem.status.name.lower().replace('_', ' ')}: {text}")

    def _away(self, what: str, said: str) -> Unavailable:
        unclear = ("{} fails", "try again, and look into its log if that is of no use")
        means, cure = next((found for word, found in _MEANS.items() if word in said), unclear)
        causes = ["".join(found) for found in _CAUSE.findall(said)]
        cause = textwrap.shorten((causes or [said])[-1].partition(": http")[0], 100)
        return Unavailable(what, f"{means.format(self.address.target)} ({cause}): {cure}")


def unknown(id: str) -> Unknown:
    """The fault of a call that the server does not know."""
    return Unknown(id, "no such call in this namespace, or it was kept no longer")
