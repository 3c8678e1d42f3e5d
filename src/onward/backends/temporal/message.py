"""What passes between clients, workflows and workers beside the values."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace
from temporalio import exceptions
from temporalio.common import RawValue
from temporalio.exceptions import (
    ApplicationError,
    ApplicationErrorCategory,
    TerminatedError,
    TimeoutType,
)

from onward import outcome as outcomes
from onward.context import Progress
from onward.fault import BadPayload, Cancelled, Expired, Fault, Lost, Raised, TooLarge
from onward.outcome import Failed, Faulted, Outcome, Value, faulted
from onward.plan import Args, Runnable

LIMIT = 2_000_000
"""How many bytes a payload may have; Temporal's own limit is 2 MiB, with all that is around it."""

CRASHES = 50
"""How often a step's worker may die before the step counts as lost."""

CANCELLED = "cancelled by onward.cancel"
"""The reason for which a call is terminated that somebody cancelled."""


OMITTED = "onward-omitted"
"""What the metadata of a payload have that stands for one which was too large to be sent."""


class How(Struct, frozen=True, omit_defaults=True):
    """How a workflow runs its plan.

    Args:
        heartbeat: How long a worker that is at a step may be silent, in seconds.
        at: The place of the plan within its call, where it is a part of one.
        crashes: How often a step's worker may die before the step counts as lost.
    """

    heartbeat: float
    at: str = ""
    crashes: int = CRASHES


class Ticket(Struct, frozen=True, omit_defaults=True):
    """What a worker is told of a step, beside the values that it takes.

    Args:
        call: The call's id.
        flow: The call's flow.
        at: The step's place.
        step: The step itself, with its policy.
        key: The call's idempotency key.
        deadline: When the call expires, in seconds since 1970.
        keyword: The names of those values, from the last, that go by one.
        trace: The plan's trace.
    """

    call: str
    flow: str
    at: str
    step: Runnable
    key: str | None = None
    deadline: float | None = None
    keyword: tuple[str, ...] = ()
    trace: dict[str, str] = {}

    @property
    def name(self) -> str:
        """The task's name; the flow's, where it is fused."""
        return name_of(self.step, self.flow)


class Beat(Struct, frozen=True, omit_defaults=True):
    """What a worker says of a step while it is at it.

    Temporal counts every attempt; one that ended with its worker is none by the step's policy.

    Args:
        attempt: Which attempt by the step's policy it is, or is to be next, from 1.
        task: The task, of those of a fused step.
        step: Its place.
        progress: What it said of how far it is.
    """

    attempt: int = 1
    task: str = ""
    step: str = ""
    progress: Progress | None = None


def write(message: How | Ticket | Beat) -> bytes:
    """A message as bytes."""
    return _ENCODER.encode(message)


def read_how(raw: bytes) -> How:
    """The `How` that these bytes hold; raises msgspec.MsgspecError."""
    return _HOW.decode(raw)


def read_ticket(raw: bytes) -> Ticket:
    """The ticket that these bytes hold; raises msgspec.MsgspecError."""
    return _TICKET.decode(raw)


def read_beat(raw: bytes) -> Beat:
    """What a worker said last; nothing, where that cannot be read."""
    try:
        return _BEAT.decode(raw)
    except (msgspec.MsgspecError, ValueError):
        return Beat()


def name_of(step: Runnable, flow: str) -> str:
    """What a step goes by in Temporal's UI."""
    return getattr(step, "task", "") or shortened(flow)


def shortened(flow: str) -> str:
    """A flow's name as long as Temporal takes one for a type."""
    return flow if len(flow) <= 200 else f"{flow[:197]}..."


def values(args: Args) -> list[Raw]:
    """Arguments as the values that are sent, those that go by a name last."""
    return [*args.positional, *args.keyword.values()]


def args_of(values: Sequence[bytes], keyword: Sequence[str]) -> Args:
    """Arguments as they were sent."""
    count = len(values) - len(keyword)
    named = dict(zip(keyword, map(Raw, values[count:]), strict=True))
    return Args(tuple(map(Raw, values[:count])), named)


def size_of(args: Args) -> int:
    """How many bytes arguments have."""
    return sum(memoryview(raw).nbytes for raw in values(args))


