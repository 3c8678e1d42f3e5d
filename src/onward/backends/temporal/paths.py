"""Converts the path of a step with parts to the path that tasks and people see, without parts.

The id of an activity includes the parts of a long flow: `[1][7]` is the eighth item of the second
part of an `each`, which tasks see as `[257]`. These ids must not change, because histories replay
by them.
"""

from __future__ import annotations

import re
from typing import TypeVar

from onward.backends.temporal.lower import ITEMS_PER_PART, STEPS_PER_PART
from onward.backends.temporal.message import FlowOptions
from onward.plan import (
    CaseNode,
    ChainNode,
    EachNode,
    FinallyNode,
    FixedNode,
    KeepNode,
    NamedNode,
    Node,
    Past,
    Plan,
    RescueNode,
    SpreadNode,
    TeeNode,
    TogetherNode,
)

_TOKEN = re.compile(r"\[\d+\]|\w+")
_FIRST = re.compile(r"\d+")

T = TypeVar("T")


def without_parts(root: Node, where: str, at: str = "", before: str = "") -> str:
    """Removes the parts from the path of a step or of a part.

    Args:
        root: The plan's root.
        where: The path with parts. The number of a part itself is left out.
        at: The path of the root with parts, if the root is a part that a child workflow runs.
        before: The path of the root without parts.

    Example:
        >>> from onward.plan import StepNode
        >>> without_parts(ChainNode((StepNode("a"), EachNode(StepNode("b")))), "1[1][7]")
        '1[257]'
    """
    part = part_number(at) if at else None
    node, path = root, before
    for token in _TOKEN.findall(where.removeprefix(at)):
        while isinstance(node, NamedNode | SpreadNode | FixedNode):
            node = node.body
        step = token
        match node:
            case ChainNode(steps) if part is None and len(steps) > STEPS_PER_PART:
                part = _number(token)
                continue
            case EachNode() if part is None:
                part = _number(token)
                continue
            case ChainNode(steps):
                index = (part or 0) * STEPS_PER_PART + _number(token)
                # A child workflow has only the steps of its part.
                own = index if index < len(steps) else index % STEPS_PER_PART
                node, step = steps[own], str(index)
            case EachNode(body):
                node, step = body, f"[{(part or 0) * ITEMS_PER_PART + _number(token)}]"
            case TogetherNode(branches) | CaseNode(branches):
                node = branches[_number(token)]
            case RescueNode(body, second) | FinallyNode(body, second):
                node = body if token == "try" else second
            case KeepNode(body) | TeeNode(body):
                node = body
            case _:
                pass  # the step itself
        part = None
        path += step if step.startswith("[") or not path else f".{step}"
    return path


def path_in(plan: Plan, options: FlowOptions, where: str) -> str:
    """Removes the parts from the path of a step or of a part in a workflow's plan."""
    if options.at and options.place is None:
        return where
    return without_parts(plan.root, where, options.at, options.place or "")


def part_number(at: str) -> int:
    """The number of the part that a path with parts ends with."""
    return _number(_TOKEN.findall(at)[-1])


def past_of_part(past: Past | None, body: Node, place: str, number: int) -> Past | None:
    """What of a call's past belongs to a part of the call, which a child workflow runs.

    Args:
        past: The past of the call.
        body: The part's node.
        place: The part's path without parts.
        number: The number of the part.
    """
    if past is None:
        return None
    if isinstance(body, EachNode):
        prefix, size = f"{place}[", ITEMS_PER_PART
    else:
        prefix, size = f"{place}." if place else "", STEPS_PER_PART

    def mine(paths: dict[str, T]) -> dict[str, T]:
        return {path: each for path, each in paths.items() if is_mine(path)}

    def is_mine(path: str) -> bool:
        inner = path.removeprefix(prefix)
        first = _FIRST.match(inner)
        is_inner = first is not None and path.startswith(prefix)
        return is_inner and first is not None and int(first[0]) // size == number

    return Past(past.origin, mine(past.outcomes), mine(past.due), mine(past.args))


def _number(token: str) -> int:
    return int(token.strip("[]"))
