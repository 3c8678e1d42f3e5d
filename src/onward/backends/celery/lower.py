"""A plan as what Celery users know: chains, groups and chords."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from onward.backends.celery.message import StepMessage
from onward.plan import (
    ChainNode,
    EachNode,
    FixedNode,
    FusedNode,
    KeepNode,
    NamedNode,
    Node,
    Plan,
    RescueNode,
    SpreadNode,
    StepNode,
    TeeNode,
    TogetherNode,
    beside,
    walk,
)
from onward.policy import Delivery

EACH = "onward.each"
FIXED = "onward.fixed"
FUSED = "onward.fused"
GATHER = "onward.gather"
PASS = "onward.pass"
SPREAD = "onward.spread"
TEE = "onward.tee"
"""Gathers as `onward.gather` does, and passes on the first value alone."""

PLUMBING = (FUSED, EACH, PASS, SPREAD, FIXED)
"""The tasks of ours that take a single state, as tasks of the user's do."""

GATHERS = (GATHER, TEE)
"""Those that take the states of all branches."""

_GATHER = ".gather"


class One(Struct, frozen=True):
    """One Celery task: a step, or some of the plumbing."""

    name: str
    message: StepMessage


class Fan(Struct, frozen=True):
    """A chord: the branches side by side, and then what gathers their values."""

    branches: tuple[tuple[Part, ...], ...]
    gather: One


Part: TypeAlias = One | Fan


def compiled(plan: Plan, *, is_again: bool = False) -> list[Part]:
    """A plan as a line of Celery tasks and chords; again, if it was sent before."""
    message = StepMessage(
        call=plan.id,
        flow=plan.flow,
        at="",
        key=plan.key,
        deadline=plan.deadline,
        queue=plan.queue,
        priority=plan.priority,
        trace=plan.trace,
        is_again=is_again,
    )
    return ended(line(plan.root, message), message)


def ended(parts: list[Part], message: StepMessage) -> list[Part]:
    """The same line, whose last task knows that the call ends with it."""
    if not parts:
        return [One(PASS, replace(message, at="0", is_last=True))]
    *rest, last = parts
    if isinstance(last, Fan):
        gather = replace(last.gather, message=replace(last.gather.message, is_last=True))
        return [*rest, replace(last, gather=gather)]
    return [*rest, replace(last, message=replace(last.message, is_last=True))]


def source(part: Part) -> str:
    """The place that a value is from that comes out of a part.

    A fan-out that a worker made of an `each` answers for it.
    """
    return source_of(part.gather.message if isinstance(part, Fan) else part.message)


def source_of(message: StepMessage) -> str:
    """The place that a value is from that a message's task gives."""
    return message.at.removesuffix(_GATHER)


def shown(parts: Sequence[Part]) -> str:
    """A line as it is written in Celery."""
    texts = [
        f"chord([{', '.join(map(shown, part.branches))}], {_shown(part.gather)})"
        if isinstance(part, Fan)
        else _shown(part)
        for part in parts
    ]
    return texts[0] if len(texts) == 1 else f"chain({', '.join(texts)})"


def _shown(one: One) -> str:
    do = one.message.do
    if isinstance(do, EachNode):
        return f"{EACH}({shown(line(do.body, one.message))})"
    if isinstance(do, FusedNode):
        return f"{FUSED}({shown(line(do.body, one.message))})"
    return f"{one.name} (rescue)" if one.message.handles else one.name


def queues(plan: Plan) -> set[str]:
    """The queues that a call and its steps name."""
    nodes = (node for node in walk(plan.root) if isinstance(node, Delivery))
    return {name for name in (plan.queue, *(node.queue for node in nodes)) if name is not None}


def line(node: Node, message: StepMessage) -> list[Part]:
    """A node as a line of tasks, at the message's place and with its surroundings."""
    at = message.at
    match node:
        case StepNode():
            return [One(node.task, replace(message, at=at or "0", do=node))]
        case FusedNode():
            return [One(FUSED, replace(message, at=at or "0", do=node))]
        case EachNode():
            return [One(EACH, replace(message, do=node))]
        case NamedNode(_, body):
            return line(body, message)
        case ChainNode(steps):
            prefix = f"{at}." if at else ""
            return [
                part
                for index, step in enumerate(steps)
                for part in line(step, replace(message, at=f"{prefix}{index}"))
            ]
        case TogetherNode(branches):
            return [fan(branches, message)]
        case RescueNode(body, handler):
            return _rescue(body, handler, message)
        case KeepNode():
            return [fan(beside(node).branches, message)]
        case TeeNode():
            return [fan(beside(node).branches, message, gather=TEE)]
        case SpreadNode(body):
            return [_plumbing(SPREAD, message), *line(body, message)]
        case FixedNode(body, given):
            return [_plumbing(FIXED, message, given=given), *line(body, message)]


def _plumbing(name: str, message: StepMessage, **fields: Any) -> One:
    """A task that changes what the next one takes.

    Its step has its own name, so that a worker of an earlier release, which would ignore the
    fields, says that it does not know the step.
    """
    place = f"{message.at or '0'}.{name.removeprefix('onward.')}"
    return One(name, replace(message, at=place, do=StepNode(name), **fields))


def fan(
    branches: Sequence[Node],
    message: StepMessage,
    *,
    is_flat: bool = False,
    first: int = 0,
    gather: str = GATHER,
) -> Fan:
    """Nodes side by side, at the places `at[first]`, `at[first + 1]` and so on."""
    place = f"{message.at or '0'}{_GATHER}"
    last = One(gather, replace(message, at=place, do=None, handles="", is_flat=is_flat))
    inner = replace(message, is_top=False, is_last=False, do=None, handles="")
    lines: list[tuple[Part, ...]] = []
    for index, branch in enumerate(branches, first):
        there = replace(inner, at=f"{message.at}[{index}]")
        lines.append(tuple(line(branch, there) or [One(PASS, there)]))
    return Fan(tuple(lines), last)


def _rescue(body: Node, handler: Node, message: StepMessage) -> list[Part]:
    name = f"{message.at}?"
    prefix = f"{message.at}." if message.at else ""
    tried = line(body, replace(message, at=f"{prefix}try", inside=(name, *message.inside)))
    entry = One(
        PASS, replace(message, at=f"{prefix}rescue.0", handles=name, skips=(name, *message.skips))
    )
    rescued = line(handler, replace(message, at=f"{prefix}rescue", skips=(name, *message.skips)))
    first = rescued[0] if rescued else None
    if isinstance(first, One):
        # The handler's own first step looks whether there is anything to rescue.
        return [*tried, replace(first, message=replace(first.message, handles=name)), *rescued[1:]]
    return [*tried, entry, *rescued]
