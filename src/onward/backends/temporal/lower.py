"""Lowers a plan to Temporal's terms: parts, retry policies and priorities; and explains it."""

from __future__ import annotations

from datetime import timedelta

from msgspec.structs import replace
from temporalio.common import Priority, RetryPolicy

from onward.backend.support import text_of_wait
from onward.backends.temporal.message import CRASHES
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
    cancels_on_failure,
    walk,
)

STEPS_PER_PART = 20
"""How many steps of a long chain make one part. A history holds 50 MB, so large steps fill it."""

ITEMS_PER_PART = 250
"""How many items of an `each` make one part. The next part begins when all of them are done."""

CANCELS = "a failure cancels the rest"

LONGEST = timedelta(days=365)
"""Temporal's own time limit of an attempt.

It is long because the worker enforces timeouts, and because heartbeats show that a worker died.
"""


class Part(FusedNode, frozen=True, tag="part", tag_field="op"):
    """A part of a long flow. It runs as a child workflow if the history is long by then."""


def split_into_parts(node: Node) -> Node:
    """Cuts long chains and every `each` of a flow into parts, which does not change its meaning.

    This keeps histories short: a history holds about 50,000 events, a step makes three of them, and
    an `each` may have any length.
    """
    match node:
        case ChainNode(steps):
            if len(steps) <= STEPS_PER_PART:
                return split_part(node)
            cuts = range(0, len(steps), STEPS_PER_PART)
            return ChainNode(
                tuple(Part(body=ChainNode(steps[at : at + STEPS_PER_PART])) for at in cuts)
            )
        case EachNode(chunk=chunk, on_failure=on_failure):
            size = ITEMS_PER_PART * (chunk or 1)
            return EachNode(Part(body=node), limit=1, chunk=size, on_failure=on_failure)
        case TogetherNode(branches) | CaseNode(branches):
            return replace(node, branches=tuple(map(split_into_parts, branches)))
        case RescueNode(body, handler):
            tried, rescued = split_into_parts(body), split_into_parts(handler)
            return replace(node, body=tried, handler=rescued)
        case FinallyNode(body, cleanup):
            return FinallyNode(split_into_parts(body), split_into_parts(cleanup))
        case NamedNode(_, body):
            return split_into_parts(body)
        case KeepNode(body) | TeeNode(body) | SpreadNode(body) | FixedNode(body):
            return replace(node, body=split_into_parts(body))
        case _:
            return node


def split_part(node: Node) -> Node:
    """Cuts everything long inside of a part into parts in turn, when the part runs.

    It is not done earlier, because the part may be sent to a child workflow.
    """
    match node:
        case ChainNode(steps):
            return ChainNode(tuple(map(split_into_parts, steps)))
        case EachNode(body):
            return replace(node, body=split_into_parts(body))
        case _:
            return node


def awaits_any(root: Node) -> bool:
    """Whether a plan waits for a signal."""
    return any(isinstance(node, AwaitsNode) for node in walk(root))


def is_single(plan: Plan) -> bool:
    """Whether a call runs as a single activity, without a workflow.

    Activities have no memo for tags, begin with no outcomes of another call, and cannot wait for
    the place of a limit.
    """
    root = plan.root
    is_alone = isinstance(root, Runnable) and root.limit is None
    return is_alone and not plan.tags and plan.past is None


def retry_policy(step: Runnable, crashes: int = CRASHES) -> RetryPolicy:
    """Makes Temporal's retry policy of a step.

    A worker that reports a failure also sets the delay before the next attempt. The intervals of
    this policy apply only after a worker died.

    Args:
        step: The step.
        crashes: How often the step's worker may die.
    """
    return RetryPolicy(
        initial_interval=timedelta(seconds=1),
        maximum_interval=timedelta(seconds=10),
        maximum_attempts=step.attempts + crashes,
    )


def priority_of(step: Runnable, plan: Plan) -> Priority:
    """Converts a step's priority, from 0 (lowest) to 9, to Temporal's, from 5 (lowest) to 1."""
    priority = plan.priority if step.priority is None else step.priority
    return Priority() if priority is None else Priority(priority_key=5 - priority // 2)


def explain(plan: Plan, task_queue: str) -> str:
    """Renders what Temporal would run, for people to read."""
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
            notes += [CANCELS] if cancels_on_failure(node) else []
            title = f"{indent}for each item{f' ({chr(44).join(notes)})' if notes else ''}"
            return [title, *_lines(body, plan, f"{indent}  ")]
        case RescueNode(body, handler):
            inner = f"{indent}  "
            tried, rescued = _lines(body, plan, inner), _lines(handler, plan, inner)
            return [f"{indent}try", *tried, f"{indent}if that fails", *rescued]
        case FinallyNode(body, cleanup):
            inner = f"{indent}  "
            tried, cleaned = _lines(body, plan, inner), _lines(cleanup, plan, inner)
            return [f"{indent}try", *tried, f"{indent}finally", *cleaned]
        case SleepNode() | AwaitsNode():
            return [f"{indent}{text_of_wait(node)}"]
        case KeepNode(body) | TeeNode(body) | SpreadNode(body) | FixedNode(body):
            return [
                f"{indent}{type(node).__struct_config__.tag}",
                *_lines(body, plan, f"{indent}  "),
            ]
        case TogetherNode(branches):
            cancels = f" ({CANCELS})" if cancels_on_failure(node) else ""
            lines = [f"{indent}side by side{cancels}"]
            for branch in branches:
                lines += _lines(branch, plan, f"{indent}  ")
            return lines
        case CaseNode(branches, routes):
            lines = []
            for branch, route in zip(branches, routes, strict=True):
                lines += [f"{indent}if it is {route.text}", *_lines(branch, plan, f"{indent}  ")]
            return lines
