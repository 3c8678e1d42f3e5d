"""The codec of secrets, which have a key of their own on the wire."""

from __future__ import annotations

from typing import Any, get_origin

import msgspec
from msgspec import Raw

from onward.codec.base import KINDS_OF_JSON, OBJECT, Annotation, Codec, Refused, kind_of
from onward.codec.schemas import Schema
from onward.secret import MARK, unmarked

_OBJECT = msgspec.json.Decoder(dict[str, Raw])


class SecretOf(Codec):
    """The codec of `Secret`, and of pydantic's secrets."""

    __slots__ = ("_inner", "_kind")

    def __init__(self, annotation: Annotation, inner: Codec) -> None:
        self.annotation = annotation
        self._kind: Any = annotation
        self._inner = inner

    @property
    def kinds(self) -> frozenset[str]:
        return KINDS_OF_JSON  # it also reads values that were sent before they were secret

    def schema(self) -> Schema:
        return self._inner.schema()  # it also reads values that were sent before they were secret

    def write(self, value: Any) -> bytes:
        kind = get_origin(self._kind) or self._kind
        if not isinstance(value, kind):
            raise Refused(f"Expected `{kind.__qualname__}`, got `{type(value).__qualname__}`")
        try:
            return b'{"%b":%b}' % (MARK.encode(), self._inner.encode(value.get_secret_value()))
        except Refused:
            raise self._refused() from None

    def read(self, raw: bytes | Raw) -> Any:
        if kind_of(raw) == OBJECT:
            try:
                raw = unmarked(_OBJECT.decode(raw), raw)
            except msgspec.MsgspecError as problem:
                raise Refused(f"not valid JSON: {problem}") from None
            except ValueError as problem:
                raise Refused(str(problem)) from None
        try:
            return self._kind(self._inner.read(raw))
        except Refused:
            raise self._refused() from None

    def _refused(self) -> Refused:
        # The original reason and path may quote the secret.
        annotation: Any = self._inner.annotation
        kept = annotation.__qualname__ if isinstance(annotation, type) else annotation
        return Refused(f"the secret's value is not of type {kept}")
