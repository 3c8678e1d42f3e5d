"""Payloads as the JSON that Onward has made already, which Temporal's UI shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.converter import DataConverter, PayloadConverter

_METADATA = {"encoding": b"json/plain"}


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


def converter(given: DataConverter | None) -> DataConverter:
    """What a user's converter does to payloads and failures on their way, with our payloads."""
    return replace(given or DataConverter.default, payload_converter_class=Json)
