"""A plan as Temporal is given it: in parts that fit into a history, and as people read it."""

from __future__ import annotations

from onward.plan import (
    ChainNode,
    EachNode,
    FusedNode,
    KeepNode,
    NamedNode,
    Node,
    Plan,
    RescueNode,
    StepNode,
    TeeNode,
    TogetherNode,
)

STEPS = 20
"""How many steps of a long chain make a part of it; large ones soon fill a history with 50 MB."""

ITEMS = 250
"""How many items of an `each` make a part of it, which are done before the next are begun."""


class Part(FusedNode, frozen=True, tag="part", tag_field="op"):
    """A part of a long flow: once a workflow's history is long, it is a workflow of its own."""


def parted(node: Node) -> Node:
    """The same flow with what may be long in it cut into parts.

    A history holds some 50,000 events, a step makes three, and an `each` may be of any length. By
    the laws, a chain is a chain of chains, and an `each` an `each` over lists.
    """
    match node:
        case ChainNode(steps):
            if len(steps) <= STEPS:
                return within(node)
            cuts = range(0, len(steps), STEPS)
            return ChainNode(tuple(Part(body=ChainNode(steps[at : at + STEPS])) for at in cuts))
        case EachNode(chunk=chunk):
            return EachNode(Part(body=node), limit=1, chunk=ITEMS * (chunk or 1))
        case TogetherNode(branches):
            return TogetherNode(tuple(map(parted, branches)))
        case RescueNode(body, handler):
            return RescueNode(parted(body), parted(handler))
        case NamedNode(_, body):
            return parted(body)
        case KeepNode(body) | TeeNode(body):
            return type(node)(parted(body))
        case _:
            return node


def within(node: Node) -> Node:
    """What makes up a part, with what may be long in there cut into parts of its own.

    A part is left as it was until it runs, for it may have to travel.
    """
    match node:
        case ChainNode(steps):
            return ChainNode(tuple(map(parted, steps)))
        case EachNode(body, limit, chunk):
            return EachNode(parted(body), limit, chunk)
        case _:
            return node


def is_single(plan: Plan) -> bool:
    """Whether a call is one activity, and needs no workflow."""
    return isinstance(plan.root, StepNode | FusedNode)


def shown(plan: Plan, task_queue: str) -> str:
    """What Temporal will be given, for people to read."""
    if is_single(plan):
        return "\n".join(_lines(plan.root, plan, ""))
    return "\n".join([f"workflow {plan.flow} on {task_queue}", *_lines(plan.root, plan, "  ")])


def _lines(node: Node, plan: Plan, indent: str) -> list[str]:
    match node:
        case StepNode() | FusedNode():
            name = node.task if isinstance(node, StepNode) else f"{plan.flow} (fused)"
            queue = node.queue or plan.queue
            return [f"{indent}activity {name}{f' on {queue}' if queue else ''}"]
        case NamedNode(_, body):
            return _lines(body, plan, indent)
        case ChainNode(steps):
            return [line for step in steps for line in _lines(step, plan, indent)]
        case EachNode(body, limit, chunk):
            notes = [f"{chunk} items at once"] if chunk else []
            notes += [f"at most {limit} at a time"] if limit else []
            title = f"{indent}for each item{f' ({chr(44).join(notes)})' if notes else ''}"
            return [title, *_lines(body, plan, f"{indent}  ")]
        case RescueNode(body, handler):
            inner = f"{indent}  "
            tried, rescued = _lines(body, plan, inner), _lines(handler, plan, inner)
            return [f"{indent}try", *tried, f"{indent}if that fails", *rescued]
        case KeepNode(body) | TeeNode(body):
            title = f"{indent}{'keep' if isinstance(node, KeepNode) else 'tee'}"
            return [title, *_lines(body, plan, f"{indent}  ")]
        case TogetherNode(branches):
            lines = [f"{indent}side by side"]
            for branch in branches:
                lines += _lines(branch, plan, f"{indent}  ")
            return lines
