"""Turns Temporal's errors into faults with advice, and outcomes into Temporal's errors."""

from __future__ import annotations

import re
import textwrap
from datetime import timedelta

from msgspec import Raw
from msgspec.structs import replace
from temporalio import exceptions
from temporalio.exceptions import (
    ApplicationError,
    ApplicationErrorCategory,
    TerminatedError,
    TimeoutType,
)
from temporalio.service import RPCError, RPCStatusCode

from onward import outcome as outcomes
from onward.backend.support import expired, first_match, unknown
from onward.backends.temporal.message import CANCELLED, CRASHES, EXPIRED, LIMIT, MOVED, named
from onward.fault import (
    Cancelled,
    Fault,
    Lost,
    Misconfigured,
    Raised,
    TooLarge,
    Unavailable,
    Unknown,
)
from onward.outcome import Failed, Faulted, Outcome, faulted

_MEANINGS = {
    "refused": ("nothing listens at {}", "start Temporal there, or correct the host and port"),
    "tcp connect error": (
        "{} cannot be reached",
        "check that it runs, and its firewall",
    ),
    "dns error": ("the host of {} is not known", "correct its name"),
    "InvalidCertificate": (
        "the certificate of {} is not valid here",
        "name the authority that signed it, and the host that it is for",
    ),
    "InvalidContentType": ("{} does not use TLS", "turn TLS off, or name the port that uses it"),
    "h2 protocol error": ("{} does not speak gRPC", "name the port where Temporal itself listens"),
    "nauth": ("{} does not accept these credentials", "correct the API key"),
    "ermission": ("{} forbids it", "check what the API key or the certificate permits"),
    "transport error": (
        "{} closes the connection",
        "check whether it requires TLS, or a client's certificate",
    ),
    "canceled": (
        "{} closes the connection",
        "check that it is Temporal, and whether it requires TLS",
    ),
    "imeout": ("{} does not answer", "check that it runs, and that it is Temporal"),
    "deadline exceeded": ("{} does not answer in time", "check whether it is overloaded"),
}
"""What an error of the SDK means, and what to do about it, by a piece of its text."""

_UNCLEAR = ("{} fails", "try again; if it fails again, look into the log of the server")

_CAUSE = re.compile(r'(?:message|error): "([^"]+)"|Invalid\w+\((\w+)')
"""The readable part of an error that the SDK prints in Rust's debug format."""


_KEPT = 1200
"""The largest size of a fault that is kept of an attempt that is made again, in bytes."""


class StepError(ApplicationError):
    """A domain error or a fault, as the SDK sends it."""


def failure(outcome: Failed | Faulted, *, retry_after: float | None = None) -> StepError:
    """Turns a domain error or a fault into the error that Temporal shows.

    Args:
        outcome: The outcome. The error carries all of it if there is no other attempt.
        retry_after: The delay before the next attempt, in seconds; None if there is none.
    """
    if retry_after is not None:
        outcome = _shortened(outcome)
    if isinstance(outcome, Failed):
        kind, message = "Failure", _beginning(outcome.raw)
    else:
        fault = outcome.fault
        kind = fault.error_type if isinstance(fault, Raised) else type(fault).__name__
        message = fault.message
    # Domain errors and retried attempts are expected, and must not alarm in logs and metrics.
    is_benign = isinstance(outcome, Failed) or retry_after is not None
    # Temporal takes a delay of 0 for no delay given.
    delay = None if retry_after is None else timedelta(seconds=max(retry_after, 0.001))
    return StepError(
        message[:1000],
        outcomes.encode(outcome),
        type=kind,
        non_retryable=retry_after is None,
        next_retry_delay=delay,
        category=ApplicationErrorCategory.BENIGN
        if is_benign
        else ApplicationErrorCategory.UNSPECIFIED,
    )


