"""Which outcomes a call takes over from the one that it continues, and what it runs then."""

import asyncio

import pytest
from msgspec import Raw

from onward import Raised
from onward.evaluate import evaluate
from onward.outcome import Outcome, Value, faulted
from onward.past import rest_of, steps_with_past, taken_over, waits_with_past
from onward.plan import (
    NEWEST,
    Args,
    AwaitsNode,
    ChainNode,
    EachNode,
    FinallyNode,
    Node,
    Past,
    Plan,
    RescueNode,
    Runnable,
    SleepNode,
    StepNode,
    TogetherNode,
    Waiting,
    decode,
    encode,
)

FAILED = faulted(Raised("bad", "ValueError", "no"))
A, B, C, MANY, UNDO = (StepNode(task=name) for name in ("a", "b", "c", "many", "undo"))


def value(text: str) -> Value:
    return Value(Raw(text.encode()))


def plan_of(root: Node, past: Past | None = None) -> Plan:
    return Plan(v=NEWEST, id="second", flow="flow", root=root, args=Args((Raw(b"1"),)), past=past)


ONE = value("1")

CASES: dict[str, tuple[Node, dict[str, Outcome], set[str]]] = {
    "a chain goes on at its failed step": (
        ChainNode((A, B, C)),
        {"0": ONE, "1": FAILED},
        {"0"},
    ),
    "all failed branches run again": (
        ChainNode((A, TogetherNode((A, B, C)))),
        {"0": ONE, "1[0]": FAILED, "1[1]": ONE, "1[2]": FAILED},
        {"0", "1[1]"},
    ),
    "an item that failed holds up no other, whatever the limit": (
        ChainNode((MANY, EachNode(ChainNode((A, B)), limit=1))),
        {
            "0": value("[1,2,3]"),
            "1[0].0": FAILED,
            "1[1].0": ONE,
            "1[1].1": ONE,
            "1[2].0": ONE,
        },
        {"0", "1[1].0", "1[1].1", "1[2].0"},
    ),
    "a failure that a handler has got is taken over": (
        ChainNode((RescueNode(ChainNode((A, B)), C), A)),
        {"0.try.0": ONE, "0.try.1": FAILED, "0.rescue": ONE, "1": FAILED},
        {"0.try.0", "0.try.1", "0.rescue"},
    ),
    "a handler that failed runs again": (
        RescueNode(A, C),
        {"try": FAILED, "rescue": FAILED},
        {"try"},
    ),
    "a cleanup after a failure runs again": (
        FinallyNode(ChainNode((A, B)), UNDO),
        {"try.0": ONE, "try.1": FAILED, "finally": ONE},
        {"try.0"},
    ),
    "a cleanup after a success does not": (
        ChainNode((FinallyNode(A, UNDO), B)),
        {"0.try": ONE, "0.finally": ONE, "1": FAILED},
        {"0.try", "0.finally"},
    ),
}


@pytest.mark.parametrize(("root", "outcomes", "kept"), CASES.values(), ids=CASES)
def test_what_is_taken_over(root: Node, outcomes: dict[str, Outcome], kept: set[str]) -> None:
    assert set(taken_over(plan_of(root), outcomes)) == kept


def test_a_step_that_is_taken_over_does_not_run() -> None:
    ran: list[tuple[str, Args]] = []

    async def run_step(step: Runnable, args: Args, where: str, /) -> Outcome:
        ran.append((where, args))
        return value("3")

    past = Past("first", {"0": value("2")}, args={"2": Args((Raw(b"9"),))})
    plan = plan_of(ChainNode((A, B, C)), past)
    assert plan.origin == "first"
    read = decode(encode(plan)).unwrap()
    assert read == plan
    steps = steps_with_past(run_step, read.past)
    assert asyncio.run(evaluate(read.root, read.args, steps)) == value("3")
    assert ran == [("1", Args((Raw(b"2"),))), ("2", Args((Raw(b"9"),)))]


def test_a_wait_that_had_begun_ends_when_it_would_have_ended() -> None:
    waited: list[tuple[str, Waiting]] = []

    async def wait(node: Waiting, where: str, /) -> Outcome:
        waited.append((where, node))
        return value("null")

    async def run_step(step: Runnable, args: Args, where: str, /) -> Outcome:
        raise AssertionError

    root = ChainNode((SleepNode(1.0), SleepNode(60.0), AwaitsNode("go", 60.0)))
    past = Past("first", {"0": value("null")}, {"1": 1030.0, "2": 900.0})
    waits = waits_with_past(wait, past, lambda: 1000.0)
    asyncio.run(evaluate(root, Args((Raw(b"1"),)), run_step, wait=waits))
    assert waited == [("1", SleepNode(30.0)), ("2", AwaitsNode("go", 0.0))]
    assert rest_of(AwaitsNode("go"), None, 5.0) == AwaitsNode("go")
