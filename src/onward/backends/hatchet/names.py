"""The names of tasks and flows on Hatchet, which ignores case and allows few characters."""

from __future__ import annotations

import re
from collections.abc import Iterable

from onward.fault import Misconfigured
from onward.plan import NamedNode, Node, StepNode, walk

FLOW = "onward.flow"
"""The workflow of a flow without a name: it runs the evaluator."""

FUSED = "onward.fused"
"""The workflow of a fused flow that has no name of its own."""

_ALLOWED = re.compile(r"[A-Za-z0-9._-]+")


def prefix(namespace: str) -> str:
    """The prefix of the names of a namespace, as Hatchet's own SDKs write it."""
    return f"{namespace.rstrip('_').lower()}_" if namespace else ""


def workflow(name: str, prefix: str) -> str:
    """The name of a task's or flow's workflow."""
    return prefix + name.lower()


def is_allowed(name: str) -> bool:
    """Whether Hatchet accepts a name."""
    return _ALLOWED.fullmatch(name) is not None


def wrong(names: Iterable[str]) -> Misconfigured | None:
    """What is wrong with a set of names on Hatchet, if anything."""
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
    """The tasks of a plan, and its flow if that has a name."""
    names = {node.task for node in walk(root) if isinstance(node, StepNode)}
    return names | {root.name} if isinstance(root, NamedNode) else names
