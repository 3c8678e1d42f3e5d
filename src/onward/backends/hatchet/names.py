"""The names of tasks and flows on Hatchet, which ignores case and allows only some characters."""

from __future__ import annotations

import re
from collections.abc import Iterable

from onward.fault import Misconfigured
from onward.limit import hashed
from onward.plan import NamedNode, Node, StepNode, walk

FLOW = "onward.flow"
"""The workflow of flows without a name. The evaluator runs them."""

FUSED = "onward.fused"
"""The workflow of fused flows."""

UNIQUE = "onward.unique"
"""The workflow of calls that share a key, of which one at a time is open."""

RECORD = "onward.record"
"""The workflow of runs that store an outcome."""

MAILBOX = "onward.mailbox"
"""The workflow of runs that end when a signal is sent. No worker takes them."""

LIMITED = "onward.limited"
"""The action of steps that have a limit."""

PLACE = "onward.place"
"""The action of runs that hold the place of a call, and the signal that the call has its place."""

_ALLOWED = re.compile(r"[A-Za-z0-9._-]+")
_REFUSED = re.compile(r"[^a-z0-9._-]")


def prefix(namespace: str) -> str:
    """Returns the prefix of workflow names in a namespace, as Hatchet's own SDKs make it."""
    return f"{namespace.rstrip('_').lower()}_" if namespace else ""


def workflow(name: str, prefix: str) -> str:
    """Returns the name of the workflow of a task or flow."""
    return prefix + name.lower()


def limit(name: str, prefix: str, *, of_calls: bool = False) -> str:
    """Returns the name of the workflow that hands out the places of a limit.

    Args:
        name: The limit's name.
        prefix: The prefix of the names of workflows.
        of_calls: Whether it is a limit of the calls of a flow, and not of the steps of a task.
    """
    if not is_allowed(name) or name != name.lower():
        name = f"{_REFUSED.sub('-', name.lower())[:100]}-{hashed(name)[:12]}"
    return f"{prefix}onward.limit.{'calls.' if of_calls else 'steps.'}{name}"


def is_allowed(name: str) -> bool:
    """Whether Hatchet accepts a name."""
    return _ALLOWED.fullmatch(name) is not None


def fault_of(names: Iterable[str]) -> Misconfigured | None:
    """Returns a fault if Hatchet does not accept one of these names, or None."""
    seen: dict[str, str] = {}
    for name in names:
        if not is_allowed(name):
            return Misconfigured(
                name,
                "a name on Hatchet has only letters, digits, dots, hyphens and underscores: "
                "rename it, for a task with @task(name=...)",
            )
        other = seen.setdefault(name.lower(), name)
        if other != name:
            message = f"Hatchet ignores capitals, so it is the same name as {other!r}: rename one"
            return Misconfigured(name, message)
    return None


def named_in(root: Node) -> set[str]:
    """Returns the names of a plan's tasks, and of its flow if it has one."""
    names = {node.task for node in walk(root) if isinstance(node, StepNode)}
    return names | {root.name} if isinstance(root, NamedNode) else names
