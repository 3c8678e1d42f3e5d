"""The places of steps as every engine names them, without the parts of long flows.

An activity's id has the parts: `[1][7]` is the eighth item of the second part of an `each`, which
tasks and people know as `[257]`. The ids stay as they are, because histories are replayed by them.
"""

from __future__ import annotations

import re

from onward.backends.temporal.lower import ITEMS, STEPS
from onward.backends.temporal.message import FlowOptions
from onward.plan import (
    ChainNode,
    EachNode,
    FixedNode,
    KeepNode,
    NamedNode,
    Node,
    Plan,
    RescueNode,
    SpreadNode,
    TeeNode,
    TogetherNode,
)

_TOKEN = re.compile(r"\[\d+\]|\w+")


def plain(root: Node, where: str, at: str = "", before: str = "") -> str:
    """The place of a step or of a part, without parts.

    Args:
        root: The plan's root.
        where: The place with parts; a part's own number is left out.
        at: The place with parts of the root, if another workflow runs it as a part.
        before: The same place without parts.

    Example:
        >>> from onward.plan import StepNode
        >>> plain(ChainNode((StepNode("a"), EachNode(StepNode("b")))), "1[1][7]")
        '1[257]'
    """
    part = _number(_TOKEN.findall(at)[-1]) if at else None
    node, place = root, before
    for token in _TOKEN.findall(where.removeprefix(at)):
        while isinstance(node, NamedNode | SpreadNode | FixedNode):
            node = node.body
        step = token
        match node:
            case ChainNode(steps) if part is None and len(steps) > STEPS:
                part = _number(token)
                continue
            case EachNode() if part is None:
                part = _number(token)
                continue
            case ChainNode(steps):
                index = (part or 0) * STEPS + _number(token)
                # Another workflow has only the steps of its part.
                node, step = steps[index if index < len(steps) else index % STEPS], str(index)
            case EachNode(body):
                node, step = body, f"[{(part or 0) * ITEMS + _number(token)}]"
            case TogetherNode(branches):
                node = branches[_number(token)]
            case RescueNode(body, handler):
                node = body if token == "try" else handler
            case KeepNode(body) | TeeNode(body):
                node = body
            case _:
                pass  # the step itself
        part = None
        place += step if step.startswith("[") or not place else f".{step}"
    return place


def place_in(plan: Plan, options: FlowOptions, where: str) -> str:
    """The place without parts of a step or of a part in a workflow's plan."""
    if options.at and options.place is None:
        return where
    return plain(plan.root, where, options.at, options.place or "")


def _number(token: str) -> int:
    return int(token.strip("[]"))
