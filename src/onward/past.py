"""Calls that continue other calls: which outcomes they take over, and how their steps use them.

`evaluate` is pure: given the same outcomes, the same steps run. So a call goes on where another one
stopped if its steps answer with the outcomes that are known, on whichever engine.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
from msgspec.structs import replace

from onward.evaluate import Wait, evaluate
from onward.fault import Cancelled
from onward.outcome import Failed, Faulted, Outcome, Value
from onward.plan import (
    MAX_DEPTH,
    NO_ARGS,
    Args,
    AwaitsNode,
    CaseNode,
    ChainNode,
    EachNode,
    FinallyNode,
    FusedNode,
    KeepNode,
    Node,
    Past,
    Plan,
    RescueNode,
    Runnable,
    SleepNode,
    StepNode,
    TeeNode,
    TogetherNode,
    Waiting,
    children,
    with_parts,
)
from onward.scope import RunStep, in_cleanup
from onward.unanswered import unanswered

_AT_ONCE = 1_000_000_000
_PLACE = re.compile(r"\[\d+\]|\w+")
_PLACED = (
    StepNode,
    FusedNode,
    SleepNode,
    AwaitsNode,
    ChainNode,
    TogetherNode,
    EachNode,
    CaseNode,
    KeepNode,
    TeeNode,
    RescueNode,
    FinallyNode,
)
_QUIET = 4 * MAX_DEPTH
"""After how many turns of an event loop nothing more comes of what is known. Each level of a flow
needs some turns to begin its branches and to gather them."""


def steps_with_past(run_step: RunStep, past: Past | None) -> RunStep:
    """A runner of steps that answers with the outcomes that a call takes over.

    A backend puts it around its own runner, and inside of a `Scope`.

    Args:
        run_step: Runs a step.
        past: What the call takes over, if it continues another one.
    """
    if past is None:
        return run_step

    async def run_or_take_over(step: Runnable, args: Args, where: str, /) -> Outcome:
        known = past.outcomes.get(where)
        if known is not None:
            return known
        return await run_step(step, past.args.get(where, args), where)

    return run_or_take_over


def waits_with_past(wait: Wait, past: Past | None, now: Callable[[], float] = time.time) -> Wait:
    """Like `steps_with_past`, for waits; one that had begun ends when it would have ended.

    Args:
        wait: Runs a wait.
        past: What the call takes over, if it continues another one.
        now: The time in seconds since 1970.
    """
    if past is None:
        return wait

    async def wait_or_take_over(node: Waiting, where: str, /) -> Outcome:
        known = past.outcomes.get(where)
        if known is not None:
            return known
        outcome = await wait(rest_of(node, past.due.get(where), now()), where)
        if isinstance(node, AwaitsNode) and isinstance(outcome, Failed):
            return unanswered(node)  # with the whole timeout, as if it had not been interrupted
        return outcome

    return wait_or_take_over


def rest_of(node: Waiting, due: float | None, now: float) -> Waiting:
    """What is left of a wait.

    Args:
        node: The wait.
        due: When it ends, in seconds since 1970, if it had begun.
        now: The time, in the same form.

    Example:
        >>> rest_of(SleepNode(60.0), 100.0, 70.0)
        SleepNode(seconds=30.0)
    """
    if due is None:
        return node
    left = max(0.0, due - now)
    return SleepNode(left) if isinstance(node, SleepNode) else replace(node, timeout=left)


def taken_over(plan: Plan, outcomes: Mapping[str, Outcome]) -> dict[str, Outcome]:
    """The outcomes of a call that a call which continues it takes over.

    These are the values, the failures that a handler has dealt with, and those of a cleanup, after
    which the call went on. A step whose failure ended the call, or a branch of it, has to run
    again, and so does a cleanup that ran because of it, or that was interrupted.

    Args:
        plan: The plan of the call.
        outcomes: What is recorded of it, by path.
    """
    begun = {handler for path in outcomes for handler in _paths_of("rescue", path)}

    def is_kept(path: str, outcome: Outcome) -> bool:
        tried = _paths_of("try", path)
        handlers = (f"{each.removesuffix('try')}rescue" for each in tried)
        if isinstance(outcome, Value) or any(handler in begun for handler in handlers):
            return True
        # Nobody cancels a cleanup, but an engine interrupts its step when the call is moved.
        was_interrupted = isinstance(outcome, Faulted) and isinstance(outcome.fault, Cancelled)
        return in_cleanup(path) and not was_interrupted

    kept = {path: each for path, each in outcomes.items() if is_kept(path, each)}
    reached = replayed(plan.root, plan.args, kept).steps
    return {path: kept[path] for path in reached if path in kept}


class Asked(msgspec.Struct, frozen=True):
    """A step or a wait that an evaluation asks for, and its arguments; a wait has none."""

    node: Runnable | Waiting
    args: Args = NO_ARGS


class Replayed(msgspec.Struct, frozen=True):
    """What an evaluation with known outcomes asks for.

    Args:
        steps: The steps and waits that it asks for, by path and in this order.
        outcome: The outcome; None if it needs one that is not known.
    """

    steps: Mapping[str, Asked]
    outcome: Outcome | None


def replayed(root: Node, args: Args, known: Mapping[str, Outcome]) -> Replayed:
    """Evaluates a plan with known outcomes, and runs nothing.

    Args:
        root: The plan's node.
        args: Its arguments.
        known: The outcomes, by path. The evaluation stops where it needs another one.

    Example:
        >>> from msgspec import Raw
        >>> chain = ChainNode((StepNode(task="a"), StepNode(task="b"), StepNode(task="c")))
        >>> list(replayed(chain, Args((Raw(b"1"),)), {"0": Value(Raw(b"2"))}).steps)
        ['0', '1']
    """
    with ThreadPoolExecutor(1) as thread:  # the caller's own thread may have an event loop
        return thread.submit(asyncio.run, _replayed(root, args, known)).result()


def before(path: str, outcomes: Mapping[str, Outcome]) -> dict[str, Outcome]:
    """Those outcomes of a call on which the step at a path depends.

    A step depends on the earlier ones of its chains, and on what failed before a handler or ended
    before a cleanup. It does not depend on the other branches of its own fan-outs.

    Args:
        path: The path of the step.
        outcomes: What is recorded of the call, by path.

    Example:
        >>> from msgspec import Raw
        >>> done = Value(Raw(b"1"))
        >>> list(before("1[0].1", {"0": done, "1[0].0": done, "1[1].0": done, "2": done}))
        ['0', '1[0].0']
    """
    return {other: each for other, each in outcomes.items() if _precedes(other, path)}


def _precedes(other: str, path: str) -> bool:
    pairs = zip(places_of(other), places_of(path), strict=False)
    first, second = next((pair for pair in pairs if pair[0] != pair[1]), ("", ""))
    if first.isdigit() and second.isdigit():
        return int(first) < int(second)
    return first == "try" and second in ("rescue", "finally")


def places_of(path: str) -> list[str]:
    """The parts of a path; the index of a branch has brackets."""
    return _PLACE.findall(path)


def node_at(root: Node, path: str) -> Runnable | Waiting | None:
    """The step or the wait at a path; None if the plan has none there.

    Args:
        root: The plan's node.
        path: The path.

    Example:
        >>> node_at(ChainNode((StepNode(task="a"), EachNode(StepNode(task="b")))), "1[7]").task
        'b'
    """
    node, places = root, places_of(path)
    if path == "0" and not isinstance(_inner(root), ChainNode):
        places = []  # the only step of a call
    for place in places:
        part = _part(_inner(node), place)
        if part is None:
            return None
        node = part
    node = _inner(node)
    return node if isinstance(node, Runnable | Waiting) else None


def standing(root: Node) -> Iterator[tuple[tuple[str, ...], Runnable | Waiting]]:
    """The steps and waits of a plan by the parts of their paths, in order.

    Those of an `each` stand at `[…]`, for how many items it has is not in the plan.

    Args:
        root: The plan's node.

    Example:
        >>> chain = ChainNode((StepNode(task="a"), EachNode(StepNode(task="b"))))
        >>> [("".join(parts), node.task) for parts, node in standing(chain)]
        [('0', 'a'), ('1[…]', 'b')]
    """
    for parts, node in _standing(root, ()):
        yield parts or ("0",), node


def _standing(
    node: Node, at: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Runnable | Waiting]]:
    node = _inner(node)
    if isinstance(node, Runnable | Waiting):
        yield at, node
        return
    match node:
        case ChainNode(parts):
            names = [str(index) for index in range(len(parts))]
        case TogetherNode() | CaseNode():
            names = [f"[{index}]" for index in range(len(children(node)))]
        case EachNode():
            names = ["[…]"]
        case RescueNode():
            names = ["try", "rescue"]
        case FinallyNode():
            names = ["try", "finally"]
        case _:  # keep and tee
            names = ["[1]"]
    for name, part in zip(names, children(node), strict=True):
        yield from _standing(part, (*at, name))


def branch_at(root: Node, path: str) -> str:
    """The path of the innermost branch of a case in which a path stands; empty if it is in none.

    Args:
        root: The plan's node.
        path: The path of a step.
    """
    node, places, found = root, places_of(path), ""
    for index, place in enumerate(places):
        node = _inner(node)
        part = _part(node, place)
        if part is None:
            break
        if isinstance(node, CaseNode):
            found = "".join(
                each if each.startswith("[") or not at else f".{each}"
                for at, each in enumerate(places[: index + 1])
            )
        node = part
    return found


def _inner(node: Node) -> Node:
    """The node whose place is the same, without those that add nothing to a path."""
    while not isinstance(node, _PLACED) and (parts := children(node)):
        [node] = parts
    return node


def _part(node: Node, place: str) -> Node | None:
    index = place.strip("[]")
    parts = children(node)
    match node:
        case ChainNode() if place.isdigit():
            return parts[int(place)] if int(place) < len(parts) else None
        case TogetherNode() | CaseNode() if place != index:
            return parts[int(index)] if int(index) < len(parts) else None
        case EachNode(body) if place != index:
            return body
        case KeepNode(body) | TeeNode(body) if place == "[1]":
            return body
        case RescueNode(body) | FinallyNode(body) if place == "try":
            return body
        case RescueNode(_, second) if place == "rescue":
            return second
        case FinallyNode(_, second) if place == "finally":
            return second
        case _:
            return None


def _paths_of(what: str, path: str) -> list[str]:
    """The paths within a path that end with a part of this name, without the index of a branch."""
    parts = path.split(".")
    found = [index for index, part in enumerate(parts) if part.split("[")[0] == what]
    return [".".join([*parts[:index], what]) for index in found]


async def _replayed(root: Node, args: Args, known: Mapping[str, Outcome]) -> Replayed:
    steps: dict[str, Asked] = {}
    turns = 0

    async def answer(asked: Asked, where: str) -> Outcome:
        nonlocal turns
        turns = 0
        steps[where] = asked
        if where not in known:
            await asyncio.get_running_loop().create_future()
        return known[where]

    def answer_step(step: Runnable, args: Args, where: str, /) -> Coroutine[Any, Any, Outcome]:
        return answer(Asked(step, args), where)

    def answer_wait(node: Waiting, where: str, /) -> Coroutine[Any, Any, Outcome]:
        return answer(Asked(node), where)

    evaluation = asyncio.create_task(
        evaluate(_without_limits(root), args, answer_step, in_flight=_AT_ONCE, wait=answer_wait)
    )
    while turns < _QUIET and not evaluation.done():
        turns += 1
        await asyncio.sleep(0)
    if evaluation.done():
        return Replayed(steps, evaluation.result())
    evaluation.cancel()
    await asyncio.wait([evaluation])
    return Replayed(steps, None)


def _without_limits(node: Node) -> Node:
    node = with_parts(node, _without_limits)
    return replace(node, limit=None) if isinstance(node, EachNode) else node
