"""Law 8 over what people annotate: a value comes back as itself, part by part, or is refused."""

import functools
import sys
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    TypeAlias,
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
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from msgspec import UNSET, Meta, UnsetType
from pydantic import UUID4, Field, PositiveInt, SecretStr, StringConstraints
from returns.result import Success
from typing_extensions import TypeAliasType

from onward import BadPayload, Fault, local, run, submit, task
from onward.codec import Refused, codec
from onward.codec.limits import MAX_COLLIDING

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


class Text(str):
    __slots__ = ()


class Point(NamedTuple):
    x: int
    y: int


@dataclass(frozen=True)
class Ask:
    text: str


@dataclass(frozen=True)
class Answer:
    text: str


@dataclass(frozen=True)
class AskMore(Ask):
    more: int = 0


@dataclass(frozen=True)
class Talk:
    first: Ask | Answer
    others: list[Ask | Answer] = field(default_factory=list)
    by_name: dict[str, Ask | Answer | None] = field(default_factory=dict)
    amount: Annotated[int, at.Ge(0)] = 0
    note: Annotated[str, StringConstraints(max_length=3)] | UnsetType = UNSET


@dataclass(kw_only=True)
class Defaults:
    kind: ClassVar[str] = "defaults"
    says: Ask | Answer
    count: int = field(default=1, init=False)
    many: list[int] = field(default_factory=list)


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


class Addresses(pydantic.RootModel[list[Address]]):
    pass


class Card(pydantic.BaseModel):
    kind: Literal["card"] = "card"
    number: str


class Iban(pydantic.BaseModel):
    kind: Literal["iban"] = "iban"
    number: str


@pydantic.dataclasses.dataclass
class Account:
    balance: PositiveInt
    owner: Address = Field(default_factory=Address)


@dataclass
class Pair(Generic[T]):
    left: T
    right: list[T]


Pay: Any = Annotated[Card | Iban, Field(discriminator="kind")]
Message: Any = TypeAliasType("Message", Ask | Answer)
Listed: Any = TypeAliasType("Listed", List[T] | None, type_params=(T,))  # type: ignore[arg-type]  # typing's TypeVar does as well
Json: Any = TypeAliasType("Json", "dict[str, Json] | list[Json] | str | int | float | bool | None")
Loop: Any = TypeAliasType("Loop", "Loop | int")
Nested: Any = TypeAliasType("Nested", "tuple[Ask | Answer, list[Nested]]")
Generics: Any = Pair

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


@settings(max_examples=200)
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


@settings(max_examples=200)
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


@settings(max_examples=200)
@given(annotations, json.map(msgspec.json.encode) | st.binary(max_size=20))
def test_any_bytes_are_read_or_refused(typed: Typed, raw: bytes) -> None:
    try:
        codec(typed[0]).decode(raw)
    except Refused:
        return


# -- what only compares equal -----------------------------------------------------------------

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


IN_BERLIN = datetime(2024, 7, 1, tzinfo=BERLIN)
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


# -- constraints ------------------------------------------------------------------------------


def account(balance: int) -> Account:
    made = Account(1)
    made.balance = balance
    return made


