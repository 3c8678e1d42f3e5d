"""Turns the errors of gRPC requests into faults with advice, and says which can be retried."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from typing import TypeVar

from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # it has no stubs
from grpc import StatusCode, aio
from hatchet_sdk.contracts.v1.workflows_pb2 import IdempotencyCollisionError

from onward.backend import support
from onward.backend.support import Patience, first_match
from onward.fault import Fault, Misconfigured, Unavailable, Unknown

T = TypeVar("T")

RpcError = aio.AioRpcError
"""The exception of a failed request."""

_SHORTEST = 0.05
_LONGEST = 1.0
"""The shortest and the longest pause between attempts while the engine is away, in seconds."""

_AWAY = (
    # INTERNAL: the engine is too busy, because it starts a limited number of runs at a time.
    StatusCode.INTERNAL,
    StatusCode.UNAVAILABLE,
    StatusCode.DEADLINE_EXCEEDED,
    StatusCode.CANCELLED,
    StatusCode.ABORTED,
)

# The engine reports some errors of its database with the codes of invalid requests. The classes of
# SQLSTATE are: connections, rollbacks, resources, operators (57P01 is a shutdown), the system.
_DATABASE = re.compile(
    r"SQLSTATE (08|40|53|57|58|XX|25006|25P03|55P03)"
    r"|failed to connect to|conn(ection)? (is )?(busy|closed|refused|reset)|closed pool"
    r"|(unexpected )?EOF|broken pipe|i/o timeout|context (deadline exceeded|canceled)"
)

_REFUSED = (StatusCode.INVALID_ARGUMENT, StatusCode.FAILED_PRECONDITION, StatusCode.UNKNOWN)

_OF_ALL = (StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED)

_LARGER = re.compile(r"larger than max(?: \((\d+) vs\.? (\d+)\)| (\d+))")

_NO_LONGER = "it refuses the token, which it accepted before"

_HUNG_UP = (
    "it closed the connection: if it requires TLS or a client's certificate, set tls, tls_cert"
)

_MEANINGS = {
    "CERTIFICATE_VERIFY_FAILED": "no authority trusted here signed its certificate: set tls_ca",
    "Hostname Verification": "its certificate is for another name: set tls_server_name",
    "TSI_DATA_CORRUPTED": (
        "it requires a client certificate that it trusts: set tls_cert and tls_key"
    ),
    "security handshaker": (
        "one of the files for TLS has no certificate or no key in it: check tls_ca, tls_cert and "
        "tls_key"
    ),
    "WRONG_VERSION_NUMBER": "it does not use TLS: set tls to false",
    ": Socket closed": _HUNG_UP,
    "Connection reset by peer": _HUNG_UP,
    "Connection refused": "nothing listens there: start it, or correct host_port",
    "resol": "its host name cannot be resolved: correct host_port",
    _NO_LONGER: "its database fails, or the token expired or was revoked",
    "timed out": "it does not answer: check that it runs, and that it is Hatchet",
}
"""What an error of gRPC means, and what to do about it, by a piece of its text."""

_BROKE_OFF = "it broke off the connection: check that it still runs"


class Collision(Exception):
    """A run with this idempotency key exists; `existing` is its id, or empty if unknown."""

    def __init__(self, existing: str) -> None:
        super().__init__(existing)
        self.existing = existing


def collision(problem: RpcError) -> Collision | None:
    """Returns the collision that a failed request reports, or None."""
    if problem.code() != StatusCode.ALREADY_EXISTS:
        return None
    for name, value in problem.trailing_metadata():
        if name == "grpc-status-details-bin" and isinstance(value, bytes):
            for detail in Status.FromString(value).details:
                error = IdempotencyCollisionError()
                if detail.Unpack(error):
                    return Collision(error.existing_run_external_id)
    return Collision("")


async def with_retries(ask: Callable[[], Awaitable[T]], patience: float) -> T:
    """Makes a request, and retries it while the engine is away.

    Args:
        ask: Makes the request, which must be safe to repeat.
        patience: How long to retry while the engine is away, in seconds.

    Raises:
        RpcError: If the engine refuses the request, or is away for longer.
    """
    tolerates = Patience(patience)
    pause = _SHORTEST
    while True:
        try:
            return await ask()
        except RpcError as problem:
            if not is_temporary(problem) or pause >= tolerates.left:
                raise
        await asyncio.sleep(pause * (0.5 + random.random()))
        pause = min(2 * pause, _LONGEST)


def is_temporary(problem: RpcError) -> bool:
    """Whether a request may succeed later, because the engine or its database is away or busy."""
    return problem.code() in _AWAY or is_of_database(problem)


def token_refused(problem: RpcError) -> RpcError | None:
    """Returns a temporary error if the engine refuses a token that it accepted before, or None.

    The engine looks up the token in its database, and also refuses it if the database fails.
    """
    if problem.code() != StatusCode.UNAUTHENTICATED:
        return None
    return RpcError(StatusCode.UNAVAILABLE, (), (), f"{_NO_LONGER}: {text_of(problem)}")


def is_of_database(problem: RpcError) -> bool:
    """Whether the request failed because the engine's database fails."""
    return problem.code() in _REFUSED and _DATABASE.search(text_of(problem)) is not None


