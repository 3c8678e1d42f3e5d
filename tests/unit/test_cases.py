"""case: each member of a union goes to a step of its own, and each must have one."""

import copy
import pickle  # noqa: TID251  # our own bytes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Generic, Literal, NewType, TypedDict, TypeVar

import attrs
import msgspec
import pydantic
import pytest
from returns.result import Failure, Result, Success
from typing_extensions import TypeAliasType

from onward import (
    BadPayload,
    Fault,
    Raised,
    TimedOut,
    case,
    each,
    explain,
    fixed,
    fused,
    identity,
    keep,
    local,
    plan,
    run,
    task,
    tee,
    together,
)
from onward.backends.local import Local
from onward.flows.flow import AnyFlow
from onward.interpret.canonical import id_of
from onward.testing.kinds import Even, Uneven

T = TypeVar("T")


@dataclass(frozen=True)
class Card:
    number: str


@dataclass(frozen=True)
class Iban:
    number: str


@dataclass(frozen=True)
class Gift(Card):
    """A subclass, whose values look like those of its base on the wire."""


class Coin(pydantic.BaseModel):
    number: str


class Cheque(msgspec.Struct, frozen=True):
    number: str


class Wire(msgspec.Struct, frozen=True, tag=True):
    number: str


class Cash(msgspec.Struct, frozen=True, tag=True):
    number: str


class Paid(pydantic.BaseModel):
    state: Literal["paid", "settled"] = "paid"


class Due(pydantic.BaseModel):
    state: Literal["due"] = "due"


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Options(TypedDict):
    size: int


@dataclass(frozen=True)
class Page(Generic[T]):
    items: list[T]


@attrs.frozen
class Box:
    size: int


@attrs.frozen
class Crate:
    size: int


UserId = NewType("UserId", int)
Payment = TypeAliasType("Payment", Card | Iban)


@pytest.fixture(scope="module")
def backend() -> Iterator[Local]:
    backend = local()
    yield backend
    backend.close()


@task
def pay(how: str) -> Card | Iban:
    return Card("1") if how == "card" else Iban("2")


@task
def pay_by_card(how: str) -> Card:
    return Card(how)


@task
def by_card(card: Card) -> str:
    return f"card {card.number}"


@task
def by_iban(iban: Iban) -> int:
    return int(iban.number)


@task
def by_any(payment: Card | Iban) -> str:
    return type(payment).__name__


@task
def to_iban(card: Card) -> Iban:
    return Iban(card.number)


@task
def to_card(iban: Iban) -> Card:
    return Card(iban.number)


@task
def nothing(_: None) -> str:
    return "nothing"


@task
def size(text: str) -> int:
    return len(text)


@task
def more(n: int) -> int:
    return n + 1


@task
def giving_payment(error: Fault) -> Card | Iban:
    return Iban("3")


@task
def mended(error: Fault) -> Card:
    return Card(error.task)


PAYMENT = case(Card, by_card).case(Iban, by_iban)


anything: Any = case
"""case, for programs that type checkers refuse."""

choose: Any = PAYMENT


def giving(annotation: Any, *values: Any) -> AnyFlow:
    """A task that gives one of several values, by its index."""

    def give(index: int) -> Any:
        return values[index]

    give.__annotations__["return"] = annotation
    return task(give)


def naming(annotation: Any, name: str) -> AnyFlow:
    """A task that takes a value of a type, and says what it got."""

    def take(value: Any) -> str:
        return f"{name} got {value!r}"

    take.__annotations__["value"] = annotation
    return task(name=name)(take)


