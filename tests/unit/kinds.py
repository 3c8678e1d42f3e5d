"""Types and values that the tests of values share."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    TypedDict,
    TypeVar,
)
from uuid import UUID
from zoneinfo import ZoneInfo

import annotated_types as at
import attrs
import msgspec
import pydantic
import pydantic.dataclasses
from msgspec import UNSET, UnsetType
from pydantic import Field, PositiveInt, StringConstraints
from typing_extensions import TypeAliasType

T = TypeVar("T")


BERLIN = ZoneInfo("Europe/Berlin")


# As values, for the checker takes what is subscripted for a type it knows.
List: Any = list


Dict: Any = dict


Tuple: Any = tuple


Set: Any = set


class Status(StrEnum):
    OPEN = "open"


class Level(IntEnum):
    LOW = 1


@dataclass(frozen=True)
class Ask:
    text: str


@dataclass(frozen=True)
class Answer:
    text: str


@dataclass(frozen=True)
class Talk:
    first: Ask | Answer
    others: list[Ask | Answer] = field(default_factory=list)
    by_name: dict[str, Ask | Answer | None] = field(default_factory=dict)
    amount: Annotated[int, at.Ge(0)] = 0
    note: Annotated[str, StringConstraints(max_length=3)] | UnsetType = UNSET


@dataclass
class Thread:
    says: Ask | Answer
    replies: "list[Thread]" = field(default_factory=list)


class Entry(TypedDict, total=False):
    amount: PositiveInt
    who: Ask | Answer


class Row(NamedTuple):
    amount: Annotated[int, at.Gt(0)]
    who: Ask | Answer = Ask("")


@attrs.frozen
class Box:
    width: Annotated[int, at.MultipleOf(2)]
    what: Ask | Answer | int = 0


class Sent(msgspec.Struct, tag=True, rename="camel", frozen=True):
    at_most: PositiveInt
    what_it_is: Ask | Answer
    note: str | UnsetType = UNSET


class Address(pydantic.BaseModel):
    street: str = ""
    zip: str | None = None


class Person(pydantic.BaseModel):
    id: UUID = Field(default_factory=lambda: UUID(int=7))
    name: str | None = None
    email: str | None = None
    home: Address = Address()
    others: list[Address] = []
    named: dict[str, Address] = {}


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    n: int = 1


class Card(pydantic.BaseModel):
    kind: Literal["card"] = "card"
    number: str


@pydantic.dataclasses.dataclass
class Account:
    balance: PositiveInt
    owner: Address = Field(default_factory=Address)


@dataclass
class Pair(Generic[T]):
    left: T
    right: list[T]


Json: Any = TypeAliasType("Json", "dict[str, Json] | list[Json] | str | int | float | bool | None")


Generics: Any = Pair


IN_BERLIN = datetime(2024, 7, 1, tzinfo=BERLIN)


class Share(pydantic.BaseModel):
    part: float = 0
    raw: bytes = b""
    read: int = Field(default=1, validation_alias="in", serialization_alias="out")
