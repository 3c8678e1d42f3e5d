"""Which outcomes a call takes over from the one that it continues, and what it runs then."""

import asyncio
import random

import hypothesis
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from onward import Cancelled, Raised
from onward.attempt import Attempts
from onward.backend import Submission
from onward.context import Context
from onward.evaluate import evaluate
from onward.execute import retried
from onward.flows.flow import AnyFlow
from onward.interpret.prepare import prepare
from onward.outcome import Outcome, Value, faulted
from onward.past import (
    before,
    node_at,
    rest_of,
    steps_with_past,
    taken_over,
    waits_with_past,
)
from onward.plan import (
    NEWEST,
    Args,
    AwaitsNode,
    CaseNode,
    ChainNode,
    EachNode,
    FinallyNode,
    FixedNode,
    FusedNode,
    KeepNode,
    NamedNode,
    Node,
    Past,
    Plan,
    RescueNode,
    Runnable,
    SleepNode,
    SpreadNode,
    StepNode,
    TogetherNode,
    Waiting,
    decode,
    encode,
)
from onward.routing import Route
from onward.scope import in_cleanup
from onward.testing.oracle import comparable
from onward.testing.strategies import cleaned_flows, numbers
from onward.unanswered import unanswered

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
    "a cleanup that failed does not, because the call went on": (
        ChainNode((FinallyNode(A, UNDO), B, C)),
        {"0.try": ONE, "0.finally": FAILED, "1": ONE, "2": FAILED},
        {"0.try", "0.finally", "1"},
    ),
    "a cleanup that was interrupted does": (
        ChainNode((FinallyNode(A, UNDO), B)),
        {"0.try": ONE, "0.finally": faulted(Cancelled("undo", "it was interrupted"))},
        {"0.try"},
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


def test_a_wait_that_goes_on_in_vain_says_its_whole_timeout() -> None:
    async def wait(node: Waiting, where: str, /) -> Outcome:
        assert isinstance(node, AwaitsNode)
        return unanswered(node)

    async def main() -> Outcome:
        waits = waits_with_past(wait, Past("first", due={"2": 1030.0}), lambda: 1000.0)
        return await waits(AwaitsNode("go", 60.0), "2")

    assert asyncio.run(main()) == unanswered(AwaitsNode("go", 60.0))


RECORDING = settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])


@RECORDING
@hypothesis.given(cleaned_flows(), numbers(), st.data())
def test_any_cut_goes_on_as_if_it_had_not_been_interrupted(
    flow: AnyFlow, n: int, draw: st.DataObject
) -> None:
    plan = prepare(flow(n), None, 0.0, None, {})
    assert isinstance(plan, Submission)
    whole, outcomes = evaluated(plan.plan, flow)
    ended = draw.draw(st.integers(0, len(outcomes)))
    other = draw.draw(st.sets(st.sampled_from(sorted(outcomes)))) if outcomes else set()
    before_the_cut = dict(list(outcomes.items())[:ended])
    anything = {path: outcomes[path] for path in other}
    for recorded in (before_the_cut, anything):
        known = taken_over(plan.plan, recorded)
        assert known.items() <= recorded.items()
        again, ran = evaluated(replace(plan.plan, past=Past("first", known)), flow)
        assert comparable(flow.read(again)) == comparable(flow.read(whole))
        assert ran.keys() == outcomes.keys() - known.keys()
    known = taken_over(plan.plan, before_the_cut)
    values = [path for path, each in before_the_cut.items() if isinstance(each, Value)]
    assert {path for path in values if not in_cleanup(path)} <= known.keys()


def evaluated(plan: Plan, flow: AnyFlow) -> tuple[Outcome, dict[str, Outcome]]:
    """The outcome of a plan, and those of the steps that ran, in the order in which they ended."""
    ran: dict[str, Outcome] = {}
    attempts = Attempts(flow.tasks)

    async def run_step(step: Runnable, args: Args, where: str, /) -> Outcome:
        async def once(attempt: int) -> Outcome:
            name = step.task if isinstance(step, StepNode) else ""
            return await attempts.make(step, args, Context("", name, where, attempt))

        outcome = await retried(step, once, asyncio.sleep, random.random)
        ran[where] = outcome
        return outcome

    steps = steps_with_past(run_step, plan.past)
    return asyncio.run(evaluate(plan.root, plan.args, steps)), ran


PLACES = {
    "0": A,
    "1[0]": A,
    "1[1].0": B,
    "2[7][3]": C,
    "3.try": A,
    "3.rescue.0": SleepNode(1.0),
    "4[1]": AwaitsNode("go"),
    "5.try": B,
    "5.finally": UNDO,
    "6": FusedNode(body=A),
    "7[1]": C,
}
PLACED = ChainNode(
    (
        FixedNode(A),
        TogetherNode((A, NamedNode("n", ChainNode((B, C))))),
        EachNode(SpreadNode(EachNode(C))),
        RescueNode(A, ChainNode((SleepNode(1.0), A))),
        KeepNode(AwaitsNode("go")),
        FinallyNode(B, UNDO),
        FusedNode(body=A),
        CaseNode((A, C), (Route(kinds=("int",)), Route(kinds=("str",)))),
    )
)


@pytest.mark.parametrize(("path", "node"), PLACES.items())
def test_what_stands_at_a_path(path: str, node: Node) -> None:
    assert node_at(PLACED, path) == node


@pytest.mark.parametrize("path", ["", "8", "1", "1[2]", "3.try.0", "4[0]", "0.try", "nonsense"])
def test_where_nothing_stands(path: str) -> None:
    assert node_at(PLACED, path) is None


def test_the_only_step_of_a_call_has_a_path() -> None:
    assert node_at(NamedNode("n", A), "0") == A
    assert node_at(TogetherNode((A, B)), "0") is None
    assert node_at(TogetherNode((A, B)), "[1]") == B


def test_what_a_step_depends_on() -> None:
    paths = ["0", "1.try[0]", "1.try[1].0", "1.rescue.0", "1.rescue.1", "2[0].0", "2[1].0", "3"]
    done: dict[str, Outcome] = dict.fromkeys(paths, ONE)
    assert [*before("1.rescue.1", done)] == ["0", "1.try[0]", "1.try[1].0", "1.rescue.0"]
    assert [*before("2[1].3", done)] == [*paths[:5], "2[1].0"]
    assert [*before("0", done)] == []
