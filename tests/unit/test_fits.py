"""What does not fit is refused where it is composed, and what cannot be decided passes."""

import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NoReturn,
    Protocol,
    TypedDict,
    TypeVar,
)

import pytest
from returns.result import Failure, Result, Success

from onward import Fault, TimedOut, each, fused, given, identity, keep, task, tee, together
from onward.flows.annotations import fits, shown

T = TypeVar("T")


@dataclass(frozen=True)
class Animal:
    name: str


@dataclass(frozen=True)
class Dog(Animal):
    breed: str = "mutt"


@dataclass(frozen=True)
class Box(Generic[T]):
    inner: T


class Colour(Enum):
    RED = 1


class Pair(NamedTuple):
    a: int
    b: str


class Options(TypedDict):
    a: int


class Sized(Protocol):
    def __len__(self) -> int: ...


UserId = NewType("UserId", int)

FIT: list[tuple[Any, Any]] = [
    (int, int),
    (bool, int),
    (int, float),
    (datetime, date),
    (Dog, Animal),
    (int, int | str),
    (int, int | None),
    (int | bool, float | None),
    (None, int | None),
    (list[int], list[int]),
    (tuple[int, int], list[int]),  # as it travels
    (list[Dog], Sequence[Animal]),
    (list[int], Sequence[float]),
    (str, Sequence[str]),
    (tuple[int, str], tuple[int, str]),
    (tuple[int, int], tuple[int, ...]),
    (tuple[int, ...], Sequence[int]),
    (tuple[int, ...], tuple[int, int]),
    (dict[str, int], Mapping[str, float]),
    (Literal["a"], str),
    (Literal["a"], Literal["a", "b"]),
    (str, Literal["a"]),
    (UserId, int),
    (int, UserId),
    (Annotated[int, "positive"], int),
    (Pair, tuple[int, str]),
    (Options, dict[str, int]),
    (Box[int], Box[int]),
    (Colour, Colour),
    # not decided
    (Any, int),
    (int, Any),
    (object, int),
    (int, object),
    (T, int),
    (int, T),
    (int, Sized),
    (list, list[int]),
    (list[Any], list[int]),
    (NoReturn, int),
    (typing.List[int], list[int]),  # noqa: UP006  # as older code writes it
    (typing.Optional[int], int | None),  # noqa: UP045  # as older code writes it
]

MISFIT: list[tuple[Any, Any, str, str]] = [
    (str, bytes, "str", "bytes"),
    (str, int, "str", "int"),
    (float, int, "float", "int"),
    (Animal, Dog, "Animal", "Dog"),
    (int | None, int, "int | None", "int"),
    (int | str, int | bytes, "int | str", "int | bytes"),
    (list[str], list[int], "list[str]", "list[int]"),
    (list[list[str]], list[list[int]], "list[list[str]]", "list[list[int]]"),
    (dict[str, str], Mapping[str, int], "dict[str, str]", "Mapping[str, int]"),
    (tuple[int, str], tuple[int, int], "tuple[int, str]", "tuple[int, int]"),
    (tuple[int, str], tuple[int], "tuple[int, str]", "tuple[int]"),
    (tuple[int, str], tuple[int, ...], "tuple[int, str]", "tuple[int, ...]"),
    (Literal["a", "c"], Literal["a", "b"], "Literal['a', 'c']", "Literal['a', 'b']"),
    (Literal[1], str, "Literal[1]", "str"),
    (None, int, "None", "int"),
    (Options, int, "Options", "int"),
    (Box[int], Box[str], "Box[int]", "Box[str]"),
    (Dog, Colour, "Dog", "Colour"),
]


@pytest.mark.parametrize(("one", "other"), FIT, ids=str)
def test_what_fits_or_cannot_be_decided_passes(one: Any, other: Any) -> None:
    assert fits(one, other)


@pytest.mark.parametrize(("one", "other", "gives", "takes"), MISFIT, ids=str)
def test_what_cannot_fit_does_not(one: Any, other: Any, gives: str, takes: str) -> None:
    assert not fits(one, other)
    assert (shown(one), shown(other)) == (gives, takes)


@dataclass(frozen=True)
class Bad:
    why: str


