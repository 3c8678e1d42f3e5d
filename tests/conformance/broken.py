"""Backends that each break one promise, to show that the suite catches them."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any, ClassVar, TypeVar

import msgspec
from msgspec import Raw
from returns.result import Failure, Result, Success

from onward import Fault, Status
from onward.attempt import LoopExecutor, Timeout
from onward.backend import CallPage, CallQuery, HistoryPage, State, Submission, Unique, Worker
from onward.backend.features import NOTHING
from onward.backends.local import Local
from onward.backends.local.core import Core
from onward.backends.local.steps import Run, Runtime, StepRunner
from onward.catalog import Catalog
from onward.evaluate import evaluate
from onward.fault import Conflict, Moved, Raised, Unknown
from onward.opened import OpenResources
from onward.outcome import Failed, Outcome, Value, faulted
from onward.plan import (
    Args,
    AwaitsNode,
    CaseNode,
    ChainNode,
    EachNode,
    FinallyNode,
    FixedNode,
    Node,
    RescueNode,
    Runnable,
    SleepNode,
    SpreadNode,
    StepNode,
    TeeNode,
    TogetherNode,
    with_parts,
)

T = TypeVar("T")


class Broken:
    """Wraps a correct backend; each subclass breaks one thing."""

    BrokenCore: ClassVar[type[Core]] = Core
    lacks = NOTHING

    def __init__(self) -> None:
        self._sound = Local(self.BrokenCore(workers=4, keep=600))

    def submit(self, submission: Submission, /) -> Result[str, Fault]:
        return self._sound.submit(self.changed(submission))

    def submit_all(self, submissions: Iterable[Submission], /) -> Result[list[str], Fault]:
        return self._sound.submit_all(map(self.changed, submissions))

    def submit_unique(self, submission: Submission, /) -> Result[str, Fault]:
        return self._sound.submit_unique(self.changed(submission))

    def outcome(self, id: str, /, timeout: float | None = None) -> Result[Outcome | None, Fault]:
        return self._sound.outcome(id, timeout).map(
            lambda outcome: None if outcome is None else self.reported(outcome)
        )

    def settled(
        self, ids: Collection[str], /, timeout: float | None = None
    ) -> Result[Mapping[str, Outcome], Fault]:
        return self._sound.settled(ids, timeout)

    def status(self, id: str, /) -> Result[Status, Fault]:
        return self._sound.status(id)

    def cancel(self, id: str, /) -> Result[None, Fault]:
        return self._sound.cancel(id)

    def send(self, id: str, name: str, raw: Raw, /) -> Result[None, Fault]:
        return self._sound.send(id, name, raw)

    def history(self, id: str, /, after: str = "", limit: int = 1000) -> Result[HistoryPage, Fault]:
        return self._sound.history(id, after, limit)

    def calls(self, query: CallQuery, /, after: str = "") -> Result[CallPage, Fault]:
        return self._sound.calls(query, after)

    def forget(self, id: str, /) -> Result[None, Fault]:
        return self._sound.forget(id)

    def give_up(self, id: str, moved: Moved, /) -> Result[None, Fault]:
        return self._sound.give_up(id, moved)

    def serve(
        self,
        catalog: Catalog,
        /,
        *,
        concurrency: int | None = None,
        queues: Collection[str] | None = None,
    ) -> Result[Worker, Fault]:
        return self._sound.serve(catalog, concurrency=concurrency, queues=queues)

    def close(self) -> None:
        self._sound.close()

    def changed(self, submission: Submission) -> Submission:
        """The submission that the wrapped backend gets."""
        root = rewritten(submission.plan.root, self.rewrite)
        return msgspec.structs.replace(submission, plan=replaced(submission.plan, root=root))

    def rewrite(self, node: Node) -> Node:
        """The node that runs instead of this one, whose children are rewritten already."""
        return node

    def reported(self, outcome: Outcome) -> Outcome:
        """The outcome that is returned instead of the true one."""
        return outcome


class DropsAStep(Broken):
    def rewrite(self, node: Node) -> Node:
        if isinstance(node, ChainNode) and len(node.steps) > 2:
            return ChainNode(node.steps[:-1])
        return node


class ReordersEach(Broken):
    def reported(self, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Value) and bytes(outcome.raw).startswith(b"["):
            items: list[Raw] = msgspec.json.decode(outcome.raw, type=list[Raw])
            return Value(Raw(b"[" + b",".join(map(bytes, reversed(items))) + b"]"))
        return outcome


class ForgetsRetries(Broken):
    def rewrite(self, node: Node) -> Node:
        return replaced(node, attempts=1) if isinstance(node, StepNode) else node


class SkipsRescue(Broken):
    def rewrite(self, node: Node) -> Node:
        return node.body if isinstance(node, RescueNode) else node


class SpreadsNothing(Broken):
    def rewrite(self, node: Node) -> Node:
        return node.body if isinstance(node, SpreadNode) else node


class FixesNothing(Broken):
    def rewrite(self, node: Node) -> Node:
        return node.body if isinstance(node, FixedNode) else node


class SkipsCleanups(Broken):
    def rewrite(self, node: Node) -> Node:
        return node.body if isinstance(node, FinallyNode) else node


class CleansUpWithTheValue(Broken):
    """Gives a cleanup what its flow gives, and so skips it after a failure."""

    def rewrite(self, node: Node) -> Node:
        if isinstance(node, FinallyNode):
            return ChainNode((node.body, TeeNode(node.cleanup)))
        return node


class SettlesFanOuts(Broken):
    def rewrite(self, node: Node) -> Node:
        is_fan_out = isinstance(node, TogetherNode | EachNode)
        return replaced(node, on_failure="settle") if is_fan_out else node


class CancelsAtOnce(Broken):
    """Ends a cancelled call without its cleanups."""

    class BrokenCore(Core):
        def _end(self, run: Run, fault: Fault, state: State) -> None:
            run.scope = None
            super()._end(run, fault, state)


class CleansUpWhatHasNotBegun(Broken):
    """Runs all cleanups of a call, whatever has begun."""

    def rewrite(self, node: Node) -> Node:
        if isinstance(node, ChainNode) and isinstance(node.steps[-1], FinallyNode):
            last = node.steps[-1]
            return FinallyNode(ChainNode((*node.steps[:-1], last.body)), last.cleanup)
        return node


class RescuesTheWrongInput(Broken):
    """Gives a handler the value that another step made of the input."""

    def rewrite(self, node: Node) -> Node:
        if isinstance(node, RescueNode) and node.with_input:
            return ChainNode((StepNode(task="inc"), node))
        return node


class ChoosesTheWrongBranch(Broken):
    def rewrite(self, node: Node) -> Node:
        return CaseNode(node.branches, node.routes[::-1]) if isinstance(node, CaseNode) else node


class LosesErrors(Broken):
    def reported(self, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Failed):
            return faulted(Raised("lost", "RuntimeError", "it failed"))
        return outcome


class ForgetsOutcomes(Broken):
    def outcome(self, id: str, /, timeout: float | None = None) -> Result[Outcome | None, Fault]:
        return super().outcome(id, timeout).map(lambda _: faulted(Unknown(id, "what call?")))


class RunsOnAfterAFailure(Broken):
    """Returns the right outcome, but runs one more step after a failure."""

    class BrokenCore(Core):
        def steps(self, run: Run) -> StepRunner:
            return _OneMoreAfterAFailure(self.runtime, run)


class _OneMoreAfterAFailure(StepRunner):
    async def __call__(self, step: Runnable, args: Args, where: str, /) -> Outcome:
        outcome = await super().__call__(step, args, where)
        if not isinstance(outcome, Value):
            await super().__call__(StepNode(task="inc"), Args((Raw(b"1"),)), f"{where}.more")
        return outcome


class RetriesDomainErrors(Broken):
    class BrokenCore(Core):
        def steps(self, run: Run) -> StepRunner:
            return _TwiceAfterAnError(self.runtime, run)


class _TwiceAfterAnError(StepRunner):
    async def __call__(self, step: Runnable, args: Args, where: str, /) -> Outcome:
        outcome = await super().__call__(step, args, where)
        return await super().__call__(step, args, where) if isinstance(outcome, Failed) else outcome


class RunsAKeyTwice(Broken):
    """Returns the same ref for the same key, but runs the call again."""

    class BrokenCore(Core):
        async def submit(self, submission: Submission, /) -> Result[str, Fault]:
            run = self.runs.get(submission.plan.id)
            if run is not None:
                await evaluate(run.plan.root, run.plan.args, self.steps(run))
            return await super().submit(submission)


class OpensAUniqueCallTwice(Broken):
    """Starts each submission, whatever call of its key is open."""

    def submit_unique(self, submission: Submission, /) -> Result[str, Fault]:
        return self._sound.submit(self.changed(submission))


class HoldsAKeyForEver(Broken):
    """Gives the first call of a key also after it has ended."""

    def __init__(self) -> None:
        super().__init__()
        self._first: dict[Unique | None, Result[str, Fault]] = {}

    def submit_unique(self, submission: Submission, /) -> Result[str, Fault]:
        if submission.unique not in self._first:
            self._first[submission.unique] = super().submit_unique(submission)
        return self._first[submission.unique]


class KeepsTheFirstArguments(Broken):
    """Moves the due time of a call and keeps its arguments."""

    class BrokenCore(Core):
        def _replace(self, run: Run, submission: Submission) -> None:
            super()._replace(run, replaced(submission, plan=run.plan))


class ForgetsWhatComesNext(Broken):
    """Gives the call that runs for a submission that would replace it."""

    def submit_unique(self, submission: Submission, /) -> Result[str, Fault]:
        unique = submission.unique
        kept = replaced(submission, unique=replaced(unique, replaces=False))
        id = self._sound.submit_unique(kept)
        if id.unwrap() == submission.plan.id or self.status(id.unwrap()).unwrap().progress:
            return id
        return super().submit_unique(submission)


class SharesAContext(Broken):
    """Runs all sync steps in the same context."""

    class BrokenCore(Core):
        def __init__(self, workers: int, keep: float) -> None:
            super().__init__(workers, keep)
            self.runtime.executor = _OneContext()


class _OneContext(LoopExecutor):
    def __init__(self) -> None:
        super().__init__()
        self._shared = contextvars.Context()

    async def run(
        self, work: Callable[[], T], variables: contextvars.Context, timeout: Timeout[T]
    ) -> T:
        return await super().run(partial(self._shared.run, work), variables, timeout)


class OpensForEachCall(Broken):
    """Opens the resources of tasks anew for each call."""

    class BrokenCore(Core):
        def steps(self, run: Run) -> StepRunner:
            runtime = Runtime(4, OpenResources())
            runtime.slots, runtime.executor = self.runtime.slots, self.runtime.executor
            return StepRunner(runtime, run)


class GivesNoWarning(Broken):
    """Lets a step run on after its timeout, and does not tell the step."""

    class BrokenCore(Core):
        def __init__(self, workers: int, keep: float) -> None:
            super().__init__(workers, keep)
            self.runtime.executor = _Patient()


class _Patient(LoopExecutor):
    async def run(
        self, work: Callable[[], T], variables: contextvars.Context, timeout: Timeout[T]
    ) -> T:
        return await super().run(work, variables, Timeout(None, timeout.on_timeout))


class WakesEarly(Broken):
    def rewrite(self, node: Node) -> Node:
        return SleepNode(node.seconds / 2) if isinstance(node, SleepNode) else node


class GivesAnotherValueAfterASleep(Broken):
    def rewrite(self, node: Node) -> Node:
        return ChainNode((node, StepNode(task="inc"))) if isinstance(node, SleepNode) else node


class WaitsForEver(Broken):
    def rewrite(self, node: Node) -> Node:
        return AwaitsNode(node.signal) if isinstance(node, AwaitsNode) else node


class DropsEarlySignals(Broken):
    """Takes a signal, and gives it only to a call that waits for it already."""

    class BrokenCore(Core):
        async def send(self, id: str, name: str, raw: Raw, /) -> Result[None, Fault]:
            run = self.runs.get(id)
            if run is not None and run.status.state in ("queued", "running"):
                return Success(None)
            return await super().send(id, name, raw)


class TellsNobodyOfASecondSignal(Broken):
    class BrokenCore(Core):
        async def send(self, id: str, name: str, raw: Raw, /) -> Result[None, Fault]:
            sent = await super().send(id, name, raw)
            return Success(None) if isinstance(sent, Failure) and "before" in str(sent) else sent


class RunsEverythingAgain(Broken):
    """Takes over no outcome of the call that another one continues."""

    def changed(self, submission: Submission) -> Submission:
        plan = submission.plan
        past = plan.past and replaced(plan.past, outcomes={})
        changed: Submission = replaced(submission, plan=replaced(plan, past=past))
        return changed


class KeepsTheOldArguments(Broken):
    """Continues a call without the other arguments for its failed step."""

    def changed(self, submission: Submission) -> Submission:
        plan = submission.plan
        past = plan.past and replaced(plan.past, args={})
        changed: Submission = replaced(submission, plan=replaced(plan, past=past))
        return changed


class RecordsOnlyFailures(Broken):
    """Leaves the values of steps out of a call's history."""

    def history(self, id: str, /, after: str = "", limit: int = 1000) -> Result[HistoryPage, Fault]:
        return super().history(id, after, limit).map(_without_values)


