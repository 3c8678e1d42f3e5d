"""What the id of a call with a key depends on, and what it does not."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import pytest
from hypothesis import given as when
from hypothesis import strategies as st
from msgspec import Struct
from pydantic import BaseModel

from onward import Retry, each, fused, given, identity, local, submit, task, together
from onward.flows.flow import AnyFlow
from onward.interpret.canonical import canonical


class Model(BaseModel):
    tags: set[str]
    note: str = ""


@dataclass(frozen=True)
class Record:
    tags: frozenset[str]
    hidden: str = field(default="", repr=False, compare=False)


class Kind(Enum):
    A = "a"


class Item(Struct, frozen=True, tag=True):
    n: int


class Other(Struct, frozen=True, tag=True):
    n: int


@task
def inc(n: int) -> int:
    return n + 1


@task
def take(n: int, value: Item | Other) -> int:
    return n


@task
def record(n: int, value: Record, by: dict[str, int] | None = None) -> int:
    return n


@task
def model(n: int, value: Model) -> int:
    return n


@task
def real(n: int, by: float) -> int:
    return n


def id_of(flow: AnyFlow, key: str = "k") -> str:
    backend = local()
    ref = submit(flow(1), on=backend, key=key).unwrap()
    backend.close()
    return ref.id


SAME: dict[str, tuple[AnyFlow, AnyFlow]] = {
    "how a chain was grouped": (inc >> (inc >> inc), (inc >> inc) >> inc),
    "the order of a dict": (
        given(record, Record(frozenset()), by={"a": 1, "b": 2}),
        given(record, Record(frozenset()), by={"b": 2, "a": 1}),
    ),
    "the order of keywords": (
        given(record, value=Record(frozenset()), by={}),
        given(record, by={}, value=Record(frozenset())),
    ),
    "a whole number for a float": (given(real, 1), given(real, 1.0)),
    "how steps are delivered": (inc >> inc, (inc >> inc).with_(retry=Retry(), queue="q")),
    "how many at a time": (each(inc), each(inc, limit=3)),
    "the body of a named flow": ((inc >> inc).named("f"), inc.named("f")),
}

DIFFERENT: dict[str, tuple[AnyFlow, AnyFlow]] = {
    "a task and a flow of one name": (inc, (inc >> inc).named("inc")),
    "the steps": (inc >> inc, inc >> inc >> inc),
    "the combinator": (together(inc, inc), inc >> inc),
    "what is fused": (fused(inc >> inc), inc >> inc),
    "a field that repr does not show": (
        given(record, Record(frozenset(), "a")),
        given(record, Record(frozenset(), "b")),
    ),
    "the type among several": (given(take, Item(1)), given(take, Other(1))),
    "a name inside": (inc >> inc.named("a"), inc >> inc.named("b")),
    "a model's field": (
        given(model, Model(tags=set(), note="a")),
        given(model, Model(tags=set(), note="b")),
    ),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_an_id_does_not_depend_on(one: AnyFlow, other: AnyFlow) -> None:
    assert one is not other
    value: Any = [1] if one == each(inc) else 1
    backend = local()
    ids = {submit(flow(value), on=backend, key="k").unwrap().id for flow in (one, other)}
    assert len(ids) == 1
    backend.close()


@pytest.mark.parametrize(("one", "other"), DIFFERENT.values(), ids=DIFFERENT)
def test_an_id_depends_on(one: AnyFlow, other: AnyFlow) -> None:
    assert id_of(one) != id_of(other)
    assert id_of(one) != id_of(one, "another key")


def test_the_id_of_a_task_is_that_of_0_1() -> None:
    """Whoever submits a task again with its key after an upgrade gets the call that there is."""
    assert id_of(inc) == "8c08a59a047597d1c6133d750995481c"
    assert id_of(inc.with_(queue="q")) == id_of(inc)


@when(st.sets(st.text(max_size=3)), st.randoms())
def test_a_model_s_sets_are_written_in_one_order(tags: set[str], random: Any) -> None:
    shuffled = list(tags)
    random.shuffle(shuffled)
    assert canonical(Model(tags=set(shuffled))) == canonical(Model(tags=tags))
    assert canonical({Kind.A: set(shuffled)}) == canonical({Kind.A: tags})


def test_identity_has_an_id() -> None:
    assert id_of(together(identity, inc)) != id_of(together(inc, identity))
