"""Types and values that the tests of codecs share."""

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import Enum, IntEnum
from pathlib import Path
from typing import (
    Generic,
    NamedTuple,
    TypedDict,
    TypeVar,
)
from uuid import UUID

import msgspec
import pydantic
from hypothesis import strategies as st

T = TypeVar("T")


class Colour(Enum):
    RED = "red"
    GREEN = "green"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Point(NamedTuple):
    x: int
    label: str = ""


class Options(TypedDict):
    depth: int
    name: str


@dataclass
class Tree:
    value: int
    children: "list[Tree]" = field(default_factory=list)


@dataclass(frozen=True)
class Pair(Generic[T]):
    left: T
    right: T


class Opened(msgspec.Struct, frozen=True, tag=True):
    name: str


class Closed(msgspec.Struct, frozen=True, tag=True):
    name: str


class Model(pydantic.BaseModel):
    n: int
    day: date
    path: Path = Path("/")


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, frozen=True)
    at: datetime
    numbers: tuple[int, ...]
    id: UUID | None = None


texts = st.text(max_size=5)


whole = st.integers()


finite = st.floats(allow_nan=False, allow_infinity=False)


anything = st.recursive(
    st.none() | st.booleans() | whole | finite | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
)


@dataclass
class Base:
    x: int


@dataclass
class Derived(Base):
    y: int = 0


NAIVE = datetime.fromisoformat("2024-01-01T00:00:00")