FORBIDDEN: list[tuple[Any, Any]] = [
    (PositiveInt, -5),
    (UUID4, UUID("36f5b3b4-ec27-11f1-9bbc-02fc00000001")),
    (Annotated[str, StringConstraints(max_length=3)], "abcd"),
    (Annotated[str, Field(pattern="^a+$")], "b"),
    (pydantic.conint(gt=3), 3),
    (pydantic.FutureDate, date(2000, 1, 1)),
    (Annotated[int, pydantic.AfterValidator(lambda n: n // (n - 3))], 3),
    (Account, account(-1)),
    (Entry, {"amount": -1}),
    (List[PositiveInt], [1, -1]),
    (Dict[str, List[PositiveInt]], {"a": [-1]}),
    (Dict[PositiveInt, int], {-1: 1}),
    (Annotated[List[int], Field(max_length=2)], [1, 2, 3]),
    (Annotated[int, at.Gt(0)], 0),
    (Annotated[int, at.Ge(0)], -1),
    (Annotated[int, at.Lt(0)], 0),
    (Annotated[int, at.Le(0)], 1),
    (Annotated[int, at.Interval(gt=0, le=5)], 6),
    (Annotated[int, at.MultipleOf(3)], 4),
    (Annotated[List[int], at.Len(1, 2)], []),
    (Annotated[str, at.MaxLen(1)], "ab"),
    (Annotated[str, at.Predicate(str.islower)], "A"),
    (Annotated[datetime, at.Timezone(None)], IN_BERLIN),
    (Annotated[datetime, at.Timezone(...)], datetime.fromisoformat("2024-01-01")),
    (Annotated[Decimal, at.Gt(Decimal(0))], Decimal(0)),
    (Annotated[int, Meta(ge=1)], 0),
    (Tuple[int, Annotated[int, at.Gt(0)]], (0, 0)),
    (Talk, Talk(Ask("a"), amount=-1)),
    (Talk, Talk(Ask("a"), note="long")),
    (Row, Row(0)),
    (Box, Box(3)),
    (Sent, Sent(-1, Ask("a"))),
    (Generics[PositiveInt], Pair(1, [-1])),
    (NewType("Amount", PositiveInt), -1),
    (List[NewType("Above", NewType("Amount", Annotated[int, at.Gt(0)]))], [-1]),
]


@pytest.mark.parametrize(("annotation", "value"), FORBIDDEN, ids=lambda each: str(each)[:50])
def test_what_a_constraint_forbids_is_refused_both_ways(annotation: Any, value: Any) -> None:
    checked = codec(annotation)
    with pytest.raises(Refused):
        checked.encode(value)
    with pytest.raises(Refused):
        checked.decode(checked.write(value))


@task
def pay(amount: PositiveInt, code: Annotated[str, at.MaxLen(3)]) -> Annotated[int, at.Lt(10)]:
    return amount


def test_a_forbidden_value_is_a_bad_payload_with_its_place() -> None:
    fault = submit(pay(-5, "abc"), on=local()).failure()
    assert isinstance(fault, BadPayload)
    assert (fault.path, fault.message) == ("$.amount", "Expected a value greater than 0")
    assert isinstance(submit(pay(5, "abcd"), on=local()).failure(), BadPayload)
    fault = run(pay(11, "abc"), on=local()).failure()
    assert isinstance(fault, BadPayload)
    assert fault.message.endswith("Expected a value less than 10")


# -- tags -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    type: str
    value: dict[str, Any]
    task: str = ""


@dataclass(frozen=True)
class Gap:
    seconds: int = 0


MARK = "$onward.tag"
LIKE_TAGS = [
    {"type": "Gap", "value": {"seconds": 1}},
    {"type": "Gap", "value": {"seconds": 1}, "task": "t"},
    {"type": "Reading", "value": {"type": "Gap", "value": {}}},
    {"type": "dict", "value": {}},
    {"type": "dict[str, Any]", "value": {}},
    {"type": "Raised", "value": {"task": "t", "message": "m"}},
]


@pytest.mark.parametrize("data", LIKE_TAGS, ids=str)
def test_data_that_looks_like_a_tag_is_read_as_what_it_is(data: dict[str, Any]) -> None:
    mixed: Any = Dict[str, Any] | Gap
    # As an argument, as a value of a step that gives nothing else, and within others.
    assert codec(mixed).decode(codec(mixed).encode(data)) == data
    assert codec(mixed).decode(codec(Dict[str, Any]).encode(data)) == data
    assert codec(List[mixed]).decode(codec(List[Dict[str, Any]]).encode([data])) == [data]
    reading = Reading(**data)
    for annotation in (Reading | Gap, Reading | Gap | Fault):
        for written in (codec(annotation), codec(Reading)):
            assert codec(annotation).decode(written.encode(reading)) == reading


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Any, {MARK: True, "type": "Gap", "value": {}}),
        (Dict[str, Any], {"a": [{MARK: True}]}),
        (Dict[str, Ask | Answer], {MARK: Ask("a")}),
        (Open, Open(**{MARK: True})),
        (Open, Open.model_validate({"$onward.unset": [["n"], {}]})),
        (Json, {"$onward.value": 1}),
    ],
    ids=str,
)
def test_data_cannot_have_the_keys_that_make_a_tag(annotation: Any, value: object) -> None:
    with pytest.raises(Refused, match="Onward's own"):
        codec(annotation).encode(value)


def test_such_a_key_as_a_text_is_no_key() -> None:
    for value in (MARK, f'"{MARK}":', f"{MARK}:"):
        assert codec(Any).decode(codec(Any).encode([value, {"a": value}])) == [value, {"a": value}]


def test_what_the_first_release_wrote_is_still_read() -> None:
    gap = b'{"type":"Gap","value":{"seconds":3}}'
    assert codec(Ask | Answer).decode(b'{"type":"Answer","value":{"text":"a"}}') == Answer("a")
    assert codec(Ask | Gap | None).decode(gap) == Gap(3)
    assert codec(Card | int).decode(b'{"type":"Card","value":{"number":"1"}}') == Card(number="1")


