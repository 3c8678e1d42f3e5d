"""Values of any annotation: each comes back as itself, part by part, or is refused."""

from collections import Counter, OrderedDict, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    TypeAlias,
)

import annotated_types as at
import attrs
import msgspec
import pydantic
import pydantic.dataclasses
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from pydantic import UUID4, Field, PositiveInt
from typing_extensions import TypeAliasType

from onward.codec import Refused, codec
from tests.unit.kinds import (
    BERLIN,
    IN_BERLIN,
    Account,
    Address,
    Answer,
    Ask,
    Box,
    Card,
    Dict,
    Entry,
    Generics,
    Json,
    Level,
    List,
    Open,
    Pair,
    Person,
    Row,
    Sent,
    Set,
    Status,
    T,
    Talk,
    Thread,
    Tuple,
)


class Text(str):
    __slots__ = ()


class Point(NamedTuple):
    x: int
    y: int


@dataclass(frozen=True)
class AskMore(Ask):
    more: int = 0


@dataclass(kw_only=True)
class Defaults:
    kind: ClassVar[str] = "defaults"
    says: Ask | Answer
    count: int = field(default=1, init=False)
    many: list[int] = field(default_factory=list)


class Addresses(pydantic.RootModel[list[Address]]):
    pass


class Iban(pydantic.BaseModel):
    kind: Literal["iban"] = "iban"
    number: str


Pay: Any = Annotated[Card | Iban, Field(discriminator="kind")]


Message: Any = TypeAliasType("Message", Ask | Answer)


Listed: Any = TypeAliasType("Listed", List[T] | None, type_params=(T,))  # type: ignore[arg-type]  # typing's TypeVar does as well


Nested: Any = TypeAliasType("Nested", "tuple[Ask | Answer, list[Nested]]")


Typed: TypeAlias = tuple[Any, SearchStrategy[Any]]
"""An annotation, and values of it."""


def unfolded(moment: datetime) -> datetime:
    return moment.replace(fold=0)  # which says nothing where no clock is put back


texts = st.text(max_size=4)


said = st.builds(Ask, texts) | st.builds(Answer, texts)


addresses = st.builds(Address) | st.builds(Address, street=texts) | st.builds(Address, zip=texts)


pays = st.builds(Card, number=texts) | st.builds(Iban, kind=st.just("iban"), number=texts)


people = st.builds(
    Person,
    name=st.none() | texts,
    home=addresses,
    others=st.lists(addresses, max_size=2),
    named=st.dictionaries(texts, addresses, max_size=2),
) | st.builds(Person)


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
)


amounts = st.integers(1, 9)


LEAVES: list[Typed] = [
    (int, st.integers()),
    (Any, json),
    (Json, json),
    (Ask | Answer, said),
    (Literal["a", 1] | Ask | Answer, said | st.sampled_from(["a", 1])),
    (Defaults, st.builds(Defaults, says=said)),
    (Message, said),
    (Listed[int], st.none() | st.lists(st.integers(), max_size=2)),
    (Listed[Message], st.none() | st.lists(said, max_size=2)),
    (Nested, st.tuples(said, st.lists(st.tuples(said, st.just([])), max_size=2))),
    (
        Talk,
        st.builds(
            Talk,
            said,
            st.lists(said, max_size=2),
            st.dictionaries(texts, said | st.none()),
            amounts,
        ),
    ),
    (Thread, st.builds(Thread, said, st.lists(st.builds(Thread, said), max_size=2))),
    (Entry, st.fixed_dictionaries({}, optional={"amount": amounts, "who": said})),
    (Row, st.builds(Row, amounts, said)),
    (Box, st.builds(Box, amounts.map(lambda n: 2 * n), said | amounts)),
    (Sent, st.builds(Sent, amounts, said) | st.builds(Sent, amounts, said, texts)),
    (Person, people),
    (Open, st.builds(Open, more=json)),
    (Addresses, st.lists(addresses, max_size=2).map(Addresses)),
    (Account, st.builds(Account, amounts, addresses)),
    (Card | Iban, pays),
    (Pay, pays),
    (Annotated[List[Pay], Field(max_length=2)], st.lists(pays, max_size=2)),
    (Annotated[int, at.Interval(gt=0, lt=10)], amounts),
    (PositiveInt, amounts),
    (UUID4, st.uuids(version=4)),
    (Generics[Message], st.builds(Pair, said, st.lists(said, max_size=2))),
    (Set[Tuple[int, str]], st.sets(st.tuples(st.integers(), texts), max_size=2)),
    (datetime, st.datetimes(timezones=st.none() | st.just(UTC)).map(unfolded)),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
]


