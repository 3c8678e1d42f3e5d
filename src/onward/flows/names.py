"""Finds the tasks of a flow by their names."""

from __future__ import annotations

from onward.flows.nodes import Chain, Named, Node, Task, parts
from onward.policy import check_reserved
from onward.signature import place


def tasks_of(flow: Node) -> dict[str, Task]:
    """The tasks of a flow by their names, which are found once.

    Raises:
        ValueError: If two different tasks share a name, or a name is reserved.
    """
    known = flow.computed.tasks
    if known is None:
        known = flow.computed.tasks = _tasks_of(flow)
    return known


def _tasks_of(flow: Node) -> dict[str, Task]:
    if isinstance(flow, Chain):  # first, because `isinstance` takes longer to say no
        inside = flow.steps
    elif isinstance(flow, Task):
        check_reserved(flow.name)
        return {flow.name: flow}
    else:
        if isinstance(flow, Named):
            check_reserved(flow.label)
        inside = parts(flow)
    found: dict[str, Task] = {}
    count = 0
    for part in inside:
        tasks = part.computed.tasks or tasks_of(part)
        found.update(tasks)
        count += len(tasks)
    if len(found) < count:  # some parts share a name
        found = {}
        for part in inside:
            for name, task in tasks_of(part).items():
                refuse_namesakes(found.setdefault(name, task), task)
    return found


def refuse_namesakes(one: Task, other: Task) -> None:
    """Raises ValueError if two tasks of one name have different functions."""
    if one.fn is not other.fn:
        raise ValueError(
            f"two tasks are named {one.name!r}, one at {place(one.fn)} and one at "
            f"{place(other.fn)}: give one of them another name with @task(name=...)"
        )
