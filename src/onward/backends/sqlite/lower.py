"""A plan in this engine's terms: which queue it waits in, and which steps its worker hands over."""

from __future__ import annotations

from collections.abc import Iterator

from onward.plan import (
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
    Plan,
    RescueNode,
    Runnable,
    SleepNode,
    SpreadNode,
    StepNode,
    TeeNode,
    TogetherNode,
    Waiting,
)

QUEUE = "onward"
"""The queue of what names none, on a backend that was not told of another."""

PRIORITY = 5
"""The priority of what has none."""


def leaves(node: Node, path: str = "") -> Iterator[tuple[str, Runnable | Waiting]]:
    """The steps and waits of a node with their paths, in the order in which they run."""
    prefix = f"{path}." if path else ""
    match node:
        case StepNode() | FusedNode() | SleepNode() | AwaitsNode():
            yield path or "0", node
        case ChainNode(steps):
            for index, step in enumerate(steps):
                yield from leaves(step, f"{prefix}{index}")
        case NamedNode(body=body) | SpreadNode(body) | FixedNode(body):
            yield from leaves(body, path)
        case RescueNode(body, handler):
            yield from leaves(body, f"{prefix}try")
            yield from leaves(handler, f"{prefix}rescue")
        case FinallyNode(body, cleanup):
            yield from leaves(body, f"{prefix}try")
            yield from leaves(cleanup, f"{prefix}finally")
        case TogetherNode(branches) | CaseNode(branches):
            for index, branch in enumerate(branches):
                yield from leaves(branch, f"{path}[{index}]")
        case EachNode(body=body):
            yield from leaves(body, f"{path}[*]")
        case KeepNode(body=body) | TeeNode(body=body):
            yield from leaves(body, f"{path}[1]")


def first_step(plan: Plan) -> Runnable | None:
    """The step that runs first; None where there is none."""
    known = {} if plan.past is None else plan.past.outcomes
    return next(
        (
            leaf
            for path, leaf in leaves(plan.root)
            if isinstance(leaf, Runnable) and path not in known
        ),
        None,
    )


def queue_of(step: Runnable | None, plan: Plan, default: str) -> str:
    """The queue that a step waits in."""
    return (step.queue if step is not None else None) or plan.queue or default


def priority_of(step: Runnable | None, plan: Plan) -> int:
    """The priority of a step, from 0 to 9; higher goes first."""
    if step is not None and step.priority is not None:
        return step.priority
    return PRIORITY if plan.priority is None else plan.priority


def place_of(plan: Plan, default: str) -> tuple[str, int]:
    """The queue and the priority of a call: those of the step that runs first."""
    step = first_step(plan)
    return queue_of(step, plan, default), priority_of(step, plan)


def last_path(node: Node, path: str = "") -> str | None:
    """The path of the step whose outcome is the call's own; None where that depends."""
    match node:
        case StepNode() | FusedNode():
            return path or "0"
        case NamedNode(body=body) | SpreadNode(body) | FixedNode(body):
            return last_path(body, path)
        case ChainNode(steps):
            if not steps:
                return None
            prefix = f"{path}." if path else ""
            return last_path(steps[-1], f"{prefix}{len(steps) - 1}")
        case _:
            return None


def explained(plan: Plan, default: str) -> str:
    """A plan as its rows and steps, for people."""
    queue, priority = place_of(plan, default)
    lines = [f"onward_jobs: {plan.flow} in queue {queue!r}, priority {priority}"]
    lines += [f"  {path} {_shown(leaf, plan, default, queue)}" for path, leaf in leaves(plan.root)]
    return "\n".join(lines)


def _shown(leaf: Runnable | Waiting, plan: Plan, default: str, holder: str) -> str:
    if isinstance(leaf, SleepNode | AwaitsNode):
        return str(type(leaf).__struct_config__.tag)
    name = leaf.task if isinstance(leaf, StepNode) else "fused"
    queue = queue_of(leaf, plan, default)
    return name if queue == holder else f"{name} (a job of its own in queue {queue!r})"
