"""The one evaluator over plans: all order, failure and fan-out is decided here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

import msgspec
from msgspec import Raw

from onward.codec import marked
from onward.fault import BadPayload, TooLarge
from onward.outcome import Failed, Faulted, Outcome, Value, faulted
from onward.plan import (
    Args,
    ChainNode,
    EachNode,
    FusedNode,
    KeepNode,
    NamedNode,
    Node,
    RescueNode,
    Runnable,
    StepNode,
    TeeNode,
    TogetherNode,
)

T = TypeVar("T")

MAX_JOINED = 256 * 1024 * 1024
"""How many bytes the values of a fan-out may have together."""

IN_FLIGHT = 256
"""How many items of an `each` without a limit of its own are run at a time."""

_ITEMS = msgspec.json.Decoder(list[Raw])


class RunStep(Protocol):
    """Runs one step, retries and all, and gives its outcome; what a backend brings."""

    def __call__(self, step: Runnable, args: Args, where: str, /) -> Awaitable[Outcome]: ...


async def evaluate(
    node: Node, args: Args, run_step: RunStep, *, where: str = "", in_flight: int = IN_FLIGHT
) -> Outcome:
    """Runs a plan's nodes by a step-runner; all order, failure and fan-out is decided here.

    Args:
        node: What to run.
        args: Its arguments.
        run_step: Runs a single step. It alone has effects; given the same outcomes by it, the
            same steps are run in the same order.
        where: The place of the node within its plan.
        in_flight: How many items of an `each` run at a time. With 1, nothing runs side by side
            and no event loop is needed.

    Returns:
        The outcome of the whole.
    """
    if type(node) is StepNode or type(node) is FusedNode:
        return await run_step(node, args, where or "0")
    if type(node) is ChainNode:
        prefix = f"{where}." if where else ""
        for index, step in enumerate(node.steps):
            place = f"{prefix}{index}"
            if type(step) is StepNode:
                outcome = await run_step(step, args, place)
            else:
                outcome = await evaluate(step, args, run_step, where=place, in_flight=in_flight)
            if type(outcome) is not Value:
                return outcome
            args = Args((outcome.raw,))
        return _passed_on(args)
    if type(node) is NamedNode:
        return await evaluate(node.body, args, run_step, where=where, in_flight=in_flight)
    if type(node) is RescueNode:
        return await _rescue(node, args, run_step, where, in_flight)
    if type(node) is TogetherNode:
        jobs = [
            _job(branch, args, run_step, f"{where}[{index}]", in_flight)
            for index, branch in enumerate(node.branches)
        ]
        return gather(await _settle(jobs, min(in_flight, len(jobs))))
    if isinstance(node, FusedNode):  # what a backend made of it: also something to run as a whole
        return await run_step(node, args, where or "0")
    if isinstance(node, EachNode):
        return await _each(node, args, run_step, where, in_flight)
    assert isinstance(node, KeepNode | TeeNode)
    return await _beside(node, args, run_step, where, in_flight)


async def _rescue(
    node: RescueNode, args: Args, run_step: RunStep, where: str, in_flight: int
) -> Outcome:
    inner = f"{where}.try" if where else "try"
    outcome = await evaluate(node.body, args, run_step, where=inner, in_flight=in_flight)
    if isinstance(outcome, Value):
        return outcome
    inner = f"{where}.rescue" if where else "rescue"
    return await evaluate(
        node.handler, failed_with(outcome), run_step, where=inner, in_flight=in_flight
    )


def failed_with(outcome: Failed | Faulted) -> Args:
    """What a handler takes: what the steps before it failed with."""
    return Args((marked(outcome.raw),))


async def _beside(
    node: KeepNode | TeeNode, args: Args, run_step: RunStep, where: str, in_flight: int
) -> Outcome:
    taken = _passed_on(args)
    if not isinstance(taken, Value):
        return taken
    # At the place that it has in `beside`, which is how an engine may run it.
    outcome = await evaluate(node.body, args, run_step, where=f"{where}[1]", in_flight=in_flight)
    if isinstance(node, TeeNode):
        return taken if isinstance(outcome, Value) else outcome
    return gather([taken, outcome])


async def _each(
    node: EachNode, args: Args, run_step: RunStep, where: str, in_flight: int
) -> Outcome:
    items = split(args)
    if isinstance(items, Faulted):
        return items
    if node.chunk is not None:
        items = [join(items[at : at + node.chunk]) for at in range(0, len(items), node.chunk)]
    jobs = [
        _job(node.body, Args((item,)), run_step, f"{where}[{index}]", in_flight)
        for index, item in enumerate(items)
    ]
    outcomes = await _settle(jobs, min(in_flight, node.limit or in_flight, len(jobs)))
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
    return joined(gathered)


_Job: TypeAlias = Callable[[], Awaitable[Outcome]]


def _job(node: Node, args: Args, run_step: RunStep, where: str, in_flight: int) -> _Job:
    return lambda: evaluate(node, args, run_step, where=where, in_flight=in_flight)


async def _settle(jobs: Sequence[_Job], in_flight: int) -> list[Outcome]:
    """Every job's outcome, in the jobs' order; none is stopped because another one failed."""
    if in_flight <= 1:
        return [await job() for job in jobs]
    import asyncio  # not needed, and not paid for, by whoever only defines and submits

    outcomes: dict[int, Outcome] = {}
    pending = iter(enumerate(jobs))

    async def work() -> None:
        for index, job in pending:
            outcomes[index] = await job()

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(work())
    return [outcomes[index] for index in range(len(jobs))]


def gather(outcomes: Sequence[Outcome]) -> Outcome:
    """The values of a fan-out as one array, or its first failure."""
    values: list[Raw] = []
    for outcome in outcomes:
        if not isinstance(outcome, Value):
            return outcome
        values.append(outcome.raw)
    return joined(values)


def joined(values: Sequence[Raw]) -> Outcome:
    """Values as one array; `TooLarge` where they come to too much."""
    # A plan of a few bytes can double a value again and again.
    size = sum(memoryview(value).nbytes for value in values)
    if size > MAX_JOINED:
        message = f"the values of a fan-out come to {size} bytes together"
        return faulted(TooLarge("", message, size=size, limit=MAX_JOINED))
    return Value(join(values))


def join(values: Sequence[Raw]) -> Raw:
    """Values as one array."""
    return Raw(b"[" + b",".join(map(bytes, values)) + b"]")


def split(args: Args) -> list[Raw] | Faulted:
    """The items of an array that is the only argument."""
    if len(args.positional) == 1 and not args.keyword:
        try:
            # A view would keep the whole array alive for as long as one item is.
            return [item.copy() for item in _ITEMS.decode(args.positional[0])]
        except (msgspec.MsgspecError, ValueError, RecursionError) as problem:
            return faulted(BadPayload("each", f"it takes a list: {problem}"))
    return faulted(BadPayload("each", "it takes exactly one argument, a list"))


def _passed_on(args: Args) -> Outcome:
    if len(args.positional) == 1 and not args.keyword:
        return Value(args.positional[0])
    return faulted(BadPayload("identity", "it takes exactly one argument"))


def driven(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine gives that never waits for an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    raise AssertionError("it waited for an event loop")