def test_data_does_not_become_a_fault() -> None:
    data = {"type": "Unknown", "value": {"task": "t", "message": "m"}}
    with pytest.raises(Refused, match="missing required field"):
        codec(Ask | Fault).decode(codec(Any).encode(data))


# -- messages ---------------------------------------------------------------------------------


class Hidden(pydantic.BaseModel):
    token: str = Field(default="", exclude=True)


class Cached(pydantic.BaseModel):
    _seen: int = pydantic.PrivateAttr(default=0)


class Grows(pydantic.BaseModel):
    n: int

    @pydantic.field_validator("n")
    @classmethod
    def up(cls, n: int) -> int:
        return n + 1


class Share(pydantic.BaseModel):
    part: float = 0
    raw: bytes = b""
    read: int = Field(default=1, validation_alias="in", serialization_alias="out")


@dataclass
class Ratio:
    value: float | None
    exact: Decimal = Decimal(0)


def cached() -> Cached:
    made = Cached()
    made._seen = 3
    return made


@pytest.mark.parametrize(
    ("annotation", "value", "path", "reason"),
    [
        (Hidden, Hidden(token="t"), "$.x.token", "exclude=True"),
        (Cached, cached(), "$.x._seen", "private attributes are not sent"),
        (Grows, Grows(n=1), "$.x.n", "another int"),
        (Entry, {"amount": 1, "b": 2}, "$.x", "no place for 'b'"),
        (Share, Share(part=float("inf")), "$.x.part", "NaN and infinity"),
        (Share, Share(raw=b"\xff"), "$.x", 'ser_json_bytes="base64"'),
        (Share, Share.model_construct(read=2), "$.x.read", "another for writing"),
        (Ratio, Ratio(float("nan")), "$.x.value", "NaN"),
        (Ratio, Ratio(1, Decimal("NaN")), "$.x.exact", "NaN"),
        (List[Person], [Person.model_construct(name=3)], "$.x[0].name", "valid string"),
        (str, Status.OPEN, "$.x", "send its .value"),
        (PositiveInt | None, -1, "$.x", "greater than 0"),
        (Row | None, Row(0), "$.x.amount", "greater than 0"),
        (Dict[str, int], Counter("a"), "$.x", "subclass of dict"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_a_refusal_says_which_part_and_why(
    annotation: Any, value: Any, path: str, reason: str
) -> None:
    def echo(x: Any) -> Any:
        return x

    echo.__annotations__ = {"x": annotation, "return": annotation}
    fault = run(task(echo)(value), on=local()).failure()
    assert isinstance(fault, BadPayload)
    assert fault.path == path
    assert reason in fault.message


@pytest.mark.parametrize(
    ("annotation", "advice"),
    [
        (List[Entry | Ask], "use a dataclass, or with pydantic a model"),
        (Dict[SecretStr, int], "keys"),
        (Loop, "refers only to itself"),
    ],
    ids=str,
)
def test_what_nobody_can_tell_apart_is_refused_at_definition(annotation: Any, advice: str) -> None:
    def echo(x: Any) -> None: ...

    echo.__annotations__ = {"x": annotation, "return": None}
    with pytest.raises(TypeError, match=advice):
        task(echo)


# -- bounds -----------------------------------------------------------------------------------

PERIOD = 2**61 - 1
"""All numbers that differ by a multiple of it have one hash."""

COLLIDING = [n * PERIOD for n in range(1, MAX_COLLIDING + 2)]


class Sets(pydantic.BaseModel):
    numbers: set[int] = set()
    ids: dict[UUID, int] = {}


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Set[int], COLLIDING),
        (List[Set[int]], [COLLIDING]),
        (Set[UUID], [UUID(int=n) for n in COLLIDING]),
        (Set[Decimal], [f"{n}.0" for n in COLLIDING]),
        (Dict[int, int], dict.fromkeys(COLLIDING, 1)),
        (Dict[int, Ask | Answer], dict.fromkeys(COLLIDING, Ask("a"))),
        (Set[Tuple[int, int]], [(n, 1) for n in COLLIDING]),
        (Sets, {"numbers": COLLIDING}),
        (Sets, {"ids": {UUID(int=n): 1 for n in COLLIDING}}),
    ],
    ids=lambda each: str(each)[:50],
)
def test_numbers_chosen_to_collide_are_refused(annotation: Any, value: Any) -> None:
    with pytest.raises(Refused, match="share a hash"):
        codec(annotation).decode(msgspec.json.encode(value))