KEYS: list[Typed] = [(str, texts), (int, st.integers()), (PositiveInt, amounts)]


def composed(inner: SearchStrategy[Typed]) -> SearchStrategy[Typed]:
    return st.one_of(
        inner.map(lambda of: (List[of[0]], st.lists(of[1], max_size=2))),
        inner.map(lambda of: (Tuple[of[0], ...], st.lists(of[1], max_size=2).map(tuple))),
        st.tuples(inner, inner).map(
            lambda of: (Tuple[of[0][0], of[1][0]], st.tuples(of[0][1], of[1][1]))
        ),
        st.tuples(st.sampled_from(KEYS), inner).map(
            lambda of: (Dict[of[0][0], of[1][0]], st.dictionaries(of[0][1], of[1][1], max_size=2))
        ),
        inner.map(
            lambda of: (Generics[of[0]], st.builds(Pair, of[1], st.lists(of[1], max_size=2)))
        ),
    )


annotations = st.recursive(st.sampled_from(LEAVES), composed, max_leaves=3)


def shape(value: Any) -> Any:
    """A value as what two can be compared by, the type of each part included."""
    kind = type(value)
    if isinstance(value, pydantic.BaseModel):
        was_set = sorted(value.model_fields_set)
        return kind, was_set, [shape(part) for part in vars(value).values()], value.model_extra
    if isinstance(value, dict):
        return kind, [(shape(key), shape(value[key])) for key in sorted(value, key=repr)]
    if isinstance(value, list | tuple):
        return kind, [shape(part) for part in value]
    if isinstance(value, set | frozenset):
        return kind, sorted((shape(part) for part in value), key=repr)
    if attrs.has(kind):
        return kind, [shape(part) for part in attrs.astuple(value, recurse=False)]
    for names in ("__dataclass_fields__", "__struct_fields__"):
        if hasattr(kind, names):
            return kind, [shape(getattr(value, name)) for name in getattr(kind, names)]
    return kind, repr(value)


@settings(max_examples=60)
@given(st.data())
def test_a_value_comes_back_as_itself_part_by_part(data: st.DataObject) -> None:
    annotation, values = data.draw(annotations)
    value = data.draw(values)
    raw = codec(annotation).encode(value)
    assert shape(codec(annotation).decode(raw)) == shape(value)


def test_what_stands_beside_a_type_need_not_be_hashable() -> None:
    beside: Any = Annotated[Ask | Answer, {"note": "anything"}]
    assert codec(List[beside]).decode(codec(List[beside]).encode([Ask("a")])) == [Ask("a")]
    counted: Any = List[Annotated[int, ["anything"]]]
    assert codec(counted).decode(codec(counted).encode([1])) == [1]


NORMAL = {(int, float), (tuple, list), (list, tuple)}


def is_normal(value: Any, back: Any) -> bool:
    """Whether they are the same but for the normal forms that the annotation asks for."""
    if (
        isinstance(value, list | tuple)
        and type(value) in (list, tuple)
        and type(back) in (list, tuple)
    ):
        return len(value) == len(back) and all(map(is_normal, value, back))
    if type(value) is dict and type(back) is dict:
        return value.keys() == back.keys() and all(is_normal(value[at], back[at]) for at in value)
    if isinstance(value, Pair) and isinstance(back, Pair):
        return is_normal(value.left, back.left) and is_normal(value.right, back.right)
    if (type(value), type(back)) in NORMAL:
        return bool(value == back)
    return bool(shape(value) == shape(back))


