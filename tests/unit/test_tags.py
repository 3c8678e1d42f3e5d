"""Onward's own marks of types, and data that looks like them."""

from dataclasses import dataclass
from typing import (
    Any,
)

import pytest

from onward import Fault
from onward.codec import Refused, codec
from tests.unit.kinds import Answer, Ask, Card, Dict, Json, List, Open


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
