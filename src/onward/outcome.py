"""What came of a step or a call, as it crosses the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, TypeGuard

import msgspec
from returns.result import Failure, Result, Success

from onward.codec import Refused, decode_fault, encode_fault
from onward.codec.tags import read_tag
from onward.fault import ONLY_ONWARD, BadPayload, Fault, Unknown


class Value(msgspec.Struct, frozen=True, tag="value", tag_field="outcome"):
    """It gave a value."""

    raw: msgspec.Raw


class Failed(msgspec.Struct, frozen=True, tag="error", tag_field="outcome"):
    """A task answered with a domain error; `raw` names the task and the error's type."""

    raw: msgspec.Raw


class Faulted(msgspec.Struct, frozen=True, tag="fault", tag_field="outcome"):
    """Something went wrong outside the domain; `raw` names the kind of fault."""

    raw: msgspec.Raw

    @property
    def fault(self) -> Fault:
        """The fault itself."""
        try:
            return decode_fault(self.raw)
        except Refused as refused:
            message = f"a fault that cannot be read: {refused.reason}"
            return BadPayload("", message, refused.path, ONLY_ONWARD)


Outcome: TypeAlias = Value | Failed | Faulted


def faulted(fault: Fault) -> Faulted:
    """The outcome that a fault is."""
    return Faulted(msgspec.Raw(encode_fault(fault)))


def error_type(failed: Failed) -> str:
    """The name of a domain error's type."""
    try:
        return read_tag(failed.raw).type
    except Refused:
        return "of no readable type"


def is_unknown(outcome: Outcome | None, id: str) -> TypeGuard[Faulted]:
    """Whether an outcome is that nobody knows this id."""
    if not isinstance(outcome, Faulted):
        return False
    fault = outcome.fault
    return isinstance(fault, Unknown) and fault.task == id


def one_of(found: Result[Mapping[str, Outcome], Fault], id: str) -> Result[Outcome | None, Fault]:
    """What `Backend.outcome` answers, where `Backend.settled` found this."""
    if isinstance(found, Failure):
        return Failure(found.failure())
    outcome = found.unwrap().get(id)
    if is_unknown(outcome, id):
        return Failure(outcome.fault)
    return Success(outcome)


def encode(outcome: Outcome) -> bytes:
    """An outcome as bytes."""
    return _ENCODER.encode(outcome)


def decode(raw: bytes) -> Outcome:
    """The outcome that these bytes hold; a `BadPayload` outcome where they hold none."""
    try:
        return _DECODER.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as problem:
        return faulted(BadPayload("", f"no outcome: {problem}", advice=ONLY_ONWARD))


_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[Outcome] = msgspec.json.Decoder(Outcome)
