"""Codecs of unions, of annotations that cannot travel, and of tasks at run time."""

import ast
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import InitVar, dataclass
from datetime import date, datetime
from enum import Enum
from pathlib import Path
from typing import (
    Any,
    Never,
    TypeVar,
    cast,
)

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from returns.result import Failure, Result, Success

import onward
from onward import BadPayload, Expired, Fault, TimedOut, local, run, task
from onward import given as given_
from onward.codec import Refused, codec, decode_fault, encode_fault
from onward.fault import KINDS
from onward.outcome import decode as decode_outcome
from onward.outcome import faulted
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
    Tree,
    anything,
    texts,
    whole,
)


@dataclass(frozen=True)
class NotFound:
    key: str


@dataclass(frozen=True)
class Denied:
    key: str
    reason: str = ""


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