@dataclass(frozen=True)
class Worse:
    why: str


@task
def fetch(url: str) -> str:
    return url


@task
def parse(raw: bytes) -> list[int]:
    return list(raw)


@task
async def read(raw: bytes, sep: str = ",") -> Result[list[int], Bad]:
    return Success([])


@task
def store(rows: list[int], table: str) -> Result[int, Worse]:
    return Failure(Worse(table))


@task
def double(n: int) -> int:
    return 2 * n


@task
def text(n: int) -> str:
    return str(n)


@task
def stop(n: int) -> NoReturn:
    raise ValueError(n)


@task
def handle(error: Bad | Fault) -> int:
    return 0


@task
def handle_all(error: Bad | Worse | Fault) -> int:
    return 0


@task
def say(error: Bad | Worse | Fault) -> str:
    return ""


@task
def late(error: TimedOut) -> int:
    return 0


wrong: Any = parse
ANY: dict[str, Any] = {name: value for name, value in globals().items() if name.islower()}


class Case(NamedTuple):
    compose: Callable[[], object]
    message: str


def case(code: str, message: str) -> Any:
    names = ANY | {"each": each, "together": together, "given": given, "fused": fused}
    names |= {"keep": keep, "tee": tee, "identity": identity}
    return pytest.param(lambda: eval(code, dict(names)), message, id=code)


@pytest.mark.parametrize(
    ("compose", "message"),
    [
        case("fetch >> parse", "fetch gives str, and parse takes bytes"),
        case("fetch >> read", "fetch gives str, and read takes bytes"),
        case("double >> double >> parse", "double gives int, and parse takes bytes"),
        case("fetch >> (parse >> given(store, 'x'))", "fetch gives str, and parse takes bytes"),
        case("fetch >> fused(parse).named('p')", "fetch gives str, and parse takes bytes"),
        case("parse >> double", "parse gives list[int], and double takes int"),
        case("parse >> each(fetch)", "parse gives list[int], and each(fetch) takes list[str]"),
        case("fetch >> each(fetch)", "fetch gives str, and each(fetch) takes list[str]"),
        case("double >> each(double)", "double gives int, and each(double) takes list[int]"),
        case("each(double) >> double", "each(double) gives list[int], and double takes int"),
        case("double >> together(text, fetch)", "together(text, fetch) does not fit"),
        case("double >> together(text, identity) >> double", "gives tuple[str, Any], and double"),
        case("keep(double) >> double", "keep(double) gives tuple[int, int], and double takes int"),
        case("double >> keep(fetch)", "double gives int, and fetch takes str"),
        case("double >> tee(text) >> fetch", "double gives int, and fetch takes str"),
        case("tee(text) >> fetch", "tee(text) gives int, and fetch takes str"),
        case("double.rescue(handle) >> fetch", "double gives int, and fetch takes str"),
        case("together(fetch, double)", "fetch takes str, and double takes int"),
        case("(read >> given(store, 'x')).rescue(handle)", "handle does not take Worse"),
        case("read.rescue(say)", "say gives str, and read gives list"),
        case("double.rescue(late)", "does not take every Fault"),
    ],
)
def test_what_does_not_fit_is_refused_where_it_is_composed(
    compose: Callable[[], object], message: str
) -> None:
    with pytest.raises(TypeError) as raised:
        compose()
    assert message in str(raised.value)


def test_what_fits_composes() -> None:
    anything: Any = identity
    assert (fetch >> anything >> fetch).name == "fetch >> fetch"
    assert (parse >> each(tee(text)) >> each(double)).tasks.keys() == {"parse", "text", "double"}
    assert (double >> keep(text) >> identity).name == "double >> keep(text)"
    assert (parse >> given(store, "x")).rescue(handle_all).tasks.keys() >= {"store"}
    assert (stop >> double >> stop).tasks.keys() == {"stop", "double"}
    assert (read >> given(store, "x")).rescue(handle_all).rescue(handle).tasks


def test_a_long_chain_of_steps_that_pass_on_is_made_in_time_in_line_with_its_length() -> None:
    flow: Any = double
    for _ in range(3_000):
        flow = flow >> tee(text)
    assert (flow >> double).depth == 2
