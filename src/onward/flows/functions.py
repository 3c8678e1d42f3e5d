"""What a task has of its function: the docstring, and where a pickle finds it."""

from __future__ import annotations

import importlib
import inspect
import sys
from dataclasses import replace

from onward.flows.node import Node
from onward.flows.nodes import Task
from onward.policy import Policy
from onward.signature import place


class Docstring:
    """The docstring of a task's function; on the class, the class's own."""

    def __init__(self, own: str | None) -> None:
        self._own = own

    def __get__(self, task: Task | None, kind: type) -> str | None:
        return self._own if task is None else task.fn.__doc__


def pickled_reference(task: Task) -> tuple[str, str, Policy]:
    """A task's module, its name there and its policy, for a pickle.

    Raises:
        TypeError: If the task is not at the top level of its module.
    """
    module = sys.modules.get(task.fn.__module__)
    for name, each in vars(module).items() if module else ():
        if issubclass(type(each), Task) and (each.name, each.fn) == (task.name, task.fn):
            return task.fn.__module__, name, task.policy
    raise TypeError(
        f"task {task.name!r} ({place(task.fn)}) cannot be pickled, because a pickle refers to it "
        "by its name: define it at the top of its module"
    )


def unpickled(module: str, name: str, policy: Policy) -> Node:
    """The task that a pickle refers to."""
    task: Task = getattr(importlib.import_module(module), name)
    if task.policy == policy:
        return task
    return replace(task, policy=policy, declared=task.declared or task.policy)


def not_passed(flow: Node) -> str:
    """Advice for callers who may have passed a resource; empty if the flow is no such task."""
    if not isinstance(flow, Task) or not flow.resources:
        return ""
    names = " and ".join(each.name for each in flow.resources)
    return f"Leave out {names}, which the worker gives to the task, and check the other arguments."


class Parameters:
    """The signature of a task, as `inspect.signature` shows it: without its resources."""

    def __get__(self, task: Task | None, kind: type) -> inspect.Signature:
        if task is None:
            raise AttributeError("__signature__")
        return task.signature.python