# Types that travel in different ways, with a value of each.
UNIONS: dict[str, dict[Any, Any]] = {
    "dataclasses": {Card: Card("1"), Iban: Iban("1")},
    "a subclass with a case of its own": {Card: Card("1"), Gift: Gift("1")},
    "a dataclass and None": {Card: Card("1"), None: None},
    "plain JSON": {
        int: 1,
        str: "1",
        bool: True,
        None: None,
        list[int]: [1],
        dict[str, int]: {"a": 1},
    },
    "models": {Coin: Coin(number="1"), Card: Card("1")},
    "structs": {Cheque: Cheque("1"), Card: Card("1")},
    "structs with tags": {Wire: Wire("1"), Cash: Cash("1")},
    "structs with tags, and more": {Wire: Wire("1"), Cash: Cash("1"), Card: Card("1"), None: None},
    "an enum and a text": {Colour: Colour.RED, str: "red"},
    "an enum and a number": {Colour: Colour.RED, int: 1},
    "a decimal and a number": {Decimal: Decimal("1.5"), int: 1},
    "a typed dict and a list": {Options: {"size": 1}, list[str]: ["a"]},
    "generics": {Page[int]: Page([1]), Page[str]: Page(["a"])},
    "texts": {datetime: datetime(2020, 1, 1, tzinfo=UTC), str: "2020-01-01", bytes: b"a"},
    "a type of its own": {UserId: 1, str: "1"},
    "attrs classes": {Box: Box(1), Crate: Crate(1)},
    "lists of dataclasses": {list[Card]: [Card("1")], list[Iban]: [Iban("1")]},
    "lists and dataclasses": {list[int]: [1], Card: Card("1"), Iban: Iban("1")},
    "faults": {TimedOut: TimedOut("t", "late"), Fault: Raised("t", "E", "no")},
    "a fault and a dataclass": {Card: Card("1"), Fault: Raised("t", "E", "no")},
}


@pytest.mark.parametrize("members", UNIONS.values(), ids=UNIONS)
def test_each_type_goes_to_its_step(backend: Local, members: dict[Any, Any]) -> None:
    union: Any = None
    flow: Any = None
    for at, kind in enumerate(members):
        step = naming(kind, f"step{at}")
        union = kind if at == 0 else union | kind
        flow = case(kind, step) if at == 0 else flow.case(kind, step)
    values = list(members.values())
    said = [f"step{at} got {value!r}" for at, value in enumerate(values)]
    chain = giving(union, *values) >> flow
    for at, value in enumerate(values):
        assert run(flow(value), on=backend) == Success(said[at])
        assert run(chain(at), on=backend) == Success(said[at])
    assert run(each(flow)(values), on=backend) == Success(said)
    # What is passed on is still told apart, and read as what it is.
    passing: Any = None
    for kind in members:
        passing = case(kind, identity) if passing is None else passing.case(kind, identity)
    assert run(each(giving(union, *values) >> passing)(range(len(values))), on=backend) == Success(
        values
    )
    assert run(each(passing >> flow)(values), on=backend) == Success(said)


def test_a_union_that_pydantic_tells_apart(backend: Local) -> None:
    union: Any = Annotated[Paid | Due, pydantic.Field(discriminator="state")]
    flow: Any = case(Paid, naming(Paid, "paid")).case(Due, naming(Due, "due"))
    chain = giving(union, Paid(state="settled"), Due()) >> flow
    found = [run(chain(at), on=backend).unwrap().partition(" ")[0] for at in range(2)]
    assert found == ["paid", "due"]


def test_an_alias_is_the_union_that_it_names(backend: Local) -> None:
    chain = giving(Payment, Card("1"), Iban("2")) >> choose
    assert [run(chain(at), on=backend) for at in range(2)] == [Success("card 1"), Success(2)]
    noted = giving(Payment | None, Iban("2"), None) >> choose.case(None, nothing)
    assert [run(noted(at), on=backend) for at in range(2)] == [Success(2), Success("nothing")]
    mending = pay.rescue(giving_payment) >> choose
    assert run(mending("card"), on=backend) == Success("card 1")


def test_a_literal_goes_where_its_type_goes(backend: Local) -> None:
    chain = giving(Literal["a", "b"] | None, "a", None) >> case(str, size).case(None, nothing)
    assert [run(chain(at), on=backend) for at in range(2)] == [Success(1), Success("nothing")]


def test_a_branch_may_take_all_of_the_union(backend: Local) -> None:
    flow = pay >> case(Card, by_any).case(Iban, by_any)
    assert run(each(flow)(["card", "iban"]), on=backend) == Success(["Card", "Iban"])
    fully = case(Card, fused(by_any >> size)).case(Iban, by_any.named("any"))
    assert run((pay >> fully)("iban"), on=backend) == Success("Iban")


