"""What a refusal says: which part of a value, and why."""

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import (
    Any,
)

import pydantic
import pydantic.dataclasses
import pytest
from pydantic import Field, PositiveInt, SecretStr
from typing_extensions import TypeAliasType

from onward import BadPayload, local, run, task
from tests.unit.kinds import Ask, Dict, Entry, List, Person, Row, Share, Status

Loop: Any = TypeAliasType("Loop", "Loop | int")


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
