"""Tags, which name the type of a value on the wire, and the codec of faults."""

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
        type: The name of the type.
        value: The value.
        task: The task that failed with it, if it is an error.
        is_marked: Whether it is certainly a tag: data cannot have a key of this name. The error of
            a step has no mark, because its place says what it is. Tags of 0.1 have none either.
    """

    type: str
    value: Raw
    task: str = ""
    is_marked: bool = msgspec.field(name="$onward.tag", default=False)


_DECODER = msgspec.json.Decoder(Tag)


def tagged(name: str, raw: bytes, task: str = "") -> bytes:
    """A value's JSON with the name of its type, and with that of its task if it is an error."""
    return _ENCODER.encode(Tag(name, Raw(raw), task, is_marked=not task))


def marked(raw: bytes | Raw) -> Raw:
    """Converts the error of a step to the argument of its handler."""
    try:
        tag = read_tag(raw)
    except Refused:  # the handler's own codec reports it
        return Raw(raw)
    return Raw(_ENCODER.encode(msgspec.structs.replace(tag, is_marked=True)))


def read_tag(raw: bytes | Raw) -> Tag:
    """Reads a tag; raises `Refused`."""
    try:
        return _DECODER.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise Refused(str(problem)) from None


def encode_fault(fault: Fault, *, is_marked: bool = False) -> bytes:
    """Encodes a fault with the name of its kind. It can encode any text."""
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
    """Decodes a fault; raises `Refused`."""
    tag = read_tag(raw)
    if tag.type not in KINDS:
        raise Refused(f"this version does not know the fault {tag.type!r}")
    try:
        return msgspec.json.decode(tag.value, type=KINDS[tag.type])
    except (msgspec.MsgspecError, ValueError, RecursionError) as problem:
        raise Refused(str(problem)) from None