def concerns_all(problem: RpcError) -> bool:
    """Whether every request would fail like this one."""
    return problem.code() in _OF_ALL


def is_gone(problem: RpcError) -> bool:
    """Whether the engine does not know the worker, or has forgotten it."""
    return problem.code() == StatusCode.NOT_FOUND


def is_too_large(problem: RpcError) -> bool:
    """Whether a request failed because it or its answer is too large."""
    return (
        problem.code() == StatusCode.RESOURCE_EXHAUSTED
        and _LARGER.search(text_of(problem)) is not None
    )


def message_sizes(problem: RpcError) -> tuple[int, int] | None:
    """Returns the size of a refused message and the engine's limit, in bytes."""
    found = _LARGER.search(text_of(problem))
    if found is None:
        return None
    size, limit, alone = found.groups()
    return (int(alone) + 1, int(alone)) if alone else (int(size), int(limit))


def is_unknown_name(problem: RpcError) -> bool:
    """Whether a run was refused because no worker has declared its workflow."""
    return problem.code() == StatusCode.INVALID_ARGUMENT and "not found" in text_of(problem)


def text_of(problem: RpcError) -> str:
    """Returns the text of a failed request, from the engine or the connection."""
    return problem.details() or problem.code().name


def fault_of(problem: RpcError, flow: str = "", *, was_there: bool = False) -> Fault:
    """Turns the error of a request into a fault.

    Args:
        problem: The error.
        flow: The flow that the request was about, if any.
        was_there: Whether the engine has answered on this connection before. If so, the TLS
            settings are right.
    """
    code = problem.code()
    if code in _OF_ALL:
        return Unavailable(flow, f"Hatchet does not accept the token: {text_of(problem)}")
    if is_of_database(problem):
        return Unavailable(flow, f"Hatchet cannot reach its database: {text_of(problem)}")
    if code == StatusCode.INVALID_ARGUMENT:
        return Misconfigured(flow, f"Hatchet refuses the request: {text_of(problem)}")
    text = f"{code.name.lower()}, {text_of(problem)}"
    meaning = first_match(_MEANINGS, text)
    if meaning == _HUNG_UP and was_there:
        meaning = _BROKE_OFF
    if meaning is None:
        return Unavailable(flow, f"Hatchet: {text}")
    return Unavailable(flow, f"Hatchet: {meaning} ({text})")


def unknown(id: str) -> Unknown:
    """The fault for an id that the engine does not know."""
    return support.unknown(id, "Hatchet")
