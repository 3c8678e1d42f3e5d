"""Evaluates plans: decides in which order steps run, and what failures and fan-outs do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, Protocol, TypeAlias

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from onward.codec import marked
from onward.fault import BadPayload, Cancelled, TooLarge, Unsupported
from onward.outcome import Failed, Faulted, Outcome, Value, faulted
from onward.plan import (
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
    OnFailure,
    RescueNode,
    SleepNode,
    SpreadNode,
    StepNode,
    TeeNode,
    TogetherNode,
    Waiting,
)
from onward.routing import as_given, choose
from onward.scope import RunStep, Scope

MAX_JOINED = 256 * 1024 * 1024
"""The largest total size of the values of a fan-out, in bytes."""

IN_FLIGHT = 256
"""How many items of an `each` without a limit run at the same time."""

_ITEMS = msgspec.json.Decoder(list[Raw])


class Wait(Protocol):
    """Waits without a slot, and returns the outcome of the wait. Each backend has its own.

    A wait has a due time, or is for a signal. It is known by its call and its path, so that a call
    that another worker takes over waits on for the same moment or signal. The outcome of a sleep is
    any value; that of an `awaits` is the signal's value, or `onward.unanswered.unanswered(node)`.
    """

    def __call__(self, node: Waiting, where: str, /) -> Awaitable[Outcome]: ...


async def _cannot_wait(node: Waiting, where: str, /) -> Outcome:
    waiting = "sleep" if isinstance(node, SleepNode) else f"a wait for the signal {node.signal!r}"
    return faulted(Unsupported("", f"nothing here can run {waiting}, at step {where}"))


Expand: TypeAlias = Callable[[FusedNode, Args], Node | None]
"""Gives what to evaluate in place of a backend's own kind of fused step; None if it is a step."""


def _as_one_step(node: FusedNode, args: Args) -> Node | None:
    return None


class _Run(msgspec.Struct, frozen=True):
    """What the evaluation of all nodes of a plan has in common."""

    step: RunStep
    wait: Wait
    in_flight: int
    expand: Expand

    @property
    def scope(self) -> Scope | None:
        """What can cancel the steps, if anything can."""
        return self.step if isinstance(self.step, Scope) else None


def evaluate(
    node: Node,
    args: Args,
    run_step: RunStep,
    *,
    where: str = "",
    in_flight: int = IN_FLIGHT,
    wait: Wait = _cannot_wait,
    expand: Expand = _as_one_step,
) -> Coroutine[Any, Any, Outcome]:
    """Runs a plan's nodes, and decides order, failure and fan-out.

    Args:
        node: The node to run.
        args: The node's arguments.
        run_step: Runs a single step. Only this function and `wait` have effects: if they return the
            same outcomes, the same steps run in the same order. A `Scope` can cancel them.
        where: The path of the node within its plan.
        in_flight: How many items of an `each` run at the same time. With 1, steps run one after
            the other, and no event loop is needed.
        wait: Runs a `sleep` or an `awaits`. Without it, their outcome is `Unsupported`.
        expand: For a backend with subclasses of `FusedNode`, which are asked about as they are met.

    Returns:
        A coroutine, which gives the outcome of the node.
    """
    return _evaluate(node, args, _Run(run_step, wait, in_flight, expand), where)


async def _evaluate(node: Node, args: Args, run: _Run, where: str) -> Outcome:
    if type(node) is StepNode or type(node) is FusedNode:
        return await run.step(node, args, where or "0")
    if type(node) is ChainNode:
        prefix = f"{where}." if where else ""
        outcome: Outcome | None = None
        for index, step in enumerate(node.steps):
            place = f"{prefix}{index}"
            if type(step) is StepNode:
                outcome = await run.step(step, args, place)
            else:
                outcome = await _evaluate(step, args, run, place)
            if type(outcome) is not Value:
                return outcome
            args = Args((outcome.raw,))
        return single_value(args) if outcome is None else outcome
    if type(node) is NamedNode:
        return await _evaluate(node.body, args, run, where)
    if type(node) is RescueNode:
        return await _rescue(node, args, run, where)
    if type(node) is TogetherNode:
        branches = [(branch, args) for branch in node.branches]
        return gather(await _branches(branches, run, where, run.in_flight, node.on_failure))
    if isinstance(node, FusedNode):  # a backend's own subclass
        inner = run.expand(node, args)
        if inner is not None:
            return await _evaluate(inner, args, run, where)
        return await run.step(node, args, where or "0")
    if isinstance(node, EachNode):
        return await _each(node, args, run, where)
    if isinstance(node, FixedNode):
        return await _evaluate(node.body, node.given, run, where)
    if isinstance(node, SpreadNode):
        items = split(args, "spread")
        if isinstance(items, Faulted):
            return items
        return await _evaluate(node.body, Args(tuple(items)), run, where)
    if isinstance(node, SleepNode | AwaitsNode):
        return await _wait(node, args, run, where or "0")
    if isinstance(node, FinallyNode):
        return await _finally(node, args, run, where)
    if isinstance(node, CaseNode):
        return await _case(node, args, run, where)
    assert isinstance(node, KeepNode | TeeNode)
    return await _keep_or_tee(node, args, run, where)


