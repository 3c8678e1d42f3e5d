"""How the type of a value stands on the wire, and faults, which always say theirs."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from onward.codec.base import Refused
from onward.fault import KINDS, Fault

_ENCODER = msgspec.json.Encoder()


class Tag(msgspec.Struct, frozen=True, omit_defaults=True):
    """A value of one of several types, on the wire.

    Args:
        type: What the type is called.
        value: The value.
        task: The task that failed with it, where it is an error.
        is_marked: Whether it is surely a tag, and no data that looks like one: data cannot have a
            key of this name. What a step failed with has none, for its place says what it is, and
            neither has what 0.1 wrote.
    """

    type: str
    value: Raw
    task: str = ""
    is_marked: bool = msgspec.field(name="$onward.tag", default=False)


_DECODER = msgspec.json.Decoder(Tag)


def tagged(name: str, raw: bytes, task: str = "") -> bytes:
    """A value's JSON under the name of its type; under that of its task too, where it failed."""
    return _ENCODER.encode(Tag(name, Raw(raw), task, is_marked=not task))


def marked(raw: bytes | Raw) -> Raw:
    """What a step failed with, as the argument of what handles it."""
    try:
        tag = read_tag(raw)
    except Refused:  # which the handler's own codec says
        return Raw(raw)
    return Raw(_ENCODER.encode(msgspec.structs.replace(tag, is_marked=True)))


def read_tag(raw: bytes | Raw) -> Tag:
    """The tag that these bytes are; raises `Refused`."""
    try:
        return _DECODER.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise Refused(str(problem)) from None


def encode_fault(fault: Fault, *, is_marked: bool = False) -> bytes:
    """A fault under the name of its kind; whatever is in its texts, it can be sent."""
    try:
        raw = _ENCODER.encode(fault)
    except UnicodeEncodeError:
        sent = msgspec.to_builtins(fault)
        raw = _ENCODER.encode({key: _sendable(value) for key, value in sent.items()})
    return _ENCODER.encode(Tag(type(fault).__name__, Raw(raw), is_marked=is_marked))


def _sendable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return list(map(_sendable, value)) if isinstance(value, list | tuple) else value


def decode_fault(raw: bytes | Raw) -> Fault:
    """The fault that these bytes hold, or `Refused`."""
    tag = read_tag(raw)
    if tag.type not in KINDS:
        raise Refused(f"{tag.type!r} is no fault that this version knows")
    try:
        return msgspec.json.decode(tag.value, type=KINDS[tag.type])
    except (msgspec.MsgspecError, ValueError, RecursionError) as problem:
        raise Refused(str(problem)) from None