def _shortened(outcome: Failed | Faulted) -> Failed | Faulted:
    """A failure without the beginning of its traceback, if it is long.

    The server keeps 4 KB of an attempt that it makes again, with the stack that the SDK adds; of
    more it keeps nothing.
    """
    if isinstance(outcome, Failed) or memoryview(outcome.raw).nbytes <= _KEPT:
        return outcome
    fault = outcome.fault
    if not isinstance(fault, Raised):
        return outcome
    message, traceback = fault.message[: _KEPT // 8], fault.traceback[-_KEPT // 2 :]
    return faulted(replace(fault, message=message, traceback=traceback))


def outcome_of(error: BaseException | None, name: str) -> Outcome:
    """Turns an error of Temporal's into an outcome.

    Args:
        error: The SDK's error for a workflow or an activity, or its cause.
        name: The task or flow that it belongs to.
    """
    match error:
        case ApplicationError(details=[bytes() as raw, *_]):
            return named(outcomes.decode(raw), name)
        case exceptions.ActivityError() | exceptions.ChildWorkflowError():
            return outcome_of(error.cause, name)
        case exceptions.TimeoutError(type=TimeoutType.HEARTBEAT):
            message = "its worker died at each attempt"
            return faulted(Lost(name, message, CRASHES))
        case exceptions.TimeoutError():
            return faulted(expired(name))
        case exceptions.CancelledError():
            return faulted(Cancelled(name, "it was cancelled"))
        case TerminatedError() if "exceeds limit" in error.message:
            # The server ends a workflow whose history is too long or too large.
            return faulted(TooLarge(name, error.message))
        case TerminatedError() if MOVED in error.message:
            raw = error.message.partition(MOVED)[2].encode()
            return Faulted(Raw(raw))
        case TerminatedError() if EXPIRED in error.message:
            return faulted(expired(name))
        case TerminatedError():
            why = "" if CANCELLED in error.message else f" ({error.message})"
            return faulted(Cancelled(name, f"it was cancelled{why}"))
        case ApplicationError(type="PayloadsTooLarge"):
            return faulted(TooLarge(name, error.message, 0, LIMIT))
        case _:
            kind = getattr(error, "type", None) or type(error).__name__
            return faulted(Raised(name, str(kind), str(error)))


def _beginning(raw: Raw) -> str:
    return bytes(raw)[:1000].decode(errors="replace")


def fault_of(problem: RPCError, what: str, target: str) -> Fault:
    """Turns an error of the server into a fault.

    Args:
        problem: The error.
        what: The flow or id that the request was about.
        target: The server's host and port.
    """
    text = problem.message.rstrip(".")
    if problem.status == RPCStatusCode.NOT_FOUND and "amespace" in text:
        return Misconfigured("namespace", f"{text}: create it, or name another one")
    if problem.status == RPCStatusCode.NOT_FOUND:
        return _unknown(what)
    is_size = problem.status in (
        RPCStatusCode.INVALID_ARGUMENT,
        RPCStatusCode.RESOURCE_EXHAUSTED,
    )
    if is_size and any(word in text for word in ("exceeds", "larger than")):
        return TooLarge(what, text, 0, LIMIT)
    if problem.status == RPCStatusCode.INVALID_ARGUMENT:
        return Misconfigured(what, text)
    if problem.status == RPCStatusCode.UNIMPLEMENTED and "ctivity" in text:
        return _unknown(what)  # the id of a single activity, which this server does not support
    return unavailable(what, target, f"{problem.status.name.lower().replace('_', ' ')}: {text}")


def unavailable(what: str, target: str, error: str) -> Unavailable:
    """The fault for a server that is not reached.

    Args:
        what: The flow or id that the request was about.
        target: The server's host and port.
        error: The text of the SDK's error.
    """
    meaning, cure = first_match(_MEANINGS, error) or _UNCLEAR
    causes = ["".join(found) for found in _CAUSE.findall(error)]
    cause = textwrap.shorten((causes or [error])[-1].partition(": http")[0], 100)
    return Unavailable(what, f"{meaning.format(target)} ({cause}): {cure}")


def _unknown(id: str) -> Unknown:
    return unknown(id, "this namespace")
