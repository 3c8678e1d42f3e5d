"""Which changes of a task break what."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Gt
from msgspec import Meta
from pydantic import BaseModel, PositiveInt
from returns.result import Result

from onward import Catalog, Fault, Secret, fixed, given, keep, task, together
from onward.codec import codec
from onward.compat import changes, misfits, read, snapshot, written
from onward.compat.schemas import refusals
from onward.flows.flow import AnyFlow
from onward.flows.lower import lower
from onward.plan import Args, Plan


@dataclass(frozen=True)
class Address:
    street: str
    town: str = ""


@dataclass(frozen=True)
class Card:
    number: str


@dataclass(frozen=True)
class Iban:
    iban: str


class Model(BaseModel):
    count: PositiveInt
    names: list[str] = []


ACCEPTED: list[tuple[Any, Any]] = [
    (int, int),
    (float, int),
    (int | str, int),
    (str | None, str),
    (Any, Address),
    (list[float], list[int]),
    (dict[str, float], dict[str, int]),
    (tuple[float, str], tuple[int, str]),
    (Literal["a", "b"], Literal["a"]),
    (Card | Iban, Card | Iban),
    (Card | Iban | Address, Card | Iban),
    (Annotated[int, Meta(ge=0)], Annotated[int, Meta(ge=5)]),
    (int, Annotated[int, Gt(0)]),
    (Secret[str], str),
    (str, Secret[str]),
    (Model, Model),
    (int | Fault, int | Fault),
]
REFUSED: list[tuple[Any, Any, str]] = [
    (int, str, "string, and integer is expected"),
    (int, float, "number, and integer is expected"),
    (int, int | str, "string"),
    (str, str | None, "null"),
    (list[int], list[str], r"\$\[\]"),
    (set[int], list[int], "uniqueItems"),
    (dict[str, int], dict[str, str], r"\$\.\*"),
    (tuple[int, str], tuple[int, int], r"\$\[1\]"),
    (tuple[int, int], tuple[int, int, int], "maxItems"),
    (Literal["a"], Literal["a", "b"], "not b"),
    (Literal["a"], str, "not others"),
    (Card | Iban, Card | Iban | Address, "Address"),
    (Annotated[int, Meta(ge=5)], Annotated[int, Meta(ge=0)], "minimum is 5, and was 0"),
    (Annotated[int, Gt(0)], int, "0"),
    (Model, Address, "count"),
    (Decimal, str, "decimal"),
    (Path, str, "Path"),
]


@pytest.mark.parametrize(("reader", "writer"), ACCEPTED, ids=str)
def test_a_wider_type_accepts_what_a_narrower_one_writes(reader: Any, writer: Any) -> None:
    assert list(refusals(codec(reader).schema(), codec(writer).schema())) == []


@pytest.mark.parametrize(("reader", "writer", "why"), REFUSED, ids=str)
def test_a_narrower_type_is_told(reader: Any, writer: Any, why: str) -> None:
    found = list(refusals(codec(reader).schema(), codec(writer).schema()))
    assert found
    assert re.search(why, found[0])


def of(fn: Callable[..., Any], **options: Any) -> Catalog:
    return Catalog(task(fn, name="t", **options))


def base(n: int, unit: str = "m") -> str:
    return ""


def gone(n: int) -> str:
    return ""


def more(n: int, unit: str = "m", by: int = 1) -> str:
    return ""


def most(n: int, unit: str, by: int) -> str:
    return ""


def swapped(unit: str = "m", n: int = 1) -> str:
    return ""


def narrower(n: Annotated[int, Meta(ge=0)], unit: str = "m") -> str:
    return ""


def wider(n: float, unit: str = "m") -> str | None:
    return ""


def other_value(n: int, unit: str = "m") -> int:
    return 0


def fails(n: int, unit: str = "m") -> Result[str, Card]:
    raise NotImplementedError


def fails_more(n: int, unit: str = "m") -> Result[str, Card | Iban]:
    raise NotImplementedError


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        (base, base, []),
        (base, more, []),
        (base, gone, ["the parameter 'unit' is gone"]),
        (
            base,
            most,
            [
                "the new parameter 'by' has no default",
                "the parameter 'unit' has no default any more",
            ],
        ),
        (base, swapped, ["its parameters are in another order"]),
        (
            base,
            narrower,
            ["the parameter 'n' has a narrower type: $: minimum is 0, and was not set"],
        ),
        (base, wider, ["its value has a wider type: $: null, and string is expected"]),
        (
            base,
            other_value,
            [
                "its value has another type: $: string, and integer is expected",
                "its value has a wider type: $: integer, and string is expected",
            ],
        ),
        (base, fails, ["it has domain errors now"]),
        (fails, base, ["it has no domain errors any more"]),
        (fails, fails_more, ["an error is new: $: Iban, and Card is expected"]),
        (fails_more, fails, ["an error has another type: $: Iban, and Card is expected"]),
    ],
)
def test_changes_of_a_task(old: Any, new: Any, found: list[str]) -> None:
    assert [each.what for each in changes(snapshot(of(old)), snapshot(of(new)))] == found


def test_a_task_that_is_gone_and_a_new_one() -> None:
    other = Catalog(task(base, name="other"))
    [change] = changes(snapshot(of(base)), snapshot(other))
    assert str(change).startswith("t: the task is gone. It breaks calls made before the change. ")


def test_another_queue() -> None:
    [change] = changes(snapshot(of(base)), snapshot(of(base, queue="gpu")))
    assert change.what == "its queue was the engine's own, and is gpu"


def test_a_snapshot_is_read_as_it_was_written() -> None:
    made = snapshot(Catalog(task(fails, name="a"), task(wider, name="b", queue="q")))
    assert read(written(made)) == made


@pytest.mark.parametrize("text", ["", "{}", '{"tasks": {}, "flows": [], "version": 2}'])
def test_what_is_no_snapshot_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"snapshot|version"):
        read(text)


# -- calls in flight --------------------------------------------------------------------------


@task
def inc(n: int) -> int:
    return n + 1


@task
def show(n: int, unit: str = "m") -> str:
    return ""


@task(name="inc")
def inc_of_text(n: str) -> int:
    return 0


@task(name="show")
def show_in(n: int) -> str:
    return ""


def plan_of(flow: AnyFlow, *args: Any) -> Plan:
    called = flow(*args)
    assert isinstance(called.args, Args)
    return Plan(v=1, flow=flow.name, root=lower(flow), args=called.args)


def test_open_calls_that_fit() -> None:
    for flow in (inc >> show, together(inc, show), keep(inc), fixed(inc, 1)):
        assert list(misfits(plan_of(flow, 1), [], Catalog(inc, show))) == []


def test_open_calls_whose_task_is_gone_or_takes_another_type() -> None:
    plan = plan_of(inc >> show, 1)
    assert list(misfits(plan, [], Catalog(inc))) == ["show: the task is gone"]
    assert list(misfits(plan, ["1"], Catalog(inc))) == []
    [why] = misfits(plan, [], Catalog(inc_of_text, show))
    assert why == "inc: Expected `str`, got `int` at $.n"
    [why] = misfits(plan_of(inc >> given(show, unit="km"), 1), [], Catalog(inc, show_in))
    assert why.startswith("show: ")
