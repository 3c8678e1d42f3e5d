"""Failed requests, and the faults that they mean."""

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

Problem = aio.AioRpcError
"""What a failed request raises."""

_SHORTEST = 0.05
_LONGEST = 1.0
"""The shortest and the longest pause between tries while the engine is away, in seconds."""

_AWAY = (
    # The engine is too busy: it starts only so many runs at a time.
    StatusCode.INTERNAL,
    StatusCode.UNAVAILABLE,
    StatusCode.DEADLINE_EXCEEDED,
    StatusCode.CANCELLED,
    StatusCode.ABORTED,
)

# The engine reports some errors of its database with the codes of wrong requests. The classes of
# SQLSTATE are: connections, roll-backs, resources, operators (57P01 is a shutdown), the system.
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

_MEANS = {
    "CERTIFICATE_VERIFY_FAILED": "no authority trusted here signed its certificate: set tls_ca",
    "Hostname Verification": "its certificate is for another name: set tls_server_name",
    "TSI_DATA_CORRUPTED": (
        "it requires a client certificate that it trusts: set tls_cert and tls_key"
    ),
    "security handshaker": (
        "one of the files for TLS has no certificate or no key in it: check tls_ca, tls_cert and "
        "tls_key"
    ),
    "WRONG_VERSION_NUMBER": "it speaks no TLS: set tls to false",
    ": Socket closed": _HUNG_UP,
    "Connection reset by peer": _HUNG_UP,
    "Connection refused": "nothing listens there: start it, or correct host_port",
    "resol": "its host name cannot be resolved: correct host_port",
    _NO_LONGER: "its database fails, or the token expired or was revoked",
    "timed out": "it does not answer: check that it runs, and that it is Hatchet",
}
"""What gRPC says about a failed connection, and what helps."""

_BROKE_OFF = "it broke off the connection: check that it still runs"


class Collision(Exception):
    """A run with this idempotency key exists; `existing` is its id, if the engine gives it."""

    def __init__(self, existing: str) -> None:
        super().__init__(existing)
        self.existing = existing


def collision(problem: Problem) -> Collision | None:
    """The collision that a failed request reports, if it reports one."""
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
    """Makes a request, and tries again while the engine is away.

    Args:
        ask: Makes a request, which can be made again without harm.
        patience: How long to try while the engine is away, in seconds.

    Raises:
        Problem: If it refuses, or is away for longer.
    """
    tolerates = Patience(patience)
    pause = _SHORTEST
    while True:
        try:
            return await ask()
        except Problem as problem:
            if not is_away(problem) or pause >= tolerates.left:
                raise
        await asyncio.sleep(pause * (0.5 + random.random()))
        pause = min(2 * pause, _LONGEST)


def is_away(problem: Problem) -> bool:
    """Whether a request may succeed later: once the engine or its database is back, or has time."""
    return problem.code() in _AWAY or is_of_database(problem)


def shut_out(problem: Problem) -> Problem | None:
    """A temporary problem, if the engine refuses a token that it accepted before.

    The engine looks the token up in its database, and refuses it also when that fails.
    """
    if problem.code() != StatusCode.UNAUTHENTICATED:
        return None
    return Problem(StatusCode.UNAVAILABLE, (), (), f"{_NO_LONGER}: {said(problem)}")


def is_of_database(problem: Problem) -> bool:
    """Whether the request failed because the engine's database fails."""
    return problem.code() in _REFUSED and _DATABASE.search(said(problem)) is not None


def is_of_all(problem: Problem) -> bool:
    """Whether every request would fail like this one."""
    return problem.code() in _OF_ALL


def is_gone(problem: Problem) -> bool:
    """Whether the engine does not know the worker, or has forgotten it."""
    return problem.code() == StatusCode.NOT_FOUND


def is_too_large(problem: Problem) -> bool:
    """Whether a request failed because it or its answer is too large."""
    return (
        problem.code() == StatusCode.RESOURCE_EXHAUSTED
        and _LARGER.search(said(problem)) is not None
    )


def sizes_said(problem: Problem) -> tuple[int, int] | None:
    """The size of a message that the engine refused and its limit, in bytes."""
    found = _LARGER.search(said(problem))
    if found is None:
        return None
    size, limit, alone = found.groups()
    return (int(alone) + 1, int(alone)) if alone else (int(size), int(limit))


def is_unknown_name(problem: Problem) -> bool:
    """Whether a run failed to start because no worker has declared its workflow."""
    return problem.code() == StatusCode.INVALID_ARGUMENT and "not found" in said(problem)


def said(problem: Problem) -> str:
    """The text of a failed request, from the engine or the connection."""
    return problem.details() or problem.code().name


def fault_of(problem: Problem, flow: str = "", *, was_there: bool = False) -> Fault:
    """A failed request as a fault.

    Args:
        problem: What the request raised.
        flow: The flow that it concerned, if any.
        was_there: Whether the engine has answered on this connection before, so that its TLS
            settings are right.
    """
    code = problem.code()
    if code in _OF_ALL:
        return Unavailable(flow, f"Hatchet does not take the token: {said(problem)}")
    if is_of_database(problem):
        return Unavailable(flow, f"Hatchet cannot reach its database: {said(problem)}")
    if code == StatusCode.INVALID_ARGUMENT:
        return Misconfigured(flow, f"Hatchet refuses the request: {said(problem)}")
    text = f"{code.name.lower()}, {said(problem)}"
    means = first_match(_MEANS, text)
    if means == _HUNG_UP and was_there:
        means = _BROKE_OFF
    return Unavailable(flow, f"Hatchet: {text}" if means is None else f"Hatchet: {means} ({text})")


def unknown(id: str) -> Unknown:
    """The fault of an id that the engine does not know."""
    return support.unknown(id, "Hatchet")
