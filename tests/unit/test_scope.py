"""Cancelling the steps of a call: what answers, what runs, and what a later evaluation does."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from msgspec import Raw

from onward import Cancelled, Raised
from onward.evaluate import evaluate
from onward.outcome import Faulted, Outcome, Value, faulted
from onward.plan import (
    Args,
    ChainNode,
    FinallyNode,
    Node,
    RescueNode,
    Runnable,
    StepNode,
    TogetherNode,
)
from onward.scope import Scope, in_cleanup

CANCELLED = faulted(Cancelled("flow", "it was cancelled"))
FAILED = faulted(Raised("bad", "ValueError", "no"))
ONE = Args((Raw(b"1"),))

A, B, SLOW, BAD, UNDO, SLOW_UNDO = (
    StepNode(name) for name in ("a", "b", "slow", "bad", "undo", "slow_undo")
)


@dataclass
class Steps:
    """Runs steps: those named slow wait until they are let go, those named bad fail."""

    recorded: Mapping[str, Outcome] = field(default_factory=dict[str, Outcome])
    ran: list[str] = field(default_factory=list[str])
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, step: Runnable, args: Args, where: str, /) -> Outcome:
        assert isinstance(step, StepNode)
        if where in self.recorded:
            return self.recorded[where]
        self.ran.append(f"{step.task} {where} {bytes(args.positional[0]).decode()}")
        if step.task.startswith("slow"):
            self.begun.set()
            await self.go.wait()
        return FAILED if step.task == "bad" else Value(Raw(f'"{step.task}"'.encode()))

    async def known(self, where: str) -> Outcome | None:
        return self.recorded.get(where)


async def cancelled_at_the_slow_step(root: Node, steps: Steps) -> tuple[Outcome, bool]:
    """Cancels an evaluation once a slow step runs, and lets slow steps go after that."""
    scope = Scope(steps)
    job = asyncio.create_task(evaluate(root, ONE, scope))
    await steps.begun.wait()
    had_cleanup = scope.has_cleanup
    scope.cancel(CANCELLED)
    steps.go.set()
    outcome = await job
    assert not scope.has_cleanup
    return outcome, had_cleanup


def test_a_cancelled_step_answers_at_once_and_the_cleanup_runs_on_the_input() -> None:
    async def main() -> None:
        steps = Steps()
        root = ChainNode((A, FinallyNode(ChainNode((SLOW, B)), UNDO), B))
        outcome, had_cleanup = await cancelled_at_the_slow_step(root, steps)
        assert (outcome, had_cleanup) == (CANCELLED, True)
        assert steps.ran == ["a 0 1", 'slow 1.try.0 "a"', 'undo 1.finally "a"']

    asyncio.run(main())


def test_no_rescue_catches_a_cancel() -> None:
    async def main() -> None:
        for handler in (B, ChainNode(())):
            steps = Steps()
            root = FinallyNode(ChainNode((RescueNode(SLOW, handler), B)), UNDO)
            outcome, _ = await cancelled_at_the_slow_step(root, steps)
            assert outcome == CANCELLED
            assert steps.ran == ["slow try.0.try 1", "undo finally 1"]

    asyncio.run(main())


def test_a_cleanup_is_not_cancelled_and_what_follows_it_does_not_begin() -> None:
    async def main() -> None:
        steps = Steps()
        root = ChainNode((FinallyNode(A, ChainNode((SLOW_UNDO, UNDO))), FinallyNode(B, UNDO)))
        outcome, had_cleanup = await cancelled_at_the_slow_step(root, steps)
        assert (outcome, had_cleanup) == (CANCELLED, True)
        assert steps.ran == ["a 0.try 1", "slow_undo 0.finally.0 1", 'undo 0.finally.1 "slow_undo"']

    asyncio.run(main())


def test_a_flow_that_did_not_begin_has_no_cleanup() -> None:
    async def main() -> None:
        steps = Steps()
        outcome, had_cleanup = await cancelled_at_the_slow_step(
            ChainNode((SLOW, FinallyNode(A, UNDO))), steps
        )
        assert (outcome, had_cleanup) == (CANCELLED, False)
        assert steps.ran == ["slow 0 1"]

    asyncio.run(main())


def test_every_branch_is_cancelled_and_cleaned_up_from_the_inside_out() -> None:
    async def main() -> None:
        steps = Steps()
        inner = FinallyNode(SLOW, UNDO)
        root = TogetherNode((FinallyNode(inner, B), ChainNode((SLOW, A))))
        outcome, _ = await cancelled_at_the_slow_step(root, steps)
        assert outcome == CANCELLED
        assert steps.ran == [
            "slow [0].try.try 1",
            "slow [1].0 1",
            "undo [0].try.finally 1",
            "b [0].finally 1",
        ]

    asyncio.run(main())


def test_a_failed_body_and_a_failed_cleanup_leave_the_bodys_outcome() -> None:
    async def main() -> None:
        for scope in (False, True):
            for body, cleanup, expected in (
                (A, BAD, Value(Raw(b'"a"'))),
                (BAD, A, FAILED),
            ):
                steps = Steps()
                runner = Scope(steps) if scope else steps
                assert await evaluate(FinallyNode(body, cleanup), ONE, runner) == expected
                assert len(steps.ran) == 2

    asyncio.run(main())


def test_a_cancelled_call_is_evaluated_again_from_what_is_recorded() -> None:
    """What has an outcome keeps it, rescues included; the rest is cancelled; cleanups run."""

    async def main() -> None:
        root = ChainNode((RescueNode(BAD, A), FinallyNode(ChainNode((B, SLOW)), UNDO), B))
        steps = Steps(
            {"0.try": FAILED, "0.rescue": Value(Raw(b'"mended"')), "1.try.0": Value(Raw(b"2"))}
        )
        scope = Scope(steps, steps.known)
        scope.cancel(CANCELLED)
        assert await evaluate(root, ONE, scope) == CANCELLED
        assert steps.ran == ['undo 1.finally "mended"']
        again = Steps({**steps.recorded, "1.finally": Value(Raw(b"null"))})
        scope = Scope(again, again.known)
        scope.cancel(CANCELLED)
        assert await evaluate(root, ONE, scope) == CANCELLED
        assert again.ran == []

    asyncio.run(main())


def test_a_scope_within_is_cancelled_alone_or_with_the_other() -> None:
    other = faulted(Cancelled("flow", "another branch failed"))

    async def main() -> None:
        steps = Steps()
        outer = Scope(steps)
        with outer.within() as inner:
            slow = asyncio.create_task(inner(SLOW, ONE, "0"))
            await steps.begun.wait()
            inner.cancel(other)
            assert await slow is other
            assert await inner(A, ONE, "1") is other
            assert outer.cancelled is None
            assert await outer(A, ONE, "2") == Value(Raw(b'"a"'))
        with outer.within() as inner:
            slow = asyncio.create_task(inner(SLOW, ONE, "0"))
            await asyncio.sleep(0)
            outer.cancel(CANCELLED)
            assert await slow is CANCELLED
            inner.cancel(other)
            assert inner.cancelled is CANCELLED
        with outer.within() as inner:
            assert inner.cancelled is CANCELLED

    asyncio.run(main())


def test_who_cancels_the_evaluation_itself_ends_it_without_a_cleanup() -> None:
    """As a worker does that lets go of a call for another worker."""

    async def main() -> None:
        steps = Steps()
        scope = Scope(steps)
        job = asyncio.create_task(evaluate(FinallyNode(SLOW, UNDO), ONE, scope))
        await steps.begun.wait()
        scope.cancel(CANCELLED)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        assert steps.ran == ["slow try 1"]

    asyncio.run(main())


def test_a_step_that_ends_in_spite_of_the_cancel_keeps_its_outcome() -> None:
    async def stubborn(step: Runnable, args: Args, where: str) -> Outcome:
        if where != "try.0":
            return Value(Raw(b"2"))
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return Value(Raw(b"1"))
        raise AssertionError

    async def main() -> None:
        scope = Scope(stubborn)
        job = asyncio.create_task(
            evaluate(FinallyNode(ChainNode((A, FinallyNode(B, UNDO))), UNDO), ONE, scope)
        )
        await asyncio.sleep(0)
        scope.cancel(CANCELLED)
        outcome = await job
        assert isinstance(outcome, Faulted)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("path", "is_inside"),
    [
        ("finally", True),
        ("finally.0", True),
        ("2.finally[3].1", True),
        ("[1].finally", True),
        ("try.finally", True),
        ("try", False),
        ("0.try[2]", False),
        ("0", False),
    ],
)
def test_a_path_says_whether_a_step_cleans_up(path: str, is_inside: bool) -> None:
    assert in_cleanup(path) == is_inside
