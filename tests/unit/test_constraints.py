"""Constraints of values and bounds of input hold on both ends."""

from datetime import date, datetime
from decimal import Decimal
from typing import (
    Annotated,
    Any,
    NewType,
)
from uuid import UUID

import annotated_types as at
import msgspec
import pydantic
import pydantic.dataclasses
import pytest
from msgspec import Meta
from pydantic import UUID4, Field, PositiveInt, StringConstraints

from onward import BadPayload, local, run, submit, task
from onward.codec import Refused, codec
from onward.codec.limits import MAX_COLLIDING
from tests.unit.kinds import (
    IN_BERLIN,
    Account,
    Answer,
    Ask,
    Box,
    Dict,
    Entry,
    Generics,
    Json,
    List,
    Pair,
    Row,
    Sent,
    Set,
    Talk,
    Thread,
    Tuple,
)

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
