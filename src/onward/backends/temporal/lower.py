"""A plan in Temporal's terms: its parts, retry policies and priorities, and `explain`."""

from __future__ import annotations

from datetime import timedelta

from msgspec.structs import replace
from temporalio.common import Priority, RetryPolicy

from onward.backends.temporal.message import CRASHES
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
    Runnable,
    SpreadNode,
    StepNode,
    TeeNode,
    TogetherNode,
)

STEPS = 20
"""How many steps of a long chain make one part: large steps soon fill a history of 50 MB."""

ITEMS = 250
"""How many items of an `each` make one part; the next part begins when they are done."""


LONGEST = timedelta(days=365)
"""How long Temporal allows an attempt; the worker enforces timeouts, heartbeats show its death."""


class Part(FusedNode, frozen=True, tag="part", tag_field="op"):
    """A part of a long flow, which becomes a child workflow once the history is long."""


def parted(node: Node) -> Node:
    """The same flow, with its long chains and every `each` cut into parts.

    A history holds about 50,000 events, a step makes three, and an `each` may have any length. By
    the laws, a chain is a chain of chains, and an `each` is an `each` over lists.
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
        case KeepNode(body) | TeeNode(body) | SpreadNode(body) | FixedNode(body):
            return replace(node, body=parted(body))
        case _:
            return node


def within(node: Node) -> Node:
    """The content of a part, with everything long in it cut into parts in turn.

    A part stays uncut until it runs, because it may be sent to a child workflow.
    """
    match node:
        case ChainNode(steps):
            return ChainNode(tuple(map(parted, steps)))
        case EachNode(body, limit, chunk):
            return EachNode(parted(body), limit, chunk)
        case _:
            return node


def is_single(plan: Plan) -> bool:
    """Whether a call is a single activity, without a workflow."""
    return isinstance(plan.root, Runnable)


def retry_policy(step: Runnable, crashes: int = CRASHES) -> RetryPolicy:
    """How often Temporal attempts a step.

    A worker that reports a failure says when the next attempt is due; these intervals are for
    workers that died.

    Args:
        step: The step.
        crashes: How often its worker may die.
    """
    return RetryPolicy(
        initial_interval=timedelta(seconds=1),
        maximum_interval=timedelta(seconds=10),
        maximum_attempts=step.attempts + crashes,
    )


def priority_of(step: Runnable, plan: Plan) -> Priority:
    """A step's priority, from 0 (lowest) to 9, on Temporal's scale from 5 (lowest) to 1."""
    priority = plan.priority if step.priority is None else step.priority
    return Priority() if priority is None else Priority(priority_key=5 - priority // 2)


def explained(plan: Plan, task_queue: str) -> str:
    """What Temporal will run, for people to read."""
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
        case KeepNode(body) | TeeNode(body) | SpreadNode(body) | FixedNode(body):
            return [
                f"{indent}{type(node).__struct_config__.tag}",
                *_lines(body, plan, f"{indent}  "),
            ]
        case TogetherNode(branches):
            lines = [f"{indent}side by side"]
            for branch in branches:
                lines += _lines(branch, plan, f"{indent}  ")
            return lines
