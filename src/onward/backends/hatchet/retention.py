"""Which waits outlast what the engine remembers of a call."""

from __future__ import annotations

from collections.abc import Iterator

from onward.fault import Fault, Unsupported
from onward.plan import AwaitsNode, Plan, SleepNode, walk


def faults_in(plan: Plan, keep: float) -> list[Fault]:
    """Finds the waits of a plan that are longer than the engine remembers its finished steps.

    Args:
        plan: The plan.
        keep: How long the engine remembers keys, in seconds.
    """
    longest = max(_seconds(plan), default=0.0)
    if longest <= keep:
        return []
    message = (
        f"a wait of {longest:g} s is longer than Hatchet keeps the steps before it, which is "
        f"{keep:g} s: set keep to more, and the engine's retention too"
    )
    return [Unsupported(plan.flow, message)]


def _seconds(plan: Plan) -> Iterator[float]:
    for node in walk(plan.root):
        if isinstance(node, SleepNode):
            yield node.seconds
        elif isinstance(node, AwaitsNode) and node.timeout is not None:
            yield node.timeout
