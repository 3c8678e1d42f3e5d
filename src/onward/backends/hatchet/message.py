"""The messages: the input of a run is a plan, and its output an outcome.

Both are text inside of JSON, because the engine parses and rewrites JSON, which changes some of it,
such as large numbers.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import Struct
from returns.result import Failure, Result, Success

from onward import outcome as outcomes
from onward import plan as plans
from onward.fault import ONLY_ONWARD, BadPayload, Cancelled, Fault, TooLarge
from onward.outcome import Failed, Outcome, Value
from onward.plan import Plan

_T = TypeVar("_T")

MARGIN = 64 * 1024
"""How many bytes the engine may add to an input or an output in one message."""

KEY = "onward"
"""The metadata entry with a run's idempotency key."""

DUE = "hatchet__cron_scheduled_at"
"""The metadata entry in which the engine stores when a scheduled run was due."""


class RunInput(Struct, frozen=True, omit_defaults=True):
    """The input of a run.

    Args:
        plan: The plan, as text.
        at: The path of the plan's root within its call.
        call: The call's id, if the call is another run.
        start: When to start, in seconds since 1970. A worker that receives it earlier waits.
        outcome: The outcome that the run stores, as text, if it is a record.
        signal: The name of the signal whose value the run stores, or whose mailbox it is.
        cleans_up: Whether the call was cancelled, and the run only runs its cleanups.
        wakes: Whether the run only has the call go on, because its wait is due.
        attempt: The only attempt that the run makes at its step; 0 if it makes them all.
        holds: Whether the run holds the place of its call in a limit.
    """

    plan: str
    at: str = ""
    call: str = ""
    start: float = 0.0
    outcome: str = ""
    signal: str = ""
    cleans_up: bool = False
    wakes: bool = False
    attempt: int = 0
    holds: bool = False


class EarlierAttempt(Struct, frozen=True):
    """An attempt that was not the last one: all text, because the engine rewrites numbers."""

    number: str
    began: str
    ended: str
    outcome: str


class LastAttempt(Struct, frozen=True, omit_defaults=True):
    """A run's last attempt: all text, because the engine rewrites numbers.

    Args:
        task: Its task.
        step: Its path.
        attempt: Its number.
        began: When it began, in seconds since 1970.
        worker: The worker that made it.
        earlier: The attempts before it.
    """

    task: str
    step: str
    attempt: str
    began: str = ""
    worker: str = ""
    earlier: tuple[EarlierAttempt, ...] = ()


class StepResult(Struct, frozen=True, omit_defaults=True):
    """The result of a run, or of a step of a DAG.

    Args:
        error: The failure, for people to read.
        outcome: The outcome, as text.
        at: The step's path.
        ends: Whether this is the outcome of the whole call.
        skips: Whether the engine skips the steps after this one. It reads this in the output.
        kept: The id of the run that stores the value, if the value is too large to be sent to later
            steps together with the other values.
        last: The last attempt.
        runs: How many runs of steps the call has, if it is not a DAG: text, as in `LastAttempt`.
    """

    error: str = ""
    outcome: str = ""
    at: str = ""
    ends: bool = False
    skips: bool = msgspec.field(default=False, name="skipped")
    kept: str = ""
    last: LastAttempt | None = None
    runs: str = ""

    @property
    def read(self) -> Outcome:
        """Decodes the outcome."""
        return outcomes.decode(self.outcome.encode())


class Payload(Struct, frozen=True):
    """The payload of an action: the run's input, and the results of a step's parents in the DAG."""

    input: RunInput
    parents: dict[str, StepResult] | None = None


class _Wrapped(Struct, frozen=True):
    input: msgspec.Raw


_ENCODER = msgspec.json.Encoder()
_WRAPPED = msgspec.json.Decoder(_Wrapped)
_INPUT = msgspec.json.Decoder(RunInput)
_RESULT = msgspec.json.Decoder(StepResult)
_PAYLOAD = msgspec.json.Decoder(Payload)


def input_of(plan: Plan, *, at: str = "", call: str = "", start: float = 0.0) -> RunInput:
    """Makes the input of a run from a plan."""
    return RunInput(plans.encode(plan).decode(), at, call, start)


def origin_of(plan: Plan, call: str) -> str:
    """The id that the steps of a call see: its own, or that of the first call it continues.

    Args:
        plan: The call's plan, whose id only Onward knows.
        call: The call's id, which is that of its run.
    """
    return call if plan.past is None or not plan.past.origin else plan.past.origin


def encode(what: RunInput | StepResult) -> str:
    """Encodes a message as JSON."""
    return _ENCODER.encode(what).decode()


def decode_input(raw: bytes) -> RunInput | None:
    """Decodes the input of a run; returns None if it is not Onward's."""
    return _read(_INPUT, raw)


def unwrapped(raw: msgspec.Raw) -> bytes:
    """Returns the input of a run. The HTTP API wraps it if the run has a single task."""
    wrapped = _read(_WRAPPED, bytes(raw))
    return bytes(raw) if wrapped is None else bytes(wrapped.input)


def decode_result(text: str | bytes) -> StepResult | None:
    """Decodes an output or an error of a run; returns None if it is not Onward's."""
    return _read(_RESULT, text) if text else None


def decode_payload(text: str) -> Result[Payload, Fault]:
    """Decodes the payload of an action; returns a fault if it is not Onward's."""
    payload = _read(_PAYLOAD, text)
    if payload is None:
        message = "the run's input is not a plan: it was not made by Onward"
        return Failure(BadPayload("", message, advice=ONLY_ONWARD))
    return Success(payload)


def result_of(outcome: Outcome, *, at: str, ends: bool) -> StepResult:
    """Makes the message of an outcome."""
    return StepResult(_error(outcome), outcomes.encode(outcome).decode(), at, ends)


def size_of(text: str) -> int:
    """Returns the size of a JSON text after the engine has rewritten it, in bytes."""
    # Go encodes these characters as \u003c, \u003e, \u0026, \u2028 and \u2029.
    rewritten = sum(map(text.count, "<>&"))
    return len(text.encode()) + 5 * rewritten + 3 * sum(map(text.count, "\u2028\u2029"))


def too_large(name: str, what: str, size: int, limit: int) -> TooLarge:
    """The fault for something that has more bytes than Hatchet accepts."""
    message = f"{what} has {size} bytes on the wire, and Hatchet accepts at most {limit}"
    return TooLarge(name, message, size=size, limit=limit)


def cancelled(flow: str) -> Cancelled:
    """The fault for a cancelled call."""
    return Cancelled(flow, "it was cancelled")


def _error(outcome: Outcome) -> str:
    if isinstance(outcome, Value):
        return ""
    text = bytes(outcome.raw).decode() if isinstance(outcome, Failed) else str(outcome.fault)
    return text[:500].replace("\0", "\\0")  # the engine does not accept NUL


def _read(decoder: msgspec.json.Decoder[_T], raw: str | bytes) -> _T | None:
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeError, ValueError, RecursionError):
        return None
