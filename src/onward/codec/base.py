"""What every codec is: an annotation, and values to JSON bytes and back by it."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

from msgspec import Raw

from onward.codec.same import difference

Annotation: TypeAlias = object
"""What stands behind the colon; type checkers have no closer word for it."""

Find: TypeAlias = Callable[[str], "Codec | None"]
"""Finds the error codec of a task by its name."""

RESERVED = "$onward."
"""How the keys begin that only Onward writes, and no data: data cannot be taken for a tag."""

_RESERVED_KEY = re.compile(rb'"\$onward\.[^"\\]*":')

NULL, BOOL, NUMBER, STR, ARRAY, OBJECT = "null", "bool", "number", "str", "array", "object"
KINDS_OF_JSON = frozenset((NULL, BOOL, NUMBER, STR, ARRAY, OBJECT))


class Refused(ValueError):
    """A value, or bytes, that an annotation does not allow."""

    def __init__(self, reason: str, path: str = "$") -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path

    def at(self, where: str) -> Refused:
        """The same, seen from around it: `where` is the step from there, such as `.name`."""
        return Refused(self.reason, f"${where}{self.path[1:]}")


class Codec(ABC):
    """Writes values of an annotation as JSON, and reads them back."""

    __slots__ = ("annotation",)

    annotation: Annotation

    @property
    @abstractmethod
    def kinds(self) -> frozenset[str]:
        """What kinds of JSON it may write."""

    @abstractmethod
    def write(self, value: Any) -> bytes:
        """The value as JSON, not yet proven to come back; raises `Refused`."""

    @abstractmethod
    def read(self, raw: bytes | Raw) -> Any:
        """The value that these bytes hold; raises `Refused`."""

    def encode(self, value: Any) -> bytes:
        """The value as JSON, proven to come back as the annotation says, or `Refused`."""
        try:
            raw = self.write(value)
            changed = difference(value, self.read(raw))
        except RecursionError:
            raise Refused("nested too deeply (or it contains itself)") from None
        if changed is not None:
            raise Refused(changed.reason, f"${changed.path}")
        return raw

    def decode(self, raw: bytes | Raw, find: Find | None = None) -> Any:
        """The value that these bytes hold, or `Refused`.

        Args:
            raw: The bytes.
            find: Where to look up the error codec of the task that failed, for an error whose
                type the annotation names only by a base class.
        """
        try:
            return self.read(raw)
        except RecursionError:
            raise Refused("nested too deeply") from None


def check_keys(raw: bytes) -> None:
    """Refuses data with a key that only Onward writes."""
    # In JSON without spaces, a quote before a colon ends a key.
    if b'"$onward.' in raw and _RESERVED_KEY.search(raw):
        raise Refused(f"keys that begin with {RESERVED!r} are Onward's own: rename the key")


def kind_of(raw: bytes | Raw) -> str:
    """Which kind of JSON these bytes are, by how they begin."""
    first = bytes(memoryview(raw)[:64]).lstrip()[:1]
    return _FIRST.get(first, NUMBER)


_FIRST = {b"{": OBJECT, b"[": ARRAY, b'"': STR, b"t": BOOL, b"f": BOOL, b"n": NULL}