def test_values_keep_their_types_after_a_case(backend: Local) -> None:
    swapped = pay >> case(Card, to_iban).case(Iban, to_card)
    assert run(each(swapped)(["card", "iban"]), on=backend) == Success([Iban("1"), Card("2")])
    assert run((swapped >> PAYMENT)("card"), on=backend) == Success(1)
    assert run((swapped >> by_any)("iban"), on=backend) == Success("Card")
    mixed: AnyFlow = pay >> anything(Card, keep(identity)).case(Iban, identity)
    assert run(mixed("card"), on=backend) == Success((Card("1"), Card("1")))
    assert run(mixed("iban"), on=backend) == Success(Iban("2"))


def test_it_composes_with_everything(backend: Local) -> None:
    chosen = pay >> PAYMENT
    assert run(chosen("card"), on=backend) == Success("card 1")
    assert run((pay >> together(by_any, PAYMENT))("iban"), on=backend) == Success(("Iban", 2))
    assert run((pay >> keep(PAYMENT))("card"), on=backend) == Success((Card("1"), "card 1"))
    assert run((pay >> tee(PAYMENT) >> by_any)("card"), on=backend) == Success("Card")
    assert run(fused(chosen)("iban"), on=backend) == Success(2)
    assert run((pay >> PAYMENT.named("pay")).rescue(fixed(more, 1))("iban"), on=backend) == Success(
        2
    )
    inner = case(int, more).case(Card, case(Card, by_card))
    assert run(inner(Card("3")), on=backend) == Success("card 3")


@task
def refuse(card: Card) -> Result[str, Even]:
    return Failure(Even(len(card.number)))


@task
def refuse_too(iban: Iban) -> Result[str, Uneven]:
    raise ValueError("no")


@task
def even(error: Even) -> str:
    return f"even {error.number}"


@task
def uneven(error: Uneven) -> str:
    return f"uneven {error.number}"


@task
def other(fault: Fault) -> str:
    return type(fault).__name__


def test_failures_are_those_of_the_branches(backend: Local) -> None:
    flow = pay >> case(Card, refuse).case(Iban, refuse_too)
    assert run(flow("card"), on=backend) == Failure(Even(1))
    assert isinstance(run(flow("iban"), on=backend).failure(), Raised)


def test_a_case_is_a_handler(backend: Local) -> None:
    flow = pay >> case(Card, refuse).case(Iban, refuse_too)
    handled = flow.rescue(case(Even, even).case(Uneven, uneven).case(Fault, other))
    assert run(each(handled)(["card", "iban"]), on=backend) == Success(["even 1", "Raised"])
    with pytest.raises(TypeError, match=r"does not take Uneven, which refuse_too may fail with"):
        flow.rescue(anything(Even, even).case(Fault, other))
    with pytest.raises(TypeError, match=r"does not take every Fault"):
        flow.rescue(anything(Even, even).case(Uneven, uneven))


# -- what is refused --------------------------------------------------------------------------


@task
def by_card_and_more(card: Card, more: int) -> str:
    return ""


