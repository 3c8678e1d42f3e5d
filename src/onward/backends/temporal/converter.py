"""Sends Onward's JSON as Temporal's payloads, which Temporal's UI can show."""

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

_MAX_SIZE = 2 * 1024 * 1024 - 16 * 1024
"""The largest total size of encoded payloads: Temporal's own limit, less room for headers."""


def payload(raw: bytes | memoryview) -> Payload:
    """Makes a payload of JSON."""
    return Payload(metadata=_METADATA, data=bytes(raw))


def raw_value(raw: bytes | memoryview) -> RawValue:
    """Makes a value of JSON that the SDK passes on unchanged."""
    return RawValue(payload(raw))


class JsonConverter(PayloadConverter):
    """Converts payloads to and from bytes of JSON. It encodes the SDK's own values as JSON."""

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


class SizeLimitedCodec(PayloadCodec, WithSerializationContext):
    """Wraps a user's codec, and replaces payloads that are too large once they are encoded.

    A workflow cannot know the encoded size, and the SDK would retry sending it forever.
    """

    def __init__(self, given: PayloadCodec) -> None:
        self._given = given

    def with_context(self, context: SerializationContext) -> SizeLimitedCodec:
        """See `WithSerializationContext.with_context`."""
        if isinstance(self._given, WithSerializationContext):
            return SizeLimitedCodec(self._given.with_context(context))
        return self

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """See `PayloadCodec.encode`."""
        left = list(payloads)
        by_size = sorted(range(len(left)), key=lambda at: left[at].ByteSize())
        encoded = await self._given.encode(left)
        while (size := sum(each.ByteSize() for each in encoded)) > _MAX_SIZE and by_size:
            left[by_size.pop()] = _omitted(size)
            encoded = await self._given.encode(left)
        return encoded

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """See `PayloadCodec.decode`."""
        return await self._given.decode(payloads)


def _omitted(size: int) -> Payload:
    raw = outcomes.encode(too_large("", size))
    return Payload(metadata=_METADATA | {OMITTED: b"true"}, data=raw)


def data_converter(given: DataConverter | None) -> DataConverter:
    """Combines Onward's payloads with a user's payload codec and failure converter."""
    return replace(given or DataConverter.default, payload_converter_class=JsonConverter)


def with_size_limit(given: DataConverter) -> DataConverter:
    """Limits the size of what a worker sends, if a codec may enlarge it.

    With external storage there is no limit, because large payloads go there.
    """
    if given.payload_codec is None or given.external_storage is not None:
        return given
    return replace(given, payload_codec=SizeLimitedCodec(given.payload_codec))
