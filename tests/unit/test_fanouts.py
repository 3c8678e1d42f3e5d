"""Fan-outs whose first failure cancels the other branches, in the evaluator."""

import asyncio
from dataclasses import dataclass, field

import pytest
from msgspec import Raw

from onward import Cancelled, Raised, each, together
from onward.coroutines import drive
from onward.evaluate import evaluate
from onward.outcome import Outcome, Value, faulted
from onward.plan import (
    Args,
    ChainNode,
    EachNode,
    FinallyNode,
    FusedNode,
    Node,
    RescueNode,
    Runnable,
    StepNode,
    TogetherNode,
)
from onward.scope import RunStep, Scope
from onward.testing.tasks import halve

CANCELLED = faulted(Cancelled("flow", "it was cancelled"))
ONE = Args((Raw(b"1"),))
A, BAD, WORSE, SLOW, UNDO = map(StepNode, ("a", "bad", "worse", "slow", "undo"))


def failure(name: str) -> Outcome:
    return faulted(Raised(name, "ValueError", "no"))


@dataclass
class Steps:
    """Runs steps: `slow` waits until it is cancelled, `bad` fails once all slow ones have begun."""

    slow: int = 0
    ran: list[str] = field(default_factory=list[str])
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    interrupted: list[str] = field(default_factory=list[str])

    async def __call__(self, step: Runnable, args: Args, where: str, /) -> Outcome:
        assert isinstance(step, StepNode)
        given = bytes(args.positional[0]).decode()
        self.ran.append(f"{step.task} {where}")
        if step.task == "slow" or given == '"slow"':
            self.slow -= 1
            if self.slow == 0:
                self.begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.interrupted.append(where)
                raise
        if step.task in ("bad", "worse") or given == '"bad"':
            if self.slow:
                await self.begun.wait()
            return failure(step.task)
        return Value(Raw(b'"done"'))


def outcome_of(root: Node, args: Args, run_step: RunStep) -> Outcome:
    return asyncio.run(evaluate(root, args, run_step))


def cancelling(*branches: Node) -> TogetherNode:
    return TogetherNode(branches, "cancel")


def test_the_first_failure_interrupts_the_other_branches() -> None:
    steps = Steps(slow=2)
    chained = ChainNode((SLOW, A))
    assert outcome_of(cancelling(chained, SLOW, BAD), ONE, steps) == failure("bad")
    assert steps.interrupted == ["[0].0", "[1]"]
    assert "a [0].1" not in steps.ran


def test_the_failure_that_came_first_is_the_outcome() -> None:
    late = ChainNode((A, A, WORSE))
    assert outcome_of(cancelling(late, BAD), ONE, Steps()) == failure("bad")
    assert outcome_of(TogetherNode((late, BAD)), ONE, Steps()) == failure("worse")


def test_without_a_failure_all_branches_end() -> None:
    outcome = outcome_of(cancelling(A, ChainNode((A, A))), ONE, Steps())
    assert outcome == Value(Raw(b'["done","done"]'))


def test_no_rescue_within_a_branch_catches_its_cancel_and_one_around_does_the_failure() -> None:
    steps = Steps(slow=1)
    inside = RescueNode(SLOW, A)
    root = RescueNode(cancelling(inside, BAD), A)
    assert outcome_of(root, ONE, steps) == Value(Raw(b'"done"'))
    assert steps.ran == ["slow try[0].try", "bad try[1]", "a rescue"]


def test_the_cleanup_of_a_cancelled_branch_runs_before_the_fan_out_ends() -> None:
    steps = Steps(slow=1)
    root = cancelling(FinallyNode(SLOW, ChainNode((A, UNDO))), BAD)
    scope = Scope(steps)
    assert outcome_of(root, ONE, scope) == failure("bad")
    assert steps.ran[-2:] == ["a [0].finally.0", "undo [0].finally.1"]
    assert scope.cancelled is None
    assert not scope.has_cleanup


def test_a_cancel_of_the_call_cancels_its_fan_outs_too() -> None:
    steps = Steps(slow=2)
    root = RescueNode(cancelling(SLOW, cancelling(SLOW, A)), A)

    async def cancelled() -> Outcome:
        scope = Scope(steps)
        job = asyncio.create_task(evaluate(root, ONE, scope))
        await steps.begun.wait()
        scope.cancel(CANCELLED)
        return await job

    assert asyncio.run(cancelled()) == CANCELLED
    assert len(steps.interrupted) == 2


def test_a_fan_out_within_another_fails_as_its_branch() -> None:
    steps = Steps(slow=2)
    root = cancelling(SLOW, ChainNode((A, cancelling(SLOW, BAD))))
    assert outcome_of(root, ONE, steps) == failure("bad")
    assert sorted(steps.interrupted) == ["[0]", "[1].1[0]"]


ITEMS = Args((Raw(b'["one","bad","two","three"]'),))


def test_no_further_item_of_an_each_begins() -> None:
    steps = Steps()
    root = EachNode(A, limit=1, on_failure="cancel")
    assert outcome_of(root, ITEMS, steps) == failure("a")
    assert steps.ran == ["a [0]", "a [1]"]
    steps = Steps(slow=1)
    items = Args((Raw(b'["slow","bad","two","three"]'),))
    root = EachNode(A, limit=2, on_failure="cancel")
    assert outcome_of(root, items, steps) == failure("a")
    assert steps.ran == ["a [0]", "a [1]"]


def test_without_an_event_loop_a_fan_out_ends_at_its_first_failure() -> None:
    steps = Steps()
    root = cancelling(A, BAD, A)
    assert drive(evaluate(root, ONE, steps, in_flight=1)) == failure("bad")
    assert steps.ran == ["a [0]", "bad [1]"]


def test_the_items_of_a_chunk_are_cancelled_too() -> None:
    node = each(halve, chunk=2, on_failure="cancel").node
    assert isinstance(node, EachNode)
    assert isinstance(node.body, FusedNode)
    assert node.body.body == EachNode(halve.node, on_failure="cancel")


def test_another_word_for_what_happens_at_a_failure_is_refused() -> None:
    with pytest.raises(ValueError, match="on_failure is 'settle' or 'cancel', not 'stop'"):
        together(halve, halve, on_failure="stop")  # type: ignore[call-overload]  # on purpose
    with pytest.raises(ValueError, match="not 'wait'"):
        each(halve, on_failure="wait")  # type: ignore[arg-type]  # on purpose