@task
def to_options(iban: Iban) -> Options:
    return {"size": 1}


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "a type without a case": (
        lambda: pay >> anything(Card, by_card),
        (
            r"pay gives Card \| Iban, and case\(Card, by_card\) takes Card: it has no case for "
            r"Iban, so add \.case\(Iban, \.\.\.\)"
        ),
    ),
    "a list with a type without a case": (
        lambda: giving(list[Card | Iban]) >> each(anything(Card, by_card)),
        r"it has no case for Iban",
    ),
    "a type without a case, within": (
        lambda: pay >> keep(anything(Card, by_card) >> size),
        r"it has no case for Iban",
    ),
    "None without a case": (
        lambda: giving(Card | None) >> anything(Card, by_card),
        r"it has no case for None, so add \.case\(None, \.\.\.\)",
    ),
    "a case that nothing reaches": (
        lambda: pay_by_card >> choose,
        r"pay_by_card gives Card, so nothing reaches the case for Iban: leave it out",
    ),
    "a case that nothing reaches, within": (
        lambda: giving(list[Card]) >> each(together(choose, by_any)),
        r"nothing reaches the case for Iban",
    ),
    "a subclass without a case of its own": (
        lambda: giving(Card | Gift | Iban) >> choose,
        r"values of Gift do not go to its case for Card, so add \.case\(Gift, \.\.\.\)",
    ),
    "a handler that gives a member alone": (
        lambda: pay.rescue(mended) >> choose,
        r"Card does not travel with its type's name, so annotate what gives it as Card \| Iban",
    ),
    "two values of a tuple": (
        lambda: together(pay_by_card, pay_by_card >> to_iban) >> each(choose),
        r"does not travel with its type's name",
    ),
    "a step for another type": (
        lambda: anything(Card, naming(Iban, "by_iban")),
        r"case\(Card, by_iban\) does not fit: by_iban takes Iban",
    ),
    "two cases for a type": (lambda: choose.case(Card, by_card), r"two cases for Card"),
    "numbers": (
        lambda: anything(int, naming(int, "a")).case(float, naming(float, "b")),
        r"a case cannot tell (int from float|float from int)",
    ),
    "typed dicts": (
        lambda: anything(Options, naming(Options, "a")).case(dict[str, int], identity),
        r"cannot tell|tell them apart|has no class",
    ),
    "anything": (lambda: anything(Any, identity), r"case\(Any, \.\.\.\) would take anything"),
    "an object": (lambda: anything(object, identity), r"object has no JSON form"),
    "a type that cannot travel": (lambda: anything(local, identity), r"case\("),
    "a step of two values": (
        lambda: anything(Card, by_card_and_more),
        r"cannot be called with one value alone",
    ),
    "what is no step": (
        lambda: anything(Card, by_card.fn),
        r"by_card is not a flow: put @task on it",
    ),
    "two branches whose values look the same": (
        lambda: anything(Card, to_iban).case(Iban, to_options),
        r"cannot|tell them apart|has no class",
    ),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused_where_it_stands(
    make: Callable[[], object], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        make()


def test_what_cannot_be_decided_passes_and_is_refused_when_it_comes(backend: Local) -> None:
    chain: Any = giving(Any, {"number": "1"}, [1]) >> PAYMENT
    for at, kind in enumerate(("object", "array")):
        fault = run(chain(at), on=backend).failure()
        assert isinstance(fault, BadPayload)
        assert f"no case for JSON of kind {kind}" in str(fault)
    assert isinstance(run(PAYMENT(Gift("1")), on=backend).failure(), BadPayload)
    assert isinstance(run(choose(None), on=backend).failure(), BadPayload)


# -- as a value -------------------------------------------------------------------------------


def test_it_is_a_value() -> None:
    same = case(Card, by_card).case(Iban, by_iban)
    assert same == PAYMENT
    assert hash(PAYMENT) == hash(same)
    assert case(Iban, by_iban).case(Card, by_card) != PAYMENT
    assert pickle.loads(pickle.dumps(PAYMENT)) == PAYMENT
    assert copy.deepcopy(PAYMENT) is PAYMENT
    changed = PAYMENT.with_(queue="slow")
    assert type(changed) is type(PAYMENT)
    assert all(each.policy.queue == "slow" for each in changed.tasks.values())
    assert plan.version_of(PAYMENT.node) == plan.NEWEST
    ids = {
        id_of(flow, "key")
        for flow in (PAYMENT, case(Card, by_any).case(Iban, by_any), case(Card, by_card))
    }
    assert len(ids) == 3


def test_people_read_it() -> None:
    flow = pay >> PAYMENT
    assert repr(flow) == "pay >> case(Card, by_card).case(Iban, by_iban)"
    assert explain(flow) == (
        "chain\n├── pay\n└── case\n    ├── Card: by_card\n    └── Iban: by_iban"
    )
    assert explain(flow, form="mermaid").splitlines()[1:] == [
        'n1["pay"]',
        'n2["Card"]',
        "n1 --> n2",
        'n3["by_card"]',
        "n2 --> n3",
        'n4["Iban"]',
        "n1 --> n4",
        'n5["by_iban"]',
        "n4 --> n5",
    ]
