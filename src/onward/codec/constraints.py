"""Checks the constraints of annotated-types: `Annotated[int, Gt(0)]`, `Len`, `Predicate`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import tzinfo
from functools import partial
from typing import Any, TypeAlias

from msgspec import Raw

from onward.codec.base import Annotation, Codec, Refused
from onward.codec.schemas import Schema

Check: TypeAlias = Callable[[Any], bool]


def is_constraint(metadata: object) -> bool:
    """Whether metadata is a constraint of annotated-types."""
    return _is_of_library(metadata) and any(True for _ in _checks(metadata))


class Checked(Codec):
    """A codec that also checks constraints."""

    __slots__ = ("_checks", "_inner")

    def __init__(self, annotation: Annotation, inner: Codec, metadata: Iterable[object]) -> None:
        self.annotation = annotation
        self._inner = inner
        self._checks = [pair for each in metadata for pair in _checks(each)]

    @property
    def kinds(self) -> frozenset[str]:
        return self._inner.kinds

    def schema(self) -> Schema:
        inner = self._inner.schema()
        checks = [*inner.get("checks", ()), *(condition for condition, _ in self._checks)]
        return {**inner, "checks": checks}

    def write(self, value: Any) -> bytes:
        return self._inner.write(value)

    def read(self, raw: bytes | Raw) -> Any:
        value = self._inner.read(raw)
        for condition, check in self._checks:
            try:
                holds = bool(check(value))
            except Exception as problem:
                reason = f"Expected a value {condition} ({type(problem).__name__})"
                raise Refused(reason) from None
            if not holds:
                raise Refused(f"Expected a value {condition}")
        return value


def _is_of_library(metadata: object) -> bool:
    return type(metadata).__module__.partition(".")[0] == "annotated_types"


def _checks(metadata: Any) -> Iterator[tuple[str, Check]]:
    """The checks of a constraint, each with its condition in words."""
    library = sys.modules.get("annotated_types")
    if library is None or not _is_of_library(metadata):
        return
    if isinstance(metadata, library.GroupedMetadata):
        for each in metadata:
            yield from _checks(each)
        return
    for name, (attribute, condition, compare) in _COMPARISONS.items():
        if isinstance(metadata, getattr(library, name)):
            bound = getattr(metadata, attribute)
            yield condition.format(bound), partial(compare, bound)
    if isinstance(metadata, library.Predicate):
        yield f"for which {metadata!r} holds", metadata.func
    elif isinstance(metadata, library.Timezone):
        yield _in_zone(metadata.tz)


_COMPARISONS: Mapping[str, tuple[str, str, Callable[[Any, Any], bool]]] = {
    "Gt": ("gt", "greater than {}", lambda bound, value: value > bound),
    "Ge": ("ge", "of at least {}", lambda bound, value: value >= bound),
    "Lt": ("lt", "less than {}", lambda bound, value: value < bound),
    "Le": ("le", "of at most {}", lambda bound, value: value <= bound),
    "MultipleOf": ("multiple_of", "that is a multiple of {}", lambda by, value: value % by == 0),
    "MinLen": ("min_length", "of length {} or more", lambda bound, value: len(value) >= bound),
    "MaxLen": ("max_length", "of length {} or less", lambda bound, value: len(value) <= bound),
}


def _in_zone(zone: Any) -> tuple[str, Check]:
    if zone is None:
        return "without a time zone", lambda value: value.tzinfo is None
    if zone is Ellipsis:
        return "with a time zone", lambda value: value.tzinfo is not None
    if not isinstance(zone, tzinfo):
        import zoneinfo

        zone = zoneinfo.ZoneInfo(zone)
    # A datetime arrives with its offset, and without the name of its zone.
    return (
        f"with the offset of {zone}",
        lambda value: bool(value.utcoffset() == zone.utcoffset(value.replace(tzinfo=None))),
    )
