"""Requests that fail: what the engine or the connection says, and what that means."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # it has no stubs
from grpc import StatusCode, aio
from hatchet_sdk.contracts.v1.workflows_pb2 import IdempotencyCollisionError

from onward.fault import Fault, Misconfigured, Unavailable

T = TypeVar("T")

Problem = aio.AioRpcError
"""What every request raises that fails."""

_SHORTEST = 0.05
_LONGEST = 1.0
"""How long it is from one try to the next while the engine is away, in seconds."""

_AWAY = (
    # Too busy: it starts but so many runs at a time, and says this of the others.
    StatusCode.INTERNAL,
    StatusCode.UNAVAILABLE,
    StatusCode.DEADLINE_EXCEEDED,
    StatusCode.CANCELLED,
    StatusCode.ABORTED,
)

# The engine passes on some of its database's errors under the codes of wrong requests. The classes
# of SQLSTATE are: connections, roll-backs, resources, operators (57P01 is a shutdown), the system.
_DATABASE = re.compile(
    r"SQLSTATE (08|40|53|57|58|XX|25006|25P03|55P03)"
    r"|failed to connect to|conn(ection)? (is )?(busy|closed|refused|reset)|closed pool"
    r"|(unexpected )?EOF|broken pipe|i/o timeout|context (deadline exceeded|canceled)"
)

_REFUSED = (StatusCode.INVALID_ARGUMENT, StatusCode.FAILED_PRECONDITION, StatusCode.UNKNOWN)

_OF_ALL = (StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED)

_LARGER = re.compile(r"larger than max(?: \((\d+) vs\.? (\d+)\)| (\d+))")

_NO_LONGER = "it does not take the token, which it took before"

_HUNG_UP = "it hung up: if it wants TLS, or a certificate from its clients, see tls and tls_cert"

_MEANS = {
    "CERTIFICATE_VERIFY_FAILED": "no authority that is trusted here certifies it: see tls_ca",
    "Hostname Verification": "it is certified by another name: see tls_server_name",
    "TSI_DATA_CORRUPTED": (
        "it wants a certificate from its clients, and one that it trusts: see tls_cert and tls_key"
    ),
    "security handshaker": "one of the files for TLS has no certificate or no key of it in it",
    "WRONG_VERSION_NUMBER": "it speaks no TLS: see tls",
    ": Socket closed": _HUNG_UP,
    "Connection reset by peer": _HUNG_UP,
    "Connection refused": "nothing listens there: start it, or correct host_port",
    "resol": "nobody knows its host: correct host_port",
    _NO_LONGER: "its database fails, or the token is over or revoked",
    "timed out": "it does not answer: see that it runs, and that it is Hatchet",
}
"""What gRPC says of a connection that there is not, and what that means."""

_BROKE_OFF = "it broke off the connection: see that it still runs"


class Collision(Exception):
    """A run of this idempotency key is there already; `existing` is its id, where it is told."""

    def __init__(self, existing: str) -> None:
        super().__init__(existing)
        self.existing = existing


def collision(problem: Problem) -> Collision | None:
    """What a failed request says of a run that is there already, if it does."""
    if problem.code() != StatusCode.ALREADY_EXISTS:
        return None
    for name, value in problem.trailing_metadata():
        if name == "grpc-status-details-bin" and isinstance(value, bytes):
            for detail in Status.FromString(value).details:
                error = IdempotencyCollisionError()
                if detail.Unpack(error):
                    return Collision(error.existing_run_external_id)
    return Collision("")


async def patiently(ask: Callable[[], Awaitable[T]], patience: float) -> T:
    """Asks until the engine is there.

    Args:
        ask: Makes a request, which can be made again without harm.
        patience: How long to try while the engine is away, in seconds.

    Raises:
        Problem: If it refuses, or is away for longer.
    """
    end = time.monotonic() + patience
    pause = _SHORTEST
    while True:
        try:
            return await ask()
        except Problem as problem:
            if not is_away(problem) or time.monotonic() + pause >= end:
                raise
        await asyncio.sleep(pause * (0.5 + random.random()))
        pause = min(2 * pause, _LONGEST)


def is_away(problem: Problem) -> bool:
    """Whether a request may succeed later: once the engine or its database is back, or has time."""
    return problem.code() in _AWAY or is_of_database(problem)


def shut_out(problem: Problem) -> Problem | None:
    """A problem that may pass, made of one with a token that the engine has taken before.

    It looks the token up in its database, and says of one that it could not look up that it is none
    of its own.
    """
    if problem.code() != StatusCode.UNAUTHENTICATED:
        return None
    return Problem(StatusCode.UNAVAILABLE, (), (), f"{_NO_LONGER}: {said(problem)}")


def is_of_database(problem: Problem) -> bool:
    """Whether the engine takes no request because its database fails just now."""
    return problem.code() in _REFUSED and _DATABASE.search(said(problem)) is not None


def is_of_all(problem: Problem) -> bool:
    """Whether every request would fail like this one, whatever it asks for."""
    return problem.code() in _OF_ALL


def is_gone(problem: Problem) -> bool:
    """Whether the engine does not know the worker, or no longer."""
    return problem.code() == StatusCode.NOT_FOUND


def is_too_large(problem: Problem) -> bool:
    """Whether a request failed for its size, or for that of its answer."""
    return (
        problem.code() == StatusCode.RESOURCE_EXHAUSTED
        and _LARGER.search(said(problem)) is not None
    )


def sizes_said(problem: Problem) -> tuple[int, int] | None:
    """How large a message was that the engine refused, and how large it may be."""
    found = _LARGER.search(said(problem))
    if found is None:
        return None
    size, limit, alone = found.groups()
    return (int(alone) + 1, int(alone)) if alone else (int(size), int(limit))


def is_unknown_name(problem: Problem) -> bool:
    """Whether a run failed to start because nobody has declared its workflow."""
    return problem.code() == StatusCode.INVALID_ARGUMENT and "not found" in said(problem)


def said(problem: Problem) -> str:
    """What the engine, or the connection, says of a failed request."""
    return problem.details() or problem.code().name


def fault_of(problem: Problem, flow: str = "", *, was_there: bool = False) -> Fault:
    """A failed request as a fault.

    Args:
        problem: What the request raised.
        flow: The flow that it was about, if it was about one.
        was_there: Whether the engine has answered on this connection before, so that how it is
            spoken to cannot be what is wrong.
    """
    code = problem.code()
    if code in _OF_ALL:
        return Unavailable(flow, f"Hatchet does not take the token: {said(problem)}")
    if is_of_database(problem):
        return Unavailable(flow, f"Hatchet cannot reach its database: {said(problem)}")
    if code == StatusCode.INVALID_ARGUMENT:
        return Misconfigured(flow, f"Hatchet refuses it: {said(problem)}")
    text = f"{code.name.lower()}, {said(problem)}"
    means = next((means for word, means in _MEANS.items() if word in text), None)
    if means == _HUNG_UP and was_there:
        means = _BROKE_OFF
    return Unavailable(flow, f"Hatchet: {text}" if means is None else f"Hatchet: {means} ({text})")