def test_many_numbers_and_the_same_one_many_times_are_taken() -> None:
    numbers = [3**n for n in range(40, 140)] * 2
    assert codec(Set[int]).decode(msgspec.json.encode(numbers)) == set(numbers)
    same = [[PERIOD, 1]] * 1000
    assert codec(Set[Tuple[int, int]]).decode(msgspec.json.encode(same)) == {(PERIOD, 1)}


@pytest.mark.parametrize(
    ("annotation", "raw"),
    [
        (int, b"9" * 100_000),
        (Any, b"9" * 100_000),
        (Json, b"[" * 50_000),
        (Thread, b'{"says":{"type":"Ask","value":{"text":""}},"replies":[' * 20_000),
        (float, b"1e999999999"),
        (datetime, b'"' + b"2" * 1_000_000 + b'"'),
    ],
    ids=lambda each: str(each)[:40],
)
def test_json_without_end_is_refused(annotation: Any, raw: bytes) -> None:
    with pytest.raises(Refused):
        codec(annotation).decode(raw)


@pytest.mark.parametrize("annotation", [Any, Json, List[Any]], ids=str)
def test_what_nests_hundreds_deep_is_taken_or_refused(annotation: Any) -> None:
    for depth in (100, 400, 700, 1000, 5000):
        value: list[Any] = []
        for _ in range(depth):
            value = [value]
        try:
            raw = codec(annotation).encode(value)
        except Refused as refused:
            assert "nested too deeply" in refused.reason  # noqa: PT017  # it may be taken as well
            assert depth > 100
        else:
            assert codec(Any).decode(raw) == value


def test_a_fraction_of_endless_digits_is_refused() -> None:
    from fractions import Fraction

    class Share(pydantic.BaseModel):
        part: Fraction

    share = Share(part=Fraction(1, 3))
    assert codec(Share).decode(codec(Share).encode(share)) == share
    with pytest.raises(Refused, match="exponent"):
        codec(Share).decode(b'{"part":"1e999999999"}')


# -- decorated functions ----------------------------------------------------------------------

Fn: TypeAlias = Callable[..., Any]


def with_seven(fn: Fn) -> Fn:
    @functools.wraps(fn)
    def inner(n: int) -> Any:
        return fn(n, 7)

    return inner


def made_async(fn: Fn) -> Fn:
    @functools.wraps(fn)
    async def inner(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return inner


def as_text(fn: Fn) -> Fn:
    @functools.wraps(fn)
    def inner(*args: Any, **kwargs: Any) -> str:
        return str(fn(*args, **kwargs))

    inner.__annotations__ = {**fn.__annotations__, "return": str}
    return inner


def test_a_wrapper_with_parameters_of_its_own_is_called_with_these() -> None:
    @task
    @with_seven
    def add(n: int, by: int) -> int:
        return n + by

    added: Any = add
    assert run(added(1), on=local()) == Success(8)
    with pytest.raises(TypeError):
        added(1, 2)


def test_a_wrapper_that_is_async_is_awaited_though_its_function_is_not() -> None:
    @task
    @made_async
    def double(n: int) -> int:
        return 2 * n

    doubled: Any = double
    assert run((doubled >> doubled)(1), on=local()) == Success(4)


def test_a_wrapper_of_a_generator_is_no_generator() -> None:
    def collected(fn: Fn) -> Fn:
        @functools.wraps(fn)
        def inner(n: int) -> Any:
            return list(fn(n))

        return inner

    @task
    @collected
    def count(n: int) -> list[int]:  # type: ignore[misc]  # it is the wrapper that gives the list
        yield from range(n)

    counted: Any = count
    assert run(counted(2), on=local()) == Success([0, 1])


def test_a_wrapper_that_gives_another_type_is_held_to_its_own_annotation() -> None:
    @task
    @as_text
    def half(n: int) -> int:
        return n // 2

    halved: Any = half
    assert run(halved(4), on=local()) == Success("2")


@pytest.mark.parametrize("thing", [functools.partial(max, 1), max, Level, Pair(1, [])], ids=repr)
def test_what_is_no_plain_function_is_refused_with_advice(thing: Any) -> None:
    with pytest.raises(TypeError, match=r"a task is a plain function.*write def"):
        task(thing)


if sys.version_info >= (3, 12):

    def test_aliases_by_the_statement_are_taken() -> None:
        names: dict[str, Any] = {"Ask": Ask, "Answer": Answer, "__name__": __name__}
        exec("type Says = Ask | Answer\ntype Tree[T] = tuple[T, list[Tree[T]]]", names)
        for annotation, value in (
            (names["Says"], Answer("a")),
            (names["Tree"][int], (1, [(2, [])])),
        ):
            assert codec(annotation).decode(codec(annotation).encode(value)) == value
