"""The values and errors of the tasks that `flows()` is made of."""

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
    """A number from which so much cannot be taken."""

    number: int
    by: int


@dataclass(frozen=True)
class Beyond:
    """An error that even the mending met."""

    text: str


class Colour(Enum):
    """A value that is no JSON."""

    RED = "red"
    GREEN = "green"


@dataclass(frozen=True)
class Parcel:
    """A value with something of most that the wire carries."""

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
    """A value that may be written in as many ways as its parts have orders."""

    words: frozenset[str]
    options: dict[str, int]
    note: str = field(default="", repr=False)


@dataclass(frozen=True)
class Reading:
    """A value that looks like what the wire says of types."""

    type: str
    value: dict[str, int]


@dataclass(frozen=True)
class Gap:
    """What a reading might be taken for."""

    seconds: int


class Patch(Struct, frozen=True):
    """A value of which parts may not be set."""

    name: str | None | UnsetType = UNSET
    size: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
