"""The values and errors of the tasks of `flows()`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType


@dataclass(frozen=True)
class Odd:
    """A number that cannot be halved."""

    number: int


@dataclass(frozen=True)
class TooSmall:
    """A number that is less than what was to be taken from it."""

    number: int
    by: int


@dataclass(frozen=True)
class Beyond:
    """An error that a handler failed with."""

    text: str


class Colour(Enum):
    """A value that JSON does not have."""

    RED = "red"
    GREEN = "green"


@dataclass(frozen=True)
class Parcel:
    """A value with most types that can travel."""

    id: UUID
    at: datetime
    took: timedelta
    price: Decimal
    colour: Colour
    path: Path
    raw: bytes
    weight: float | None
    tags: frozenset[str]
    sizes: tuple[int, str]
    inner: list[Parcel]
    counts: dict[int, bool]


@dataclass(frozen=True)
class Choice:
    """A value whose parts may be written in several orders."""

    words: frozenset[str]
    options: dict[str, int]
    note: str = field(default="", repr=False)


@dataclass(frozen=True)
class Reading:
    """A value that looks like a tag on the wire."""

    type: str
    value: dict[str, int]


@dataclass(frozen=True)
class Gap:
    """A type that a reading could be mistaken for."""

    seconds: int


@dataclass(frozen=True)
class Even:
    """An even number, which as JSON looks like one that is not."""

    number: int


@dataclass(frozen=True)
class Uneven:
    """A number that is not even."""

    number: int


class Patch(Struct, frozen=True):
    """A value whose fields may be unset."""

    name: str | None | UnsetType = UNSET
    size: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