class ListsFailedCallsAsLost(Broken):
    """Does not look at the fault of a call."""

    def calls(self, query: CallQuery, /, after: str = "") -> Result[CallPage, Fault]:
        states = {"failed" if state == "lost" else state for state in query.states}
        return super().calls(replaced(query, states=frozenset(states)), after)


class ListsACallTwice(Broken):
    """Begins a page with the last call of the page before."""

    def calls(self, query: CallQuery, /, after: str = "") -> Result[CallPage, Fault]:
        is_large = query.limit > 1  # or it would never come to an end
        return super().calls(query, str(int(after) + 1) if after and is_large else after)


class ForgetsWhatGoesOn(Broken):
    """Does not refuse to delete a call that has no outcome."""

    def forget(self, id: str, /) -> Result[None, Fault]:
        forgotten = super().forget(id)
        is_open = isinstance(forgotten, Failure) and isinstance(forgotten.failure(), Conflict)
        return Success(None) if is_open else forgotten


class KeepsWhatItGaveUp(Broken):
    """Goes on with a call that goes on elsewhere."""

    def give_up(self, id: str, moved: Moved, /) -> Result[None, Fault]:
        return Success(None)


def _without_values(page: HistoryPage) -> HistoryPage:
    steps = tuple(step for step in page.steps if not isinstance(step.outcome, Value))
    changed: HistoryPage = replaced(page, steps=steps)
    return changed


def replaced(value: Any, **changes: Any) -> Any:
    """A struct with some of its fields changed."""
    return msgspec.structs.replace(value, **changes)


def rewritten(node: Node, rewrite: Callable[[Node], Node]) -> Node:
    """Rewrites each node of a tree, children first."""
    return rewrite(with_parts(node, lambda part: rewritten(part, rewrite)))