def too_large(name: str, size: int) -> Faulted:
    """The outcome of what is too large to be sent."""
    message = f"{size} bytes, and Temporal carries {LIMIT} at a time"
    return faulted(TooLarge(name, message, size, LIMIT))


def omitted(sent: Sequence[RawValue], name: str) -> Outcome | None:
    """That one of these was too large to be sent, if so.

    Args:
        sent: What came.
        name: The task or flow that it is of.
    """
    for each in sent:
        if OMITTED in each.payload.metadata:
            return _named(outcomes.decode(each.payload.data), name)
    return None


def taken(given: RawValue, name: str) -> Outcome:
    """The outcome of a step or call that gave a value."""
    return omitted([given], name) or Value(Raw(given.payload.data))


def _named(outcome: Outcome, name: str) -> Outcome:
    """An outcome; what stands for something too large does not know whose it is."""
    if isinstance(outcome, Faulted):
        fault = outcome.fault
        if isinstance(fault, TooLarge) and not fault.task:
            return faulted(replace(fault, task=name))
    return outcome


def checked(outcome: Outcome, name: str) -> Outcome:
    """An outcome, if it can be sent; else that it cannot."""
    size = memoryview(outcome.raw).nbytes
    return outcome if size <= LIMIT else too_large(name, size)


class StepError(ApplicationError):
    """An outcome that is no value, for the SDK to send."""


def failure(outcome: Failed | Faulted, *, retry_after: float | None = None) -> StepError:
    """An outcome that is no value as the error that Temporal shows.

    Args:
        outcome: The outcome, which is all in there.
        retry_after: In how many seconds there is to be another attempt, if there is.
    """
    if isinstance(outcome, Failed):
        kind, message = "Failure", _start(outcome.raw)
    else:
        fault = outcome.fault
        kind = fault.error_type if isinstance(fault, Raised) else type(fault).__name__
        message = fault.message
    # An answer, and what is tried again, is no alarm to the worker's log and to the SDK's metrics.
    is_benign = isinstance(outcome, Failed) or retry_after is not None
    # Temporal takes a delay of 0 for none given.
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


def outcome_of(error: BaseException | None, name: str) -> Outcome:
    """The outcome that an error of Temporal's stands for.

    Args:
        error: What the SDK raised for a workflow or an activity, or the cause of that.
        name: The task or flow that it is of.
    """
    match error:
        case ApplicationError(details=[bytes() as raw, *_]):
            return _named(outcomes.decode(raw), name)
        case exceptions.ActivityError() | exceptions.ChildWorkflowError():
            return outcome_of(error.cause, name)
        case exceptions.TimeoutError(type=TimeoutType.HEARTBEAT):
            message = "its workers died each time"
            return faulted(Lost(name, message, CRASHES))
        case exceptions.TimeoutError():
            return faulted(expired(name))
        case exceptions.CancelledError():
            return faulted(Cancelled(name, "it was cancelled"))
        case TerminatedError() if "exceeds limit" in error.message:
            # The server's own end of what has too long a history, or too large a one.
            return faulted(TooLarge(name, error.message))
        case TerminatedError():
            why = "" if CANCELLED in error.message else f" ({error.message})"
            return faulted(Cancelled(name, f"it was cancelled{why}"))
        case ApplicationError(type="PayloadsTooLarge"):
            return faulted(TooLarge(name, error.message, 0, LIMIT))
        case _:
            kind = getattr(error, "type", None) or type(error).__name__
            return faulted(Raised(name, str(kind), str(error)))


def expired(name: str) -> Fault:
    """The fault of a call whose deadline passed."""
    return Expired(name, "its deadline passed before it had an outcome")


def unreadable(name: str, problem: Exception) -> Faulted:
    """The outcome of what others put in a task queue."""
    return faulted(BadPayload(name, f"nothing that Onward sends: {problem}"))


def _start(raw: Raw) -> str:
    return bytes(raw)[:1000].decode(errors="replace")


_ENCODER = msgspec.json.Encoder()
_HOW = msgspec.json.Decoder(How)
_TICKET = msgspec.json.Decoder(Ticket)
_BEAT = msgspec.json.Decoder(Beat)
