"""What annotated-types says of a value: `Annotated[int, Gt(0)]`, `Len`, `Predicate`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import tzinfo
from typing import Any, TypeAlias

from msgspec import Raw

from onward.codec.base import Annotation, Codec, Refused

Check: TypeAlias = Callable[[Any], bool]


def is_constraint(metadata: object) -> bool:
    """Whether annotated-types has something to check by it."""
    return _is_of_library(metadata) and any(True for _ in _checks(metadata))


class Checked(Codec):
    """A codec of values that constraints hold of as well."""

    __slots__ = ("_checks", "_inner")

    def __init__(self, annotation: Annotation, inner: Codec, metadata: Iterable[object]) -> None:
        self.annotation = annotation
        self._inner = inner
        self._checks = [pair for each in metadata for pair in _checks(each)]

    @property
    def kinds(self) -> frozenset[str]:
        return self._inner.kinds

    def write(self, value: Any) -> bytes:
        return self._inner.write(value)

    def read(self, raw: bytes | Raw) -> Any:
        value = self._inner.read(raw)
        for told, check in self._checks:
            try:
                holds = bool(check(value))
            except Exception as problem:
                raise Refused(f"{told} cannot be asked of it: {type(problem).__name__}") from None
            if not holds:
                raise Refused(f"Expected a value for which {told} holds")
        return value


def _is_of_library(metadata: object) -> bool:
    return type(metadata).__module__.partition(".")[0] == "annotated_types"


def _checks(metadata: object) -> Iterator[tuple[str, Check]]:
    """What there is to check, and how to say it."""
    library = sys.modules.get("annotated_types")
    if library is None or not _is_of_library(metadata):
        return
    if isinstance(metadata, library.GroupedMetadata):
        for each in metadata:
            yield from _checks(each)
        return
    told = repr(metadata)
    for name, compare in _COMPARISONS.items():
        if isinstance(metadata, getattr(library, name)):
            yield told, compare(getattr(metadata, _ATTRIBUTES[name]))
    if isinstance(metadata, library.Predicate):
        yield told, metadata.func
    elif isinstance(metadata, library.Timezone):
        yield told, _in_zone(metadata.tz)


_ATTRIBUTES = {
    "Gt": "gt",
    "Ge": "ge",
    "Lt": "lt",
    "Le": "le",
    "MultipleOf": "multiple_of",
    "MinLen": "min_length",
    "MaxLen": "max_length",
}
_COMPARISONS: Mapping[str, Callable[[Any], Check]] = {
    "Gt": lambda bound: lambda value: value > bound,
    "Ge": lambda bound: lambda value: value >= bound,
    "Lt": lambda bound: lambda value: value < bound,
    "Le": lambda bound: lambda value: value <= bound,
    "MultipleOf": lambda factor: lambda value: value % factor == 0,
    "MinLen": lambda length: lambda value: len(value) >= length,
    "MaxLen": lambda length: lambda value: len(value) <= length,
}


def _in_zone(zone: Any) -> Check:
    if zone is None:
        return lambda value: value.tzinfo is None
    if zone is Ellipsis:
        return lambda value: value.tzinfo is not None
    if isinstance(zone, tzinfo):
        # A moment arrives with its offset alone.
        return lambda value: bool(value.utcoffset() == zone.utcoffset(value.replace(tzinfo=None)))
    import zoneinfo

    return _in_zone(zoneinfo.ZoneInfo(zone))