@settings(max_examples=60)
@given(st.data())
def test_a_value_of_another_annotation_comes_back_as_itself_or_is_refused(
    data: st.DataObject,
) -> None:
    annotation, _ = data.draw(annotations)
    _, values = data.draw(annotations)
    value = data.draw(values)
    try:
        raw = codec(annotation).encode(value)
    except Refused:
        return
    assert is_normal(value, codec(annotation).decode(raw)), (annotation, raw)


@settings(max_examples=60)
@given(annotations, json.map(msgspec.json.encode) | st.binary(max_size=20))
def test_any_bytes_are_read_or_refused(typed: Typed, raw: bytes) -> None:
    try:
        codec(typed[0]).decode(raw)
    except Refused:
        return


LOOKS_EQUAL: list[tuple[Any, Any]] = [
    (Any, Status.OPEN),
    (Any, [Level.LOW]),
    (Any, {"a": Point(1, 2)}),
    (str, Status.OPEN),
    (List[str], [Status.OPEN]),
    (Dict[str, int], {Status.OPEN: 1}),
    (int, Level.LOW),
    (Dict[int, int], {Level.LOW: 1}),
    (Dict[int, int], {True: 1}),
    (List[int], [True]),
    (str, Text("a")),
    (List[str], [Text("a")]),
    (List[int], Point(1, 2)),
    (Tuple[int, int], Point(1, 2)),
    (Dict[str, int], Counter("aa")),
    (Dict[str, int], OrderedDict(a=1)),
    (Dict[str, int], defaultdict(int, a=1)),
    (Ask, AskMore("a")),
    (List[Ask | Answer], [AskMore("a")]),
    (Decimal, 1),
    (Decimal, 1.5),
    (time, time(1, tzinfo=BERLIN)),
    (List[time], [time(1, tzinfo=BERLIN)]),
    (Set[time], {time(1, tzinfo=BERLIN)}),
    (Dict[str, time], {"a": time(1, tzinfo=BERLIN)}),
    (Json, {"a": Status.OPEN}),
    (Json, [Text("a")]),
]


@pytest.mark.parametrize(("annotation", "value"), LOOKS_EQUAL, ids=str)
def test_what_would_only_compare_equal_is_refused(annotation: Any, value: object) -> None:
    with pytest.raises(Refused):
        codec(annotation).encode(value)


TWICE = datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERLIN)


FIRST = datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))


LAST = datetime.max.replace(tzinfo=timezone(-timedelta(hours=12)))


@pytest.mark.parametrize("moment", [IN_BERLIN, TWICE, FIRST, LAST], ids=str)
def test_a_moment_in_a_named_zone_arrives_with_its_offset_in_whatever_it_is(
    moment: datetime,
) -> None:
    there = moment.replace(tzinfo=timezone(moment.utcoffset() or timedelta()), fold=0)

    def arrived(annotation: Any, value: Any) -> Any:
        return codec(annotation).decode(codec(annotation).encode(value))

    class Model(pydantic.BaseModel):
        at: datetime

    assert arrived(datetime, moment) == there
    assert arrived(List[datetime], [moment]) == [there]
    assert arrived(Set[datetime], {moment}) == {there}
    assert arrived(Dict[datetime, int], {moment: 1}) == {there: 1}
    assert arrived(Generics[datetime], Pair(moment, [moment])) == Pair(there, [there])
    assert arrived(Model, Model(at=moment)).at == there


def test_the_sign_of_zero_and_the_digits_of_a_decimal_are_kept() -> None:
    for annotation, value in ((float, -0.0), (Any, [-0.0]), (Decimal, Decimal("1.00"))):
        back = codec(annotation).decode(codec(annotation).encode(value))
        assert repr(back) == repr(value)
