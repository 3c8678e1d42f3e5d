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
    children,
)

QUEUE = "onward"
"""The queue of what names none, on a backend that was not told of another."""

PRIORITY = 5
"""The priority of what has none."""


def first_step(node: Node) -> Runnable | None:
    """The step that runs first; None where there is none."""
    if isinstance(node, Runnable):
        return node
    for child in children(node):
        if (step := first_step(child)) is not None:
            return step
    return None


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
    step = first_step(plan.root)
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
    lines += [f"  {line}" for line in _steps(plan.root, "", plan, default, queue)]
    return "\n".join(lines)


def _steps(node: Node, path: str, plan: Plan, default: str, holder: str) -> Iterator[str]:
    match node:
        case StepNode() | FusedNode():
            name = node.task if isinstance(node, StepNode) else "fused"
            queue = queue_of(node, plan, default)
            where = "" if queue == holder else f" (a job of its own in queue {queue!r})"
            yield f"{path or '0'} {name}{where}"
        case ChainNode(steps):
            prefix = f"{path}." if path else ""
            for index, step in enumerate(steps):
                yield from _steps(step, f"{prefix}{index}", plan, default, holder)
        case NamedNode(body=body) | SpreadNode(body) | FixedNode(body):
            yield from _steps(body, path, plan, default, holder)
        case RescueNode(body, handler):
            prefix = f"{path}." if path else ""
            yield from _steps(body, f"{prefix}try", plan, default, holder)
            yield from _steps(handler, f"{prefix}rescue", plan, default, holder)
        case FinallyNode(body, cleanup):
            prefix = f"{path}." if path else ""
            yield from _steps(body, f"{prefix}try", plan, default, holder)
            yield from _steps(cleanup, f"{prefix}finally", plan, default, holder)
        case TogetherNode(branches) | CaseNode(branches):
            for index, branch in enumerate(branches):
                yield from _steps(branch, f"{path}[{index}]", plan, default, holder)
        case EachNode(body=body):
            yield from _steps(body, f"{path}[*]", plan, default, holder)
        case SleepNode() | AwaitsNode():
            yield f"{path or '0'} {type(node).__struct_config__.tag}"
        case KeepNode(body=body) | TeeNode(body=body):
            yield from _steps(body, f"{path}[1]", plan, default, holder)
