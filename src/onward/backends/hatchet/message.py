"""The messages: a plan is the input of a run, and its outcome the output.

Both are text within JSON. The engine parses and rewrites JSON on the way, which changes some of it,
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
"""How many bytes of a message the engine may put around an input or an output."""

KEY = "onward"
"""The entry of a run's metadata with its idempotency key."""

DUE = "hatchet__cron_scheduled_at"
"""The entry in which the engine says when a scheduled run was due."""


class RunInput(Struct, frozen=True, omit_defaults=True):
    """The input of a run.

    Args:
        plan: The plan, as text.
        at: The place of the plan's root within its call.
        call: The call's id, if it is the id of another run.
        start: When to start, in seconds since 1970; a worker that receives it earlier waits.
    """

    plan: str
    at: str = ""
    call: str = ""
    start: float = 0.0


class LastAttempt(Struct, frozen=True):
    """The attempt that a run ended with, for `status`; all text, as the engine rewrites numbers."""

    task: str
    step: str
    attempt: str


class StepResult(Struct, frozen=True, omit_defaults=True):
    """The result of a run, or of a step of a DAG.

    Args:
        error: What went wrong, for people.
        outcome: The outcome, as text.
        at: The place of the step.
        ends: Whether it is the outcome of the whole call.
        skips: Whether the engine skips the steps after this one; it reads this in the output.
        kept: The id of the run that keeps the value, which is too large to be sent to later steps
            together with the other values.
        last: Which attempt it was.
    """

    error: str = ""
    outcome: str = ""
    at: str = ""
    ends: bool = False
    skips: bool = msgspec.field(default=False, name="skipped")
    kept: str = ""
    last: LastAttempt | None = None

    @property
    def read(self) -> Outcome:
        """The outcome itself."""
        return outcomes.decode(self.outcome.encode())


class Payload(Struct, frozen=True):
    """The payload of an action: the run's input, and the results of a step's parents in the DAG."""

    input: RunInput
    parents: dict[str, StepResult] | None = None


_ENCODER = msgspec.json.Encoder()
_ORDER = msgspec.json.Decoder(RunInput)
_CAME = msgspec.json.Decoder(StepResult)
_PAYLOAD = msgspec.json.Decoder(Payload)


def input_of(plan: Plan, *, at: str = "", call: str = "", start: float = 0.0) -> RunInput:
    """A plan as the input of a run."""
    return RunInput(plans.encode(plan).decode(), at, call, start)


def write(what: RunInput | StepResult) -> str:
    """A message as text."""
    return _ENCODER.encode(what).decode()


def read_input(raw: bytes) -> RunInput | None:
    """The input of a run; None if it is not Onward's."""
    return _read(_ORDER, raw)


def read_result(text: str | bytes) -> StepResult | None:
    """The result in an output or error; None if it is not Onward's."""
    return _read(_CAME, text) if text else None


def read_payload(text: str) -> Result[Payload, Fault]:
    """The payload of an action, which may be anything."""
    payload = _read(_PAYLOAD, text)
    if payload is None:
        message = "the run's input is not a plan: it was not made by Onward"
        return Failure(BadPayload("", message, advice=ONLY_ONWARD))
    return Success(payload)


def result_of(outcome: Outcome, *, at: str, ends: bool) -> StepResult:
    """An outcome as a message."""
    return StepResult(_error(outcome), outcomes.encode(outcome).decode(), at, ends)


def size_of(text: str) -> int:
    """How many bytes a text of JSON has once the engine has rewritten it."""
    # Go writes these as \u003c, \u003e, \u0026, \u2028 and \u2029.
    rewritten = sum(map(text.count, "<>&"))
    return len(text.encode()) + 5 * rewritten + 3 * sum(map(text.count, "\u2028\u2029"))


def too_large(name: str, what: str, size: int, limit: int) -> TooLarge:
    """The fault of something with more bytes than Hatchet takes."""
    message = f"{what} comes to {size} bytes on the wire, and Hatchet takes {limit}"
    return TooLarge(name, message, size=size, limit=limit)


def cancelled(flow: str) -> Cancelled:
    """The fault of a call that was cancelled."""
    return Cancelled(flow, "it was cancelled")


def _error(outcome: Outcome) -> str:
    if isinstance(outcome, Value):
        return ""
    text = bytes(outcome.raw).decode() if isinstance(outcome, Failed) else str(outcome.fault)
    return text[:500].replace("\0", "\\0")  # which the engine never takes


def _read(decoder: msgspec.json.Decoder[_T], raw: str | bytes) -> _T | None:
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeError, ValueError, RecursionError):
        return None
