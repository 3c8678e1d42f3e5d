"""What a worker serves: tasks and named flows, by name."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType, ModuleType
from typing import Any, TypeAlias

from onward.codec import Tagged
from onward.flow import Flow, Named, Task, refuse_namesakes, walk
from onward.plan import Delivery
from onward.plan import walk as walk_nodes
from onward.policy import check_reserved

Tasks: TypeAlias = Mapping[str, Task[..., Any, Any]]


class Catalog:
    """The tasks and named flows that a worker serves; it runs nothing that is not in here.

    Args:
        flows: Tasks and flows; all that a flow is composed of is served too.

    Raises:
        TypeError: If something is no flow.
        ValueError: If two different tasks, or two different flows, go by one name; or a name is
            reserved, as those are that start with `onward.` or `celery.`.

    Example:
        >>> from onward import Catalog, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> Catalog((double >> double).named("fourfold"))
        Catalog(double, fourfold)
    """

    __slots__ = ("flows", "tasks")

    tasks: Tasks
    """The tasks, by name."""

    flows: Mapping[str, Flow[..., Any, Any]]
    """The named flows, by name."""

    def __init__(self, *flows: Flow[..., object, object]) -> None:
        tasks: dict[str, Task[..., Any, Any]] = {}
        named: dict[str, Named[..., Any, Any]] = {}
        for flow in flows:
            if not isinstance(flow, Flow):
                raise TypeError(
                    f"a Catalog holds tasks and flows, not {flow!r}: put @task on the function, "
                    "or write Catalog.of(module)"
                )
            for each in walk(flow):
                if isinstance(each, Task | Named):
                    check_reserved(each.name)
                if isinstance(each, Task):
                    refuse_namesakes(tasks.setdefault(each.name, each), each)
                elif isinstance(each, Named) and named.setdefault(each.name, each) != each:
                    raise ValueError(
                        f"two flows are named {each.name!r}, {named[each.name].body!r} and "
                        f"{each.body!r}: give one of them another name"
                    )
        for name in named.keys() & tasks.keys():
            raise ValueError(f"a task and a flow are both named {name!r}: rename one of them")
        object.__setattr__(self, "tasks", MappingProxyType(tasks))
        object.__setattr__(self, "flows", MappingProxyType(named))

    @property
    def queues(self) -> frozenset[str]:
        """The queues that its tasks and flows name."""
        nodes = [task.node for task in self.tasks.values()]
        nodes += [node for flow in self.flows.values() for node in walk_nodes(flow.node)]
        named = (node.queue for node in nodes if isinstance(node, Delivery))
        return frozenset(queue for queue in named if queue)

    @classmethod
    def of(cls, *modules: ModuleType | str) -> Catalog:
        """The catalog of all tasks and flows at the top of some modules.

        Args:
            modules: Modules, or their names.

        Raises:
            TypeError: If something is no module.
            ImportError: If there is no module of that name.
            ValueError: If they hold no task at all, or namesakes.
        """
        for module in modules:
            if not isinstance(module, ModuleType | str):
                raise TypeError(f"{module!r} is no module: write Catalog.of(my.tasks)")
        loaded = [importlib.import_module(m) if isinstance(m, str) else m for m in modules]
        values: list[Any] = [value for module in loaded for value in vars(module).values()]
        catalog = cls(*(value for value in values if isinstance(value, Flow)))
        if not catalog.tasks:
            names = ", ".join(module.__name__ for module in loaded)
            raise ValueError(f"no task at the top of {names}: put @task on its functions")
        return catalog

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Catalog is frozen: cannot assign to {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Catalog is frozen: cannot delete {name!r}")

    def __copy__(self) -> Catalog:
        return self

    def __deepcopy__(self, memo: object) -> Catalog:
        return self

    def __contains__(self, name: object) -> bool:
        return name in self.tasks or name in self.flows

    def __iter__(self) -> Iterator[str]:
        yield from sorted([*self.tasks, *self.flows])

    def __len__(self) -> int:
        return len(self.tasks) + len(self.flows)

    def __repr__(self) -> str:
        return f"Catalog({', '.join(self)})"


def errors_of(tasks: Tasks, name: str) -> Tagged | None:
    """The error codec of a task, if it is here and has one."""
    task = tasks.get(name)
    return None if task is None else task.signature.errors
