"""Finds the tasks of a flow by their names."""

from __future__ import annotations

from typing import TypeVar

from onward.flows.node import Node
from onward.flows.nodes import (
    Chain,
    Named,
    Task,
    parts,
)
from onward.policy import check_reserved
from onward.signature import place

T = TypeVar("T", bound=Task)


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
                found[name] = one_of_namesakes(found.get(name, task), task)
    return found


def one_of_namesakes(one: T, other: T) -> T:
    """The one of two tasks of the same name whose limit has a key, which workers have to know.

    Raises:
        ValueError: If the tasks have different functions, or limits with different keys.
    """
    if one is other:
        return one
    if one.fn is not other.fn or one.resources != other.resources:
        raise ValueError(
            f"two tasks are named {one.name!r}, one at {place(one.fn)} and one at "
            f"{place(other.fn)}: give one of them another name with @task(name=...)"
        )
    key, its = (None if it.policy.limit is None else it.policy.limit.key for it in (one, other))
    if key is not None and its is not None and key is not its:
        raise ValueError(
            f"task {one.name!r} has limits with two different keys, and a worker knows one key of "
            "a task: give both limits the same function, or make two tasks of it with "
            "@task(name=...)"
        )
    return other if key is None and its is not None else one
