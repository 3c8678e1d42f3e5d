"""What tasks and flows are called on Hatchet, which knows no capitals and few other letters."""

from __future__ import annotations

import re
from collections.abc import Iterable

from onward.fault import Misconfigured
from onward.plan import NamedNode, Node, StepNode, walk

FLOW = "onward.flow"
"""The workflow of what is no task and no named flow: it runs the evaluator."""

FUSED = "onward.fused"
"""The workflow of a fused flow that has no name of its own."""

_ALLOWED = re.compile(r"[A-Za-z0-9._-]+")


def prefix(namespace: str) -> str:
    """What stands before the names of a namespace, as Hatchet's own SDKs write it."""
    return f"{namespace.rstrip('_').lower()}_" if namespace else ""


def workflow(name: str, prefix: str) -> str:
    """The name of a task's or flow's workflow."""
    return prefix + name.lower()


def is_allowed(name: str) -> bool:
    """Whether Hatchet takes a name."""
    return _ALLOWED.fullmatch(name) is not None


def wrong(names: Iterable[str]) -> Misconfigured | None:
    """What is wrong with names that are to be told apart on Hatchet, if anything."""
    seen: dict[str, str] = {}
    for name in names:
        if not is_allowed(name):
            return Misconfigured(
                name,
                "Hatchet's names have letters, digits, dots, hyphens and underscores only: "
                "rename it, for a task with @task(name=...)",
            )
        other = seen.setdefault(name.lower(), name)
        if other != name:
            message = f"Hatchet, which knows no capitals, takes it for {other!r}: rename one"
            return Misconfigured(name, message)
    return None


def named_in(root: Node) -> set[str]:
    """The tasks of a plan, and its flow where it has a name of its own."""
    names = {node.task for node in walk(root) if isinstance(node, StepNode)}
    return names | {root.name} if isinstance(root, NamedNode) else names
