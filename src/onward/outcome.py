"""Outcomes of steps and calls on the wire: a value, a domain error or a fault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, TypeGuard

import msgspec
from returns.result import Failure, Result, Success

from onward.codec import Refused, decode_fault, encode_fault
from onward.codec.tags import read_tag
from onward.fault import ONLY_ONWARD, BadPayload, Fault, Lost, Moved, Unknown


class Value(msgspec.Struct, frozen=True, tag="value", tag_field="outcome"):
    """The step or call gave a value."""

    raw: msgspec.Raw


class Failed(msgspec.Struct, frozen=True, tag="error", tag_field="outcome"):
    """A task returned a domain error; `raw` names the task and the error's type."""

    raw: msgspec.Raw


class Faulted(msgspec.Struct, frozen=True, tag="fault", tag_field="outcome"):
    """The step or call ended with a fault; `raw` names its kind."""

    raw: msgspec.Raw

    @property
    def fault(self) -> Fault:
        """The decoded fault."""
        try:
            return decode_fault(self.raw)
        except Refused as refused:
            message = f"a fault that cannot be read: {refused.reason}"
            return BadPayload("", message, refused.path, ONLY_ONWARD)


Outcome: TypeAlias = Value | Failed | Faulted


def faulted(fault: Fault) -> Faulted:
    """Makes an outcome of a fault."""
    return Faulted(msgspec.Raw(encode_fault(fault)))


def unreadable(flow: str, what: str, why: Fault) -> Faulted:
    """The outcome of a call, or of a step, that a worker cannot read: a dead letter.

    Args:
        flow: The name of the call's flow; empty if that cannot be read either.
        what: What cannot be read, such as `its plan`.
        why: The reason.

    Example:
        >>> from onward import BadPayload
        >>> print(unreadable("ingest", "its plan", BadPayload("", "not a valid plan")).fault)
        ingest: its plan cannot be read (BadPayload: not a valid plan). Remove the cause, then \
resume it.
    """
    message = f"{what} cannot be read ({type(why).__name__}: {why.message.rstrip('.')})"
    return faulted(Lost(flow, message, advice="Remove the cause, then resume it."))


def error_type(failed: Failed) -> str:
    """The name of a domain error's type."""
    try:
        return read_tag(failed.raw).type
    except Refused:
        return "unreadable error"


def is_unknown(outcome: Outcome | None, id: str) -> TypeGuard[Faulted]:
    """Whether an outcome says that the backend does not know this id."""
    if not isinstance(outcome, Faulted):
        return False
    fault = outcome.fault
    return isinstance(fault, Unknown) and fault.task == id


def moved_by(outcome: Outcome | None) -> Moved | None:
    """Where a call went that has this outcome; None if it was not moved."""
    if not isinstance(outcome, Faulted) or b"Moved" not in bytes(outcome.raw):
        return None
    fault = outcome.fault
    return fault if isinstance(fault, Moved) else None


def one_of(found: Result[Mapping[str, Outcome], Fault], id: str) -> Result[Outcome | None, Fault]:
    """The answer of `Backend.outcome`, made from that of `Backend.settled`."""
    if isinstance(found, Failure):
        return Failure(found.failure())
    outcome = found.unwrap().get(id)
    if is_unknown(outcome, id):
        return Failure(outcome.fault)
    return Success(outcome)


def encode(outcome: Outcome) -> bytes:
    """Encodes an outcome as bytes."""
    return _ENCODER.encode(outcome)


def decode(raw: bytes) -> Outcome:
    """Decodes an outcome; invalid bytes give a `BadPayload` outcome."""
    try:
        return _DECODER.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as problem:
        return faulted(BadPayload("", f"not a valid outcome: {problem}", advice=ONLY_ONWARD))


_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[Outcome] = msgspec.json.Decoder(Outcome)
