"""What is encoded comes back equal and as its annotation says, or it is refused."""

import ast
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum
from pathlib import Path, PurePosixPath
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    Never,
    NewType,
    TypeAlias,
    TypedDict,
    TypeVar,
    cast,
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
from returns.result import Failure, Result, Success

import onward
from onward import BadPayload, Expired, Fault, TimedOut, local, run, task
from onward import given as given_
from onward.codec import Refused, codec, decode_fault, encode_fault
from onward.fault import KINDS
from onward.outcome import decode as decode_outcome
from onward.outcome import faulted

T = TypeVar("T")


class Colour(Enum):
    RED = "red"
    GREEN = "green"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Rights(Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    label: str = ""


class Options(TypedDict):
    depth: int
    name: str


@dataclass(frozen=True)
class Leaf:
    id: UUID
    at: datetime
    colour: Colour = Colour.RED


@dataclass
class Tree:
    value: int
    children: "list[Tree]" = field(default_factory=list)


@dataclass(frozen=True)
class Pair(Generic[T]):
    left: T
    right: T


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


@dataclass(frozen=True)
class NotFound:
    key: str


@dataclass(frozen=True)
class Denied:
    key: str
    reason: str = ""


UserId = NewType("UserId", int)
texts = st.text(max_size=5)
whole = st.integers()
finite = st.floats(allow_nan=False, allow_infinity=False)
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


anything = st.recursive(
    st.none() | st.booleans() | whole | finite | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
)


@given(st.sampled_from(LEAVES), anything.map(msgspec.json.encode) | st.binary(max_size=30))
def test_any_bytes_give_a_value_of_the_annotation_or_are_refused(typed: Typed, raw: bytes) -> None:
    annotation, _ = typed
    try:
        back = codec(annotation).decode(raw)
    except Refused:
        return
    assert codec(annotation).decode(codec(annotation).encode(back)) == back


# -- what must be refused, and what must not --------------------------------------------------


@dataclass
class Base:
    x: int


@dataclass
class Derived(Base):
    y: int = 0


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
NAIVE = datetime.fromisoformat("2024-01-01T00:00:00")
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


# -- unions -----------------------------------------------------------------------------------

UNIONS: list[tuple[Any, Sequence[Any]]] = [
    (NotFound | Denied, [NotFound("a"), Denied("a"), Denied("a", "b")]),
    (NotFound | Denied | None, [NotFound("a"), None]),
    (NotFound | str | int, [NotFound("a"), "a", 1]),
    (str | bytes, ["eA==", b"x"]),
    (datetime | str, ["2024-01-01T00:00:00", NAIVE]),
    (datetime | date, [NAIVE, date(2024, 1, 1)]),
    (int | float, [1, 1.0]),
    (int | bool, [1, True]),
    (Pair[int] | Pair[str], [Pair(1, 2), Pair("a", "b")]),
    (Options | Point, [{"depth": 1, "name": "a"}, Point(1)]),
    (
        Model | Strict,
        [Model(n=1, day=date(2024, 1, 1)), Strict(at=NAIVE, numbers=())],
    ),
    (Model | NotFound | None, [NotFound("a"), Model(n=1, day=date(2024, 1, 1)), None]),
    (Colour | Level, [Colour.RED, Level.HIGH]),
    (list[Opened | Closed], [[Opened("a"), Closed("b")]]),
    (Fault, [TimedOut("a", "b", 3.0), Expired("a", "b")]),
    (Fault | NotFound, [TimedOut("a", "b"), NotFound("x")]),
    (TimedOut | None, [TimedOut("a", "b"), None]),
]


@pytest.mark.parametrize(("annotation", "values"), UNIONS, ids=lambda each: str(each)[:50])
def test_each_member_of_a_union_comes_back_as_itself(
    annotation: Any, values: Sequence[object]
) -> None:
    for value in values:
        back = codec(annotation).decode(codec(annotation).encode(value))
        assert back == value
        assert type(back) is type(value)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (NotFound | Denied, Base(1)),
        (NotFound | Denied, "text"),
        (NotFound | Denied, None),
        (NotFound | Base, Derived(1, 2)),
        (TimedOut | None, Expired("a", "b")),
        (NotFound | Denied, TimedOut("a", "b")),
    ],
    ids=str,
)
def test_what_is_no_member_of_a_union_is_refused_by_name(annotation: Any, value: object) -> None:
    with pytest.raises(Refused, match=r"is not one of|Expected|none of"):
        codec(annotation).encode(value)


def test_two_members_of_one_name_are_refused_when_the_codec_is_made() -> None:
    def other() -> type:
        @dataclass
        class NotFound:
            n: int

        return NotFound

    mixed: Any = NotFound | other()
    with pytest.raises(TypeError, match=r"named 'NotFound'.*rename one"):
        codec(mixed)


@given(st.lists(st.builds(NotFound, texts) | st.builds(Denied, texts, texts) | texts, max_size=1))
def test_errors_of_several_types_arrive_as_themselves(
    errors: list[NotFound | Denied | str],
) -> None:
    @task
    def fails(count: int) -> Result[int, NotFound | Denied | str]:
        return Failure(errors[0]) if errors else Success(count)

    assert run(fails(3), on=local()) == (Failure(errors[0]) if errors else Success(3))


# -- annotations ------------------------------------------------------------------------------


class Bare:
    pass


@dataclass
class Holder:
    inner: Callable[[int], int]


@dataclass
class Initialised:
    x: int
    y: InitVar[int] = 0