async def _wait(node: Waiting, args: Args, run: _Run, where: str) -> Outcome:
    given: Outcome | None = None
    if isinstance(node, SleepNode):  # it passes its input on
        given = single_value(args)
        if not isinstance(given, Value):
            return given
    if run.scope is None:
        outcome = await run.wait(node, where)
    else:
        outcome = await run.scope.guard(lambda: run.wait(node, where), where)
    return outcome if given is None or not isinstance(outcome, Value) else given


async def _rescue(node: RescueNode, args: Args, run: _Run, where: str) -> Outcome:
    given = single_value(args) if node.with_input else None
    if given is not None and not isinstance(given, Value):
        return given
    outcome = await _evaluate(node.body, args, run, f"{where}.try" if where else "try")
    if isinstance(outcome, Value):
        return outcome
    if run.scope is not None and run.scope.is_closed_to(outcome):
        return outcome
    args = handler_args(outcome, None if given is None else given.raw)
    return await _evaluate(node.handler, args, run, f"{where}.rescue" if where else "rescue")


def handler_args(outcome: Failed | Faulted, given: Raw | None = None) -> Args:
    """The arguments of a rescue's handler.

    Args:
        outcome: What the steps before it failed with.
        given: The input of the first of these steps, if the handler takes that too.
    """
    failure = marked(outcome.raw)
    return Args((failure if given is None else join([given, failure]),))


async def _finally(node: FinallyNode, args: Args, run: _Run, where: str) -> Outcome:
    given = single_value(args)
    if not isinstance(given, Value):
        return given
    scope = run.scope
    if scope is not None and (refusal := scope.refusal()) is not None:
        return refusal
    prefix = f"{where}." if where else ""

    async def clean_up() -> None:
        # Its failure is logged where it runs, and the outcome of the body stays.
        uncancelled = run if scope is None else replace(run, step=scope.run_step)
        await _evaluate(node.cleanup, args, uncancelled, f"{prefix}finally")

    with nullcontext() if scope is None else scope.cleaning_up():
        try:
            outcome = await _evaluate(node.body, args, run, f"{prefix}try")
        except KeyboardInterrupt:  # Ctrl-C, in a caller's thread that runs the steps itself
            await clean_up()
            raise
        await clean_up()
    return outcome


async def _case(node: CaseNode, args: Args, run: _Run, where: str) -> Outcome:
    value = single_value(args)
    if not isinstance(value, Value):
        return value
    chosen = choose(node.routes, value.raw)
    if isinstance(chosen, Faulted):
        return chosen
    index, raw = chosen
    outcome = await _evaluate(node.branches[index], Args((raw,)), run, f"{where}[{index}]")
    return as_given(node.routes[index], outcome)


async def _keep_or_tee(node: KeepNode | TeeNode, args: Args, run: _Run, where: str) -> Outcome:
    value = single_value(args)
    if not isinstance(value, Value):
        return value
    # The path is that of the second branch of `beside`, because an engine may run it like that.
    outcome = await _evaluate(node.body, args, run, f"{where}[1]")
    if isinstance(node, TeeNode):
        return value if isinstance(outcome, Value) else outcome
    return gather([value, outcome])


