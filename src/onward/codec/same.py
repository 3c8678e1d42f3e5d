"""Checks that a value reads back from JSON as itself: equal, and with the same types throughout.

If the annotation says so, a value may read back in another form: an int as the equal float; a list,
a set or bytes as a tuple, a frozenset or a bytearray, or the other way round; a datetime in a named
time zone as the same moment with its offset. The `fold` of a time without a zone has no meaning,
and reads back as 0.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from datetime import datetime, time, timezone
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any

from msgspec import Struct

_ATOMS = frozenset((int, str, bool, type(None), bytes, float))
_TEXT = frozenset((str,))
_SEQUENCES: frozenset[type] = frozenset((list, tuple))
_SETS: frozenset[type] = frozenset((set, frozenset))
_BYTES: frozenset[type] = frozenset((bytes, bytearray, memoryview))
_FORMS: tuple[frozenset[type], ...] = (_SEQUENCES, _SETS, _BYTES)


class Difference(Struct, frozen=True):
    """Where a value reads back differently, and why."""

    path: str
    reason: str


def difference(value: Any, back: Any, *, is_strict: bool = False) -> Difference | None:
    """The first difference between a value and what was read back, or None.

    Args:
        value: The value that was written.
        back: The value that was read back.
        is_strict: Whether other forms are refused too, because no annotation names a type.
    """
    kind = type(value)
    if kind is not type(back):
        if is_strict or not _is_normal_form(kind, type(back)):
            return Difference("", _retyped(value, back))
    elif kind in _ATOMS:
        return None if value == back or value is back else _unequal(value)
    elif isinstance(value, Enum):
        return None if value is back or value == back else _unequal(value)
    if kind in _SEQUENCES:
        return _in_sequence(value, back, is_strict)
    if kind is dict:
        return _in_dict(value, back, is_strict)
    if kind in _SETS:
        return _in_set(value, back, is_strict)
    if kind is int or kind in _BYTES:  # read back in another form
        return None if value == back else _unequal(value)
    if isinstance(value, datetime | time):
        return _in_time(value, back)
    if isinstance(value, Decimal):
        is_same = value.as_tuple() == back.as_tuple() and not value.is_nan()
        return None if is_same else _unequal(value)
    return _in_record(value, back, is_strict)


def _is_normal_form(kind: type, other: type) -> bool:
    if kind is int:
        return other is float
    return any(kind in forms and other in forms for forms in _FORMS)


def _in_sequence(value: Any, back: Any, is_strict: bool) -> Difference | None:
    if len(value) != len(back):
        return Difference("", f"{len(value)} items come back as {len(back)}")
    kinds = list(map(type, value))
    if _ATOMS.issuperset(kinds) and kinds == list(map(type, back)) and list(value) == list(back):
        return None
    for index, (each, other) in enumerate(zip(value, back, strict=True)):
        found = difference(each, other, is_strict=is_strict)
        if found is not None:
            return Difference(f"[{index}]{found.path}", found.reason)
    return None


def _in_dict(value: dict[Any, Any], back: dict[Any, Any], is_strict: bool) -> Difference | None:
    kinds = list(map(type, value.values()))
    if (
        _ATOMS.issuperset(kinds)
        and kinds == list(map(type, back.values()))
        and _TEXT.issuperset(map(type, value))
        and value == back
    ):
        return None
    if len(value) != len(back):
        lost = [key for key in value if key not in back] or ["(a key equal to another)"]
        shown = ", ".join(map(repr, lost[:3]))
        return Difference("", f"the annotation has no place for {shown}, which would be lost")
    for (key, each), other_key in zip(value.items(), back, strict=True):
        if type(key) is str and key in back:  # the order may differ, as in a TypedDict
            found = difference(each, back[key], is_strict=is_strict)
        else:
            of_key = difference(key, other_key, is_strict=is_strict)
            if of_key is not None:
                return Difference("", f"of a key: {of_key.reason}")
            found = difference(each, back[other_key], is_strict=is_strict)
        if found is not None:
            return Difference(f".{key}{found.path}", found.reason)
    return None


def _in_set(value: Any, back: Any, is_strict: bool) -> Difference | None:
    if len(value) != len(back):
        return Difference("", f"{len(value)} items come back as {len(back)}")
    by_value = {_comparable(each): each for each in back}
    for each in value:
        other = by_value.get(_comparable(each), _MISSING)
        if other is _MISSING:
            return _unequal(each)
        found = difference(each, other, is_strict=is_strict)
        if found is not None:
            return Difference(f"[...]{found.path}", found.reason)
    return None


_MISSING = object()


def _comparable(value: Any) -> Any:
    # In an hour that comes twice, a datetime is unequal to itself in another zone.
    offset = value.utcoffset() if isinstance(value, datetime) else None
    return value if offset is None else value.replace(tzinfo=timezone(offset), fold=0)


def _in_time(value: Any, back: Any) -> Difference | None:
    if isinstance(value, time) and value.tzinfo is not None and value.utcoffset() is None:
        zone = f"a time of day in a named zone ({value.tzinfo}) has no offset to travel with"
        return Difference("", f"{zone}: send the name of the zone beside it, or a datetime")
    if value.utcoffset() != back.utcoffset():
        return Difference("", f"its offset {value.utcoffset()} comes back as {back.utcoffset()}")
    # With equal offsets, equal clock times are equal moments.
    is_same = value.replace(tzinfo=None, fold=0) == back.replace(tzinfo=None, fold=0)
    return None if is_same else _unequal(value)


def _in_record(value: Any, back: Any, is_strict: bool) -> Difference | None:
    if is_model(type(value)):
        return _in_model(value, back, is_strict)
    kind: Any = type(value)
    names = field_names(kind)
    if names is None:
        if _is_equal(value, back):
            return None
        return _unequal(value)
    for name in names:
        found = difference(
            getattr(value, name, _MISSING), getattr(back, name, _MISSING), is_strict=is_strict
        )
        if found is not None:
            return Difference(f".{name}{found.path}", found.reason)
    return None


def _in_model(value: Any, back: Any, is_strict: bool) -> Difference | None:
    declared = type(value).model_fields
    for name, field in declared.items():
        found = difference(
            value.__dict__.get(name, _MISSING),
            back.__dict__.get(name, _MISSING),
            is_strict=is_strict,
        )
        if found is not None and field.exclude:
            return Difference(f".{name}", "the field has exclude=True, so its value is not sent")
        if found is not None:
            return Difference(f".{name}{found.path}", found.reason)
    extra, other_extra = value.__pydantic_extra__ or {}, back.__pydantic_extra__ or {}
    found = difference(dict(extra), dict(other_extra), is_strict=is_strict)
    if found is not None:
        return found
    private, other_private = value.__pydantic_private__ or {}, back.__pydantic_private__ or {}
    for name in private:
        is_same = _is_equal(private[name], other_private.get(name, _MISSING))
        if not is_same:
            return Difference(f".{name}", "private attributes are not sent: make it a field")
    sent = {name for name, field in declared.items() if not field.exclude}
    if (value.model_fields_set ^ back.model_fields_set) & sent:
        return Difference("", "it reads back with other fields set")
    return None


def is_model(kind: Any) -> bool:
    """Whether a class is a pydantic model."""
    # A program with a model has imported pydantic, so this does not import it.
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)


@lru_cache(1000)
def field_names(kind: Any) -> Iterable[str] | None:
    """The names of the fields of a dataclass, a struct, an attrs class or a named tuple."""
    if hasattr(kind, "__attrs_attrs__"):
        return [field.name for field in kind.__attrs_attrs__]
    if isinstance(kind, type) and is_dataclass(kind):
        return [field.name for field in fields(kind)]
    if hasattr(kind, "__struct_fields__"):
        found: Iterable[str] = kind.__struct_fields__
        return found
    if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields"):
        names: Any = kind
        return list(names._fields)
    return None


def _is_equal(value: Any, back: Any) -> bool:
    try:
        return bool(value == back)
    except Exception:  # the user's own `__eq__` raised
        return False


NOT_FINITE = "NaN and infinity have no JSON form: send None, or a str"


def _is_not_finite(value: object) -> bool:
    if isinstance(value, Decimal):
        return value.is_nan()
    return isinstance(value, float) and not math.isfinite(value)


def _unequal(value: Any) -> Difference:
    kind = type(value).__qualname__
    if _is_not_finite(value):
        return Difference("", NOT_FINITE)
    return Difference("", f"this {kind} comes back from JSON as another {kind} than was sent")


def _retyped(value: Any, back: Any) -> str:
    was, becomes = type(value).__qualname__, type(back).__qualname__
    expected = f"Expected `{becomes}`, got `{was}`"
    if value is _MISSING or back is _MISSING:
        return "an attribute is missing"
    if _is_not_finite(value):
        return NOT_FINITE
    if isinstance(value, Enum):
        return f"{expected}: send its .value, or name {was} in the annotation"
    if isinstance(value, type(back)):
        hint = f"{was} is a subclass of {becomes}, and would arrive as {becomes}"
        return f"{expected}: {hint}: convert it, or name {was} in the annotation"
    return expected
