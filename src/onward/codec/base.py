"""`Codec`, the base class of all codecs, and `Refused`."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

from msgspec import Raw

from onward.codec.same import difference
from onward.codec.schemas import Schema

Annotation: TypeAlias = object
"""A type annotation. Type checkers have no narrower type for it."""

Find: TypeAlias = Callable[[str], "Codec | None"]
"""Finds the error codec of a task by its name."""

RESERVED = "$onward."
"""The prefix of keys that only Onward writes. Data cannot have it, so it never looks like a tag."""

_RESERVED_KEY = rb'"\$onward\.[^"\\]*":'

NULL, BOOL, NUMBER, STR, ARRAY, OBJECT = "null", "bool", "number", "str", "array", "object"
KINDS_OF_JSON = frozenset((NULL, BOOL, NUMBER, STR, ARRAY, OBJECT))


class Refused(ValueError):
    """A value, or bytes, that an annotation does not allow."""

    def __init__(self, reason: str, path: str = "$") -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path

    def at(self, where: str) -> Refused:
        """The same refusal with a longer path. `where` is the outer part, such as `.name`."""
        return Refused(self.reason, f"${where}{self.path[1:]}")


class Codec(ABC):
    """Writes values of an annotation as JSON, and reads them back."""

    __slots__ = ("annotation",)

    annotation: Annotation

    @property
    @abstractmethod
    def kinds(self) -> frozenset[str]:
        """The kinds of JSON that it may write."""

    @abstractmethod
    def schema(self) -> Schema:
        """The JSON Schema of what it writes, and of what it accepts."""

    @abstractmethod
    def write(self, value: Any) -> bytes:
        """Writes a value as JSON, without a check that it can be read back; raises `Refused`."""

    @abstractmethod
    def read(self, raw: bytes | Raw) -> Any:
        """Reads a value from JSON; raises `Refused`."""

    def encode(self, value: Any) -> bytes:
        """Writes a value as JSON, and checks that it reads back the same; raises `Refused`."""
        try:
            raw = self.write(value)
            changed = difference(value, self.read(raw))
        except RecursionError:
            raise Refused("nested too deeply (or it contains itself)") from None
        if changed is not None:
            raise Refused(changed.reason, f"${changed.path}")
        return raw

    def decode(self, raw: bytes | Raw, find: Find | None = None) -> Any:
        """Reads a value from JSON; raises `Refused`.

        Args:
            raw: The JSON.
            find: Looks up the error codec of the task that failed, for an error whose type the
                annotation names only by a base class.
        """
        try:
            return self.read(raw)
        except RecursionError:
            raise Refused("nested too deeply") from None


def check_keys(raw: bytes) -> None:
    """Refuses data with a key that only Onward writes."""
    # In JSON without spaces, a quote before a colon ends a key.
    if b'"$onward.' in raw and re.search(_RESERVED_KEY, raw):
        raise Refused(f"keys that begin with {RESERVED!r} are Onward's own: rename the key")


def kind_of(raw: bytes | Raw) -> str:
    """The kind of a JSON text, by its first character."""
    first = bytes(memoryview(raw)[:64]).lstrip()[:1]
    return _FIRST.get(first, NUMBER)


_FIRST = {b"{": OBJECT, b"[": ARRAY, b'"': STR, b"t": BOOL, b"f": BOOL, b"n": NULL}
