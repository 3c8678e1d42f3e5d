"""The codec of each annotation: values read back as they were."""

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Flag
from pathlib import Path, PurePosixPath
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NewType,
    TypeAlias,
)
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from onward.codec import Refused, codec
from tests.unit.codec_kinds import (
    NAIVE,
    Base,
    Closed,
    Colour,
    Derived,
    Level,
    Model,
    Opened,
    Options,
    Pair,
    Point,
    Strict,
    T,
    Tree,
    anything,
    finite,
    texts,
    whole,
)


class Rights(Flag):
    READ = 1
    WRITE = 2


@dataclass(frozen=True)
class Leaf:
    id: UUID
    at: datetime
    colour: Colour = Colour.RED


@attrs.frozen
class Box:
    width: Decimal
    tags: frozenset[str] = frozenset()


@attrs.define
class Private:
    x: int
    _y: int = 0


class Event(msgspec.Struct, frozen=True):
    name: str
    took: timedelta


class Aliased(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    some_name: int = pydantic.Field(alias="someName")

    @pydantic.computed_field  # type: ignore[prop-decorator]  # which mypy does not know without pydantic's plugin
    @property
    def twice(self) -> int:
        return 2 * self.some_name


class Page(pydantic.BaseModel, Generic[T]):
    items: list[T]


@dataclass(frozen=True)
class Order:
    price: float
    note: str | None
    model: Model


UserId = NewType("UserId", int)


offsets = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


Typed: TypeAlias = tuple[Any, SearchStrategy[Any]]
"""An annotation, and values of it."""


LEAVES: list[Typed] = [
    (int, whole),
    (UserId, whole),
    (float, finite),
    (bool, st.booleans()),
    (str, texts),
    (None, st.none()),
    (bytes, st.binary(max_size=5)),
    (bytearray, st.binary(max_size=5).map(bytearray)),
    (datetime, st.datetimes(timezones=st.none() | st.just(UTC) | offsets)),
    (date, st.dates()),
    (time, st.times(timezones=st.none() | st.just(UTC))),
    (timedelta, st.timedeltas()),
    (UUID, st.uuids()),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (Colour, st.sampled_from(Colour)),
    (Level, st.sampled_from(Level)),
    (Rights, st.sampled_from([Rights.READ, Rights.WRITE, Rights.READ | Rights.WRITE])),
    (Path, texts.filter(lambda text: "\0" not in text).map(Path)),
    (PurePosixPath, st.just(PurePosixPath("/a/b"))),
    (Literal["a", "b"], st.sampled_from(["a", "b"])),
    (Annotated[int, msgspec.Meta(ge=0)], st.integers(0)),
    (Point, st.builds(Point, whole, texts)),
    (Options, st.fixed_dictionaries({"depth": whole, "name": texts})),
    (Leaf, st.builds(Leaf, st.uuids(), st.datetimes(), st.sampled_from(Colour))),
    (Tree, st.builds(Tree, whole, st.lists(st.builds(Tree, whole), max_size=2))),
    (Box, st.builds(Box, st.decimals(-9, 9), st.frozensets(texts, max_size=2))),
    (Private, st.builds(Private, whole, whole)),
    (Event, st.builds(Event, texts, st.timedeltas())),
    (Opened | Closed, st.builds(Opened, texts) | st.builds(Closed, texts)),
    (Model, st.builds(Model, n=whole, day=st.dates())),
    (Strict, st.builds(Strict, at=st.datetimes(), numbers=st.tuples(whole), id=st.uuids())),
    (Aliased, st.builds(lambda n: Aliased(someName=n), whole)),
    (Page[int], st.builds(lambda items: Page[int](items=items), st.lists(whole, max_size=2))),
    (Any, st.recursive(st.none() | whole | texts, lambda inner: st.lists(inner, max_size=2))),
]


KEYS: list[Typed] = [
    (str, texts),
    (int, whole),
    (float, finite),
    (Colour, st.sampled_from(Colour)),
    (date, st.dates()),
    (UUID, st.uuids()),
]


# As values, for the checker takes what is subscripted for a type it knows.
List: Any = list


Tuple: Any = tuple


Dict: Any = dict


Generics: Any = Pair


def composed(inner: SearchStrategy[Typed]) -> SearchStrategy[Typed]:
    return st.one_of(
        inner.map(lambda of: (List[of[0]], st.lists(of[1], max_size=3))),
        inner.map(lambda of: (Tuple[of[0], ...], st.lists(of[1], max_size=3).map(tuple))),
        st.tuples(inner, inner).map(
            lambda of: (Tuple[of[0][0], of[1][0]], st.tuples(of[0][1], of[1][1]))
        ),
        st.tuples(st.sampled_from(KEYS), inner).map(
            lambda of: (Dict[of[0][0], of[1][0]], st.dictionaries(of[0][1], of[1][1], max_size=3))
        ),
        inner.map(lambda of: (Generics[of[0]], st.builds(Pair, of[1], of[1]))),
        inner.map(lambda of: (of[0] | None if of[0] is not None else None, st.none() | of[1])),
    )


annotations = st.recursive(st.sampled_from(LEAVES), composed, max_leaves=4)


def is_alike(value: Any, back: Any) -> bool:
    """Equal, but for what the wire may change on the annotation's word: a tuple to a list."""
    if isinstance(value, list | tuple) and isinstance(back, list | tuple):
        return len(value) == len(back) and all(map(is_alike, value, back))
    if isinstance(value, dict) and isinstance(back, dict):
        return value.keys() == back.keys() and all(is_alike(value[key], back[key]) for key in back)
    if isinstance(value, Pair) and isinstance(back, Pair):
        return is_alike(value.left, back.left) and is_alike(value.right, back.right)
    if isinstance(value, datetime) and value.tzinfo is not None:
        return isinstance(back, datetime) and value.timestamp() == back.timestamp()
    if isinstance(value, bool) or isinstance(back, bool):
        return value is back
    return bool(value == back)


@given(st.data())
def test_a_value_comes_back_as_what_it_was(data: st.DataObject) -> None:
    annotation, values = data.draw(annotations)
    value = data.draw(values)
    back = codec(annotation).decode(codec(annotation).encode(value))
    assert back == value
    assert type(back) is type(value)


@settings(max_examples=300)
@given(st.data())
def test_a_value_of_any_other_type_is_refused_or_comes_back_equal(data: st.DataObject) -> None:
    annotation, _ = data.draw(annotations)
    _, values = data.draw(annotations)
    value = data.draw(values)
    try:
        raw = codec(annotation).encode(value)
    except Refused:
        return
    assert is_alike(value, codec(annotation).decode(raw)), (annotation, value, raw)


@given(st.sampled_from(LEAVES), anything.map(msgspec.json.encode) | st.binary(max_size=30))
def test_any_bytes_give_a_value_of_the_annotation_or_are_refused(typed: Typed, raw: bytes) -> None:
    annotation, _ = typed
    try:
        back = codec(annotation).decode(raw)
    except Refused:
        return
    assert codec(annotation).decode(codec(annotation).encode(back)) == back


@dataclass
class LookAlike:
    x: int


@dataclass
class Hidden:
    x: int
    _y: int = 0


@dataclass
class Restless:
    x: int

    def __post_init__(self) -> None:
        self.x += 1


class Ratio(pydantic.BaseModel):
    value: float | None


class Secretive(pydantic.BaseModel):
    x: int
    y: int = pydantic.Field(default=0, exclude=True)


class Stateful(pydantic.BaseModel):
    x: int
    _seen: int = pydantic.PrivateAttr(default=0)


class WiderRatio(Ratio):
    unit: str


def with_state(seen: int) -> Stateful:
    model = Stateful(x=1)
    model._seen = seen
    return model


def endless() -> list[Any]:
    inside: list[Any] = []
    inside.append(inside)
    return inside


BERLIN = ZoneInfo("Europe/Berlin")


CHANGED: list[tuple[Any, Any]] = [
    (str, b"hi"),
    (bytes, "aGk="),
    (str, NAIVE),
    (datetime, "2024-01-01T00:00:00"),
    (str, Decimal(1)),
    (Decimal, "1.5"),
    (UUID, "0b21df9e-17ba-42df-839d-3895ffddd0fa"),
    (timedelta, "PT1S"),
    (date, NAIVE),
    (datetime, date(2024, 1, 1)),
    (Path, "/a"),
    (str, Path("/a")),
    (int, True),
    (bool, 1),
    (int, 1.0),
    (float, True),
    (float, 2**53 + 1),
    (float, "1.0"),
    (None, 0),
    (list[int], {1, 2}),
    (set[int], [1, 2]),
    (dict[str, int], {1: 2}),
    (dict[str, int], Base(1)),
    (Base, {"x": 1}),
    (Base, Derived(1, 2)),
    (Base, LookAlike(1)),
    (list[Base], [Derived(1, 2)]),
    (Restless, Restless(1)),
    (Options, {"depth": 1, "name": "a", "more": 2}),
    (Point, (1, 2)),
    (Ratio, Ratio(value=math.nan)),
    (Ratio, WiderRatio(value=1, unit="m")),
    (Secretive, Secretive(x=1, y=2)),
    (Stateful, with_state(5)),
    (Literal[1, 2], True),
    (Literal["a"], "b"),
    (Colour, "blue"),
    (datetime, datetime(1880, 1, 1, tzinfo=BERLIN)),
    (time, time(1, 2, tzinfo=timezone(timedelta(hours=1, seconds=3)))),
    (Any, (1, 2)),
    (Any, {1: 2}),
    (Any, date(2024, 1, 1)),
    (list, [b"x"]),
    (dict, {"a": (1,)}),
    (Any, endless()),
    (list[Any], endless()),
    (Decimal, Decimal("NaN")),
    (Decimal, Decimal("sNaN")),
]


@pytest.mark.parametrize(("annotation", "value"), CHANGED, ids=str)
def test_what_would_come_back_changed_is_refused(annotation: Any, value: object) -> None:
    with pytest.raises(Refused):
        codec(annotation).encode(value)


@pytest.mark.parametrize(
    ("annotation", "value", "path"),
    [
        (float, math.nan, "$"),
        (float, -math.inf, "$"),
        (float | None, math.nan, "$"),
        (float | str, math.inf, "$"),
        (list[float], [1.0, math.nan], "$[1]"),
        (dict[str, list[float | None]], {"a": [1.0, math.inf]}, "$.a[1]"),
        (Pair[float], Pair(1.0, math.nan), "$.right"),
    ],
    ids=str,
)
def test_nan_and_infinity_are_refused_with_their_place(
    annotation: Any, value: object, path: str
) -> None:
    with pytest.raises(Refused, match="NaN and infinity have no JSON form") as refused:
        codec(annotation).encode(value)
    assert refused.value.path == path


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (float, 1),
        (str, "\0\u2028\U0001f600"),
        (int, 2**100),
        (float, -0.0),
        (float, 5e-324),
        (timedelta, timedelta.max),
        (timedelta, timedelta.min),
        (datetime, datetime.max.replace(tzinfo=UTC)),
        (datetime, datetime.min.replace(tzinfo=UTC)),
        (datetime, datetime(2024, 7, 1, tzinfo=BERLIN)),
        (datetime, datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERLIN)),
        (Sequence[int], (1, 2)),
        (list[int], (1, 2)),
        (Mapping[str, int], {"a": 1}),
        (AbstractSet[int], {1}),
        (dict[Colour, int], {Colour.RED: 1}),
        (dict[datetime, int], {NAIVE: 1}),
        (dict[float, int], {math.inf: 1}),
        (tuple[()], ()),
        (set[tuple[int, str]], {(1, "a")}),
        (bytes, bytearray(b"x")),
        (Hidden, Hidden(1, 2)),
        (Order, Order(1.5, None, Model(n=1, day=date(2024, 1, 1)))),
        (Tree, Tree(1, [Tree(2, [Tree(3)])])),
        (Pair[Pair[int]], Pair(Pair(1, 2), Pair(3, 4))),
        (str, "x" * 10_000_000),
    ],
    ids=lambda each: str(each)[:40],
)
def test_values_at_the_edges_are_taken(annotation: Any, value: object) -> None:
    assert is_alike(value, codec(annotation).decode(codec(annotation).encode(value)))


def test_objects_without_an_equality_of_their_own_are_taken() -> None:
    @dataclass(eq=False)
    class Identity:
        x: int
        inner: list[Any] = field(default_factory=list)

    back = codec(Identity).decode(codec(Identity).encode(Identity(1, [2])))
    assert (back.x, back.inner) == (1, [2])


def test_what_nests_too_deeply_is_refused_both_ways() -> None:
    tree = Tree(0)
    for n in range(100_000):
        tree = Tree(n, [tree])
    with pytest.raises(Refused, match="nested too deeply"):
        codec(Tree).encode(tree)
    with pytest.raises(Refused, match="nested too deeply"):
        codec(Any).decode(b"[" * 100_000 + b"]" * 100_000)
    while tree.children:  # a deep tree of dataclasses is taken apart by hand, for Python may not
        tree = tree.children.pop()


def test_lone_surrogates_are_refused_and_shown_as_what_they_are() -> None:
    with pytest.raises(Refused, match=r"\\ud800"):
        codec(str).encode("\ud800")
    with pytest.raises(Refused, match=r"\\ud800"):
        codec(Any).encode(["\ud800"])