async def _each(node: EachNode, args: Args, run: _Run, where: str) -> Outcome:
    items = split(args)
    if isinstance(items, Faulted):
        return items
    if node.chunk is not None:
        items = [join(items[at : at + node.chunk]) for at in range(0, len(items), node.chunk)]
    branches = [(node.body, Args((item,))) for item in items]
    limit = min(run.in_flight, node.limit or run.in_flight)
    outcomes = await _branches(branches, run, where, limit, node.on_failure)
    if node.chunk is None:
        return gather(outcomes)
    gathered: list[Raw] = []
    for outcome in outcomes:
        if not isinstance(outcome, Value):
            return outcome
        part = split(Args((outcome.raw,)))
        if isinstance(part, Faulted):
            return part
        gathered.extend(part)
    return join_within_limit(gathered)


_Branch: TypeAlias = tuple[Node, Args]


async def _branches(
    branches: Sequence[_Branch], run: _Run, where: str, limit: int, on_failure: OnFailure
) -> list[Outcome]:
    """Runs the branches of a fan-out, so many at a time.

    Returns:
        Their outcomes in order; or only the first failure, if it cancels the other branches.
    """
    if on_failure == "settle":
        return await _run_all(branches, run, where, limit)
    if limit == 1:  # no other branch runs
        return await _run_all(branches, run, where, limit, lambda: None)
    scope = run.scope or Scope(run.step)
    with scope.within() as inner:
        cancel = partial(inner.cancel, faulted(Cancelled("", "another branch failed")))
        return await _run_all(branches, replace(run, step=inner), where, limit, cancel)


async def _run_all(
    branches: Sequence[_Branch],
    run: _Run,
    where: str,
    limit: int,
    on_failure: Callable[[], None] | None = None,
) -> list[Outcome]:
    """Runs all branches even if some fail, or calls `on_failure` and begins no further one."""
    outcomes: dict[int, Outcome] = {}
    failures: list[Outcome] = []
    pending = iter(enumerate(branches))

    async def work() -> None:
        for index, (node, args) in pending:
            outcome = await _evaluate(node, args, run, f"{where}[{index}]")
            outcomes[index] = outcome
            if on_failure is not None and not isinstance(outcome, Value):
                failures.append(outcome)
                on_failure()
            if failures:
                break

    if limit == 1 or len(branches) < 2:
        await work()
    else:
        import asyncio  # here, because a program that only submits should not pay for this import

        async with asyncio.TaskGroup() as group:
            for _ in range(min(limit, len(branches))):
                group.create_task(work())
    return failures[:1] or [outcomes[index] for index in range(len(branches))]


def gather(outcomes: Sequence[Outcome]) -> Outcome:
    """Joins the values of a fan-out into one array, or returns its first failure."""
    values: list[Raw] = []
    for outcome in outcomes:
        if not isinstance(outcome, Value):
            return outcome
        values.append(outcome.raw)
    return join_within_limit(values)


def join_within_limit(values: Sequence[Raw]) -> Outcome:
    """Joins values into one array; `TooLarge` if the array would exceed `MAX_JOINED` bytes."""
    # A plan of a few bytes can double a value again and again.
    size = sum(memoryview(value).nbytes for value in values)
    if size > MAX_JOINED:
        message = f"the values of a fan-out are {size} bytes in total"
        return faulted(TooLarge("", message, size=size, limit=MAX_JOINED))
    return Value(join(values))


def join(values: Sequence[Raw]) -> Raw:
    """Joins values into one array."""
    return Raw(b"[" + b",".join(map(bytes, values)) + b"]")


def split(args: Args, step: str = "each") -> list[Raw] | Faulted:
    """Splits the only argument of a step, an array, into its items."""
    if len(args.positional) == 1 and not args.keyword:
        try:
            # A view of one item would keep the whole array alive.
            return [item.copy() for item in _ITEMS.decode(args.positional[0])]
        except (msgspec.MsgspecError, ValueError, RecursionError) as problem:
            return faulted(BadPayload(step, f"it takes a list: {problem}"))
    return faulted(BadPayload(step, "it takes exactly one argument, a list"))


def single_value(args: Args) -> Outcome:
    """The only argument, as a value."""
    if len(args.positional) == 1 and not args.keyword:
        return Value(args.positional[0])
    return faulted(BadPayload("identity", "it takes exactly one argument"))
