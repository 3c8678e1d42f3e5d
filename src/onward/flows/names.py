"""Finds the tasks of a flow by their names."""

from __future__ import annotations

from onward.flows.nodes import Named, Node, Task, walk
from onward.policy import check_reserved
from onward.signature import place


def tasks_of(flow: Node) -> dict[str, Task]:
    """The tasks of a flow by their names.

    Raises:
        ValueError: If two different tasks share a name, or a name is reserved.
    """
    found: dict[str, Task] = {}
    for each in walk(flow):
        if isinstance(each, Named):
            check_reserved(each.label)
        elif isinstance(each, Task) and found.get(each.name) is not each:
            check_reserved(each.name)
            refuse_namesakes(found.setdefault(each.name, each), each)
    return found


def refuse_namesakes(one: Task, other: Task) -> None:
    """Raises ValueError if two tasks of one name have different functions."""
    if one.fn is not other.fn:
        raise ValueError(
            f"two tasks are named {one.name!r}, one at {place(one.fn)} and one at "
            f"{place(other.fn)}: give one of them another name with @task(name=...)"
        )
