"""Payloads as the JSON that Onward has made already, which Temporal's UI shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.converter import (
    DataConverter,
    PayloadCodec,
    PayloadConverter,
    SerializationContext,
    WithSerializationContext,
)

from onward import outcome as outcomes
from onward.backends.temporal.message import OMITTED, too_large

_METADATA = {"encoding": b"json/plain"}

_MOST = 2 * 1024 * 1024 - 16 * 1024
"""How many bytes may go together as they are sent: Temporal's own limit, less what is around."""


def payload(raw: bytes | memoryview) -> Payload:
    """JSON as a payload."""
    return Payload(metadata=_METADATA, data=bytes(raw))


def value(raw: bytes | memoryview) -> RawValue:
    """JSON as a value that the SDK passes on as it is."""
    return RawValue(payload(raw))


class Json(PayloadConverter):
    """Takes and gives bytes of JSON. What else there is, the SDK itself has sent."""

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        """See `PayloadConverter.to_payloads`."""
        return [_payload(value) for value in values]

    def from_payloads(
        self, payloads: Sequence[Payload], type_hints: list[type] | None = None
    ) -> list[Any]:
        """See `PayloadConverter.from_payloads`."""
        hints = type_hints or [bytes] * len(payloads)
        return [
            RawValue(each) if hint is RawValue else each.data
            for each, hint in zip(payloads, hints, strict=True)
        ]


def _payload(value: Any) -> Payload:
    if isinstance(value, RawValue):
        return value.payload
    return payload(value if isinstance(value, bytes) else msgspec.json.encode(value))


class Bounded(PayloadCodec, WithSerializationContext):
    """A user's codec, which says of what it made too large to be sent that it is.

    A workflow cannot know that. The SDK would send it again and again.
    """

    def __init__(self, given: PayloadCodec) -> None:
        self._given = given

    def with_context(self, context: SerializationContext) -> Bounded:
        """See `WithSerializationContext.with_context`."""
        if isinstance(self._given, WithSerializationContext):
            return Bounded(self._given.with_context(context))
        return self

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """See `PayloadCodec.encode`."""
        left = list(payloads)
        by_size = sorted(range(len(left)), key=lambda at: left[at].ByteSize())
        encoded = await self._given.encode(left)
        while (size := sum(each.ByteSize() for each in encoded)) > _MOST and by_size:
            left[by_size.pop()] = _omitted(size)
            encoded = await self._given.encode(left)
        return encoded

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """See `PayloadCodec.decode`."""
        return await self._given.decode(payloads)


def _omitted(size: int) -> Payload:
    raw = outcomes.encode(too_large("", size))
    return Payload(metadata=_METADATA | {OMITTED: b"true"}, data=raw)


def converter(given: DataConverter | None) -> DataConverter:
    """What a user's converter does to payloads and failures on their way, with our payloads."""
    return replace(given or DataConverter.default, payload_converter_class=Json)


def bounded(given: DataConverter) -> DataConverter:
    """The same for a worker, whom nobody could tell that something is too large.

    With storage elsewhere, that is where it goes.
    """
    if given.payload_codec is None or given.external_storage is not None:
        return given
    return replace(given, payload_codec=Bounded(given.payload_codec))