class Mixed(Enum):
    ONE = 1
    TWO = "two"


@pytest.mark.parametrize(
    "annotation",
    [
        Callable[[int], int],
        Iterator[int],
        Iterable[int],
        type[int],
        object,
        complex,
        range,
        Exception,
        Bare,
        list[Bare],
        dict[str, tuple[Bare, ...]],
        Bare | None,
        Holder,
        Initialised,
        Mixed,
        dict[tuple[int, int], int],
        deque[int],
        Result[int, str],
        5,
        "no type",
        Never,
        TypeVar("Bounded", bytes, str),
    ],
    ids=str,
)
def test_what_nobody_can_encode_is_refused_at_definition_and_named(annotation: Any) -> None:
    def fetch(first: int, second: object) -> int:
        return 0

    fetch.__annotations__["second"] = annotation
    with pytest.raises(TypeError, match="task 'fetch'") as refused:
        task(fetch)
    if isinstance(annotation, str):  # which Python itself does not take for an annotation
        return
    assert "parameter 'second'" in str(refused.value)
    assert f"{__file__}:" in str(refused.value)


def test_an_enum_of_several_types_is_refused_with_what_it_may_have() -> None:
    with pytest.raises(
        TypeError, match=r"the Enum Mixed travels by its values.*all str or all int"
    ):
        codec(list[Mixed])


@pytest.mark.parametrize(
    ("annotation", "part"),
    [
        (Bare, "the value"),
        (Result[Bare, str], "the value"),
        (Result[int, Bare], "the error"),
        (Result[int, NotFound | Bare], "the error"),
        (Result[int, Options], "the error"),
        (Result[int, Any], "the error"),
        (Result[int, Exception], "the error"),
        (Result, "has no types"),
        (Iterator[int], "the value"),
        (Result[Result[int, str], str], "the value"),
    ],
    ids=str,
)
def test_a_return_that_nobody_can_encode_is_refused_at_definition(
    annotation: Any, part: str
) -> None:
    def fetch(first: int) -> object:
        return 0

    fetch.__annotations__["return"] = annotation
    with pytest.raises(TypeError, match=f"{part}.*'fetch'|'fetch'.*{part}"):
        task(fetch)


# -- at run time ------------------------------------------------------------------------------


@task
def plant(tree: Tree, counts: dict[int, int]) -> int:
    return tree.value


@task
def broken(n: int) -> Tree:
    wrong: Any = "no number"
    return Tree(n, [Tree(wrong)])


@pytest.mark.parametrize(
    ("tree", "counts", "path"),
    [
        ("a tree", {}, "$.tree"),
        (Tree(cast(int, "one")), {}, "$.tree.value"),
        (Tree(1, [Tree(2), Tree(cast(int, None))]), {}, "$.tree.children[1].value"),
        (Tree(1), {1: "one"}, "$.counts[...]"),
        (Tree(1), {"one": 1}, "$.counts"),
    ],
    ids=str,
)
def test_a_wrong_argument_is_a_bad_payload_with_its_path(tree: Any, counts: Any, path: str) -> None:
    fault = run(plant(tree, counts), on=local()).failure()
    assert isinstance(fault, BadPayload)
    assert (fault.task, fault.path) == ("plant", path)
    assert fault.message.startswith("Expected ")


def test_a_wrong_value_is_a_bad_payload_of_the_task_that_gave_it() -> None:
    fault = run((broken >> given_(plant, {}))(1), on=local()).failure()
    assert isinstance(fault, BadPayload)
    assert (fault.task, fault.path) == ("broken", "$.children[0].value")


def test_a_fault_is_sent_whatever_is_in_its_texts() -> None:
    nasty = "lone \ud800 surrogate, \0, \u2028"
    for kind in KINDS.values():
        fault = kind(*[nasty] * sum(hint in ("str", str) for hint in required(kind)))
        back = faulted(fault).fault
        assert type(back) is kind
        assert "lone" in back.message


def required(kind: type[Fault]) -> list[object]:
    names = msgspec.structs.fields(cast(type[msgspec.Struct], kind))
    return [each.type for each in names if each.required]


FIELDS = st.sampled_from(["type", "value", "task", "outcome", "raw"])


@given(anything | st.dictionaries(FIELDS, anything | st.sampled_from(["value", "error", "fault"])))
def test_any_json_is_an_outcome_of_some_kind(value: object) -> None:
    outcome = decode_outcome(msgspec.json.encode(value))
    assert isinstance(plant.read(outcome), Result)


@given(
    st.sampled_from(sorted(KINDS)),
    st.dictionaries(
        st.sampled_from(["task", "message", "seconds", "attempts", "kinds", "path"]),
        st.none() | whole | texts,
    ),
)
def test_a_fault_that_cannot_be_read_is_refused(kind: str, value: dict[str, object]) -> None:
    raw = msgspec.json.encode({"type": kind, "value": value})
    try:
        fault = decode_fault(raw)
    except Refused:
        return
    assert decode_fault(encode_fault(fault)) == fault


def test_no_module_of_onward_imports_what_could_run_code_on_loading() -> None:
    assert list(forbidden_imports()) == []


def forbidden_imports() -> Iterator[str]:
    for file in Path(onward.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [name.name for name in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                names = [node.module]
            for name in names:
                if name.partition(".")[0] in ("pickle", "marshal", "shelve", "dill", "cloudpickle"):
                    yield f"{file.name}: {name}"
