"""Limits the time that hostile JSON can cost."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any

from onward.codec.base import Refused

MAX_COLLIDING = 64
"""How many different items of a set, or keys of a dict, may share one hash."""

MAX_EXPONENT = 10_000
"""The largest exponent of a number that becomes a `Fraction`, which stores all of its digits."""

_SMALL = 1000  # JSON with fewer bytes has too few items for collisions to matter.
_LARGE_INT = rb"\d{19,}"
_UUID = rb'"([0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12})"'
_DECIMAL = rb"-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?"
_EXPONENT = rb"[eE]\+?(\d{5,})"


def check_hashes(raw: bytes, *, is_decimal: bool = False) -> None:
    """Refuses JSON with many numbers or UUIDs that share a hash.

    Python's hash of a number is predictable, and making a set of n items with one hash takes n²
    steps. (The hash of a str or of bytes differs from process to process.)

    Args:
        raw: The JSON.
        is_decimal: Whether its numbers may become Decimals. Small ones can collide too.
    """
    if len(raw) < _SMALL:
        return
    # Python itself refuses int() of more digits, which takes n² steps too.
    texts = {text for text in re.findall(_LARGE_INT, raw) if len(text) <= 4300}
    _check((hash(int(text)) for text in texts), len(texts))
    uuids = {text.replace(b"-", b"").lower() for text in re.findall(_UUID, raw)}
    _check((hash(int(text, 16)) for text in uuids), len(uuids))
    if is_decimal:
        numbers = {text.decode() for text in re.findall(_DECIMAL, raw)}
        _check(map(_decimal_hash, numbers), len(numbers))


def _decimal_hash(text: str) -> int:
    try:
        return hash(Decimal(text))
    except (InvalidOperation, ValueError):
        return hash(text)


def check_items(items: Iterable[Any]) -> None:
    """Refuses the items of a set if many of them share a hash."""
    by_hash: defaultdict[int, list[Any]] = defaultdict(list)
    for item in items:
        alike = by_hash[hash(item)]
        if item not in alike:
            alike.append(item)
            if len(alike) > MAX_COLLIDING:
                raise _collides()


def has_large_exponent(raw: bytes) -> bool:
    """Whether a number has an exponent over `MAX_EXPONENT`."""
    return any(
        len(found[1]) > 8 or int(found[1]) > MAX_EXPONENT for found in re.finditer(_EXPONENT, raw)
    )


def _check(hashes: Iterable[int], count: int) -> None:
    if count > MAX_COLLIDING and max(Counter(hashes).values()) > MAX_COLLIDING:
        raise _collides()


def _collides() -> Refused:
    return Refused(
        f"more than {MAX_COLLIDING} different values share a hash, which makes a set or dict of "
        "them very slow: send a list"
    )
