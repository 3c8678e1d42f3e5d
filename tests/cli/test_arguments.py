"""How a command line becomes a flow's arguments."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
import typer

from onward import Call, Flow, each, fused, given, identity, task, together
from onward.cli.arguments import call_of, parameters, read


@dataclass(frozen=True)
class Point:
    x: int
    y: float = 0.0


class Colour(Enum):
    RED = "red"


@task
def named(
    text: str = "",
    number: int = 0,
    ratio: float = 0.0,
    is_on: bool = False,
    day: date = date(2000, 1, 1),
    price: Decimal = Decimal(0),
    path: Path = Path(),
    raw: bytes = b"",
    kind: Literal["a", "b"] = "a",
    colour: Colour = Colour.RED,
    either: int | str = 0,
    perhaps: int | None = 0,
    point: Point | None = None,
    points: list[Point] = [],  # noqa: B006 - never changed
    table: dict[str, int] = {},  # noqa: B006 - never changed
    anything: Any = None,
) -> str:
    return text


@task
def many(first: int, *rest: int, **others: float) -> int:
    return first


@task
def add(a: int, b: int, /) -> int:
    return a + b


@task
def double(number: int) -> int:
    return 2 * number


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("text", "5", "5"),
        ("text", "", ""),
        ("text", "null", "null"),
        ("text", "-x", "-x"),
        ("number", "-5", -5),
        ("ratio", "5", 5.0),
        ("ratio", "1e-3", 0.001),
        ("is_on", "true", True),
        ("is_on", "false", False),
        ("day", "2026-11-24", date(2026, 11, 24)),
        ("price", "1.10", Decimal("1.10")),
        ("path", "a/b", Path("a/b")),
        ("raw", "é", "é".encode()),
        ("raw", "\udcff", b"\xff"),
        ("kind", "b", "b"),
        ("colour", "red", Colour.RED),
        ("either", "5", "5"),
        ("perhaps", "null", None),
        ("perhaps", "7", 7),
        ("point", '{"x": 1}', Point(1)),
        ("points", '[{"x": 1}]', [Point(1)]),
        ("table", '{"a": 1}', {"a": 1}),
        ("anything", '{"a": [1, "b"]}', {"a": [1, "b"]}),
    ],
)
def test_a_text_is_read_by_its_parameter_s_annotation(name: str, text: str, value: object) -> None:
    [parameter] = [each for each in parameters(named) if each.python.name == name]
    assert read(parameter, text) == value


@pytest.mark.parametrize(
    ("flow", "texts", "call"),
    [
        (many, ["1", "2", "-3", "--a", "4"], many(1, 2, -3, a=4.0)),
        (many, ["--a-b=4", "--first", "1"], many(1, a_b=4.0)),
        (add, ["1", "2"], add(1, 2)),
        (add, ["--b=2", "1"], add(1, 2)),
        (double, ["--", "-5"], double(-5)),
        (named, ["x", "--number", "5", "1.5"], named("x", 5, 1.5)),
        (named, ["--is-on", "x"], named("x", is_on=True)),
        (named, ["--no-is-on"], named(is_on=False)),
        (add >> double, ["1", "2"], (add >> double)(1, 2)),
        ((add >> double).named("it"), ["1", "2"], (add >> double).named("it")(1, 2)),
        (fused(add >> double), ["1", "2"], fused(add >> double)(1, 2)),
        (given(add, 5), ["1"], given(add, 5)(1)),
        (given(add, 5) >> double, ["--a=1"], (given(add, 5) >> double)(1)),
        (each(double), ["[1, 2]"], each(double)([1, 2])),
        (each(each(double)), ["[[1], []]"], each(each(double))([[1], []])),
        (together(identity, double), ["4"], together(identity, double)(4)),
        (identity, ['"x"'], identity("x")),
        (identity >> double, ["4"], double(4)),
    ],
)
def test_every_kind_of_flow_takes_what_its_first_step_takes(
    flow: Flow[..., Any, Any], texts: list[str], call: Call[Any, Any]
) -> None:
    assert call_of(flow, texts) == call


@pytest.mark.parametrize(
    ("flow", "texts", "says"),
    [
        (double, [], "double: 'number' (int) is missing"),
        (add, [], "'a' (int), 'b' (int) are missing"),
        (double, ["x"], "double: 'number' (int): Expected `int`, got `str`"),
        (double, ["\udcff"], "'number' (int): it is not UTF-8"),
        (many, ["1", "--a", "x"], "'a' (float): Expected `float`, got `str`"),
        (many, ["1", "--a=1", "--a=2"], "--a appears twice"),
        (named, ["--kind", "c"], "'kind' (Literal['a', 'b']): Invalid enum value 'c'"),
        (named, ["--point", "{"], "'point' (tests.cli.test_arguments.Point | None)"),
        (named, ["--point", '{"x": "a"}'], "got `str` at $.x"),
        (named, ["--point", '{"x": 1'], "not valid JSON: "),
        (named, ["--number", "2.5"], "'number' (int): Expected `int`, got `float`"),
        (named, ["--number"], "--number needs a value"),
        (named, ["--text=a", "--text=b"], "--text appears twice"),
        (named, ["--is-on=yes"], "'is_on' (bool): Expected `bool`, got `str`"),
        (named, ["--points", "1,2"], "Expected `array`, got `str`, written as JSON"),
        (each(double), ['[1, "a"]'], "'number' (list[int]): Expected `int`, got `str`"),
        (given(add, 5), ["1", "2"], "there are more arguments than it takes"),
        (given(add, 5), ["--b=2"], "there is no parameter 'b'"),
    ],
)
def test_a_value_that_does_not_fit_ends_the_command_and_names_its_parameter(
    flow: Flow[..., Any, Any], texts: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended:
        call_of(flow, texts)
    assert ended.value.exit_code == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


def test_the_types_of_parameters_are_told_as_they_are_annotated() -> None:
    assert [(each.python.name, each.type) for each in parameters(many)] == [
        ("first", "int"),
        ("rest", "int"),
        ("others", "float"),
    ]
    assert [each.type for each in parameters(each(double))] == ["list[int]"]
    assert [each.type for each in parameters(identity)] == ["JSON"]
