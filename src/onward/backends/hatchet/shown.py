"""A plan in Hatchet's terms, for people."""

from __future__ import annotations

from onward.backends.hatchet import limits, names
from onward.backends.hatchet.limits import Limits
from onward.backends.hatchet.native import Dag
from onward.plan import (
    ChainNode,
    EachNode,
    FusedNode,
    KeepNode,
    NamedNode,
    Node,
    RescueNode,
    StepNode,
    TeeNode,
    TogetherNode,
)


def shown(root: Node, prefix: str, limited: Limits) -> str:
    """The workflow that runs a plan's root, and what it is made of.

    Args:
        root: The plan's root.
        prefix: What stands before the names of workflows.
        limited: The limits of tasks.
    """
    if isinstance(root, StepNode):
        return names.workflow(root.task, prefix)
    if isinstance(root, FusedNode):
        return f"{names.workflow(names.FUSED, prefix)}({_inside(root.body)})"
    if not isinstance(root, NamedNode):
        return f"{names.workflow(names.FLOW, prefix)}({_inside(root)})"
    dag = limits.compiled(root, limited)
    inside = _inside(root.body) if dag is None else _dag(dag)
    return f"{names.workflow(root.name, prefix)}({inside})"


def _dag(dag: Dag) -> str:
    texts: list[str] = []
    for part in dag.parts:
        parents = " & ".join(dag.parents(part))
        texts.append(f"{part.name} <- {parents}" if parents else part.name)
    return ", ".join(texts)


def _inside(node: Node) -> str:
    if isinstance(node, ChainNode):
        return ", ".join(map(_shown, node.steps)) or "identity"
    return _shown(node)


def _shown(node: Node) -> str:
    match node:
        case StepNode(task=name):
            return name
        case ChainNode():
            return f"chain({_inside(node)})"
        case TogetherNode(branches):
            return f"together({', '.join(map(_shown, branches))})"
        case EachNode(body):
            return f"each({_inside(body)})"
        case RescueNode(body, handler):
            return f"{_shown(body)} (rescue {_shown(handler)})"
        case FusedNode(body=body):
            return f"{names.FUSED}({_inside(body)})"
        case NamedNode(_, body):
            return _shown(body)
        case KeepNode(body):
            return f"keep({_inside(body)})"
        case TeeNode(body):
            return f"tee({_inside(body)})"
