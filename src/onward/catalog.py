"""`Catalog`: the tasks and named flows that a worker serves, by name."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType, ModuleType
from typing import Any, TypeAlias

from onward.codec import Tagged
from onward.flows.flow import AnyFlow, AnyTask, Flow, Named, Task
from onward.flows.frozen import immutable
from onward.flows.names import one_of_namesakes
from onward.flows.nodes import walk
from onward.flows.unfinished import Unfinished
from onward.limit import StepLimit, on_wire
from onward.plan import walk as walk_nodes
from onward.policy import Delivery, check_reserved
from onward.unanswered import AWAITS, errors_of_awaits

Tasks: TypeAlias = Mapping[str, AnyTask]

NOTHING: Mapping[str, Any] = MappingProxyType({})


@immutable
@dataclass(frozen=True, slots=True, init=False, repr=False, eq=False, weakref_slot=True)
class Catalog:
    """The tasks and named flows that a worker serves. It runs nothing else.

    Args:
        served: Tasks and flows. A flow brings all of its tasks and named flows along.
        tasks: More tasks, by name.
        flows: More named flows, by name.

    Raises:
        TypeError: If an argument is not a flow.
        ValueError: If two different tasks, or two different flows, share a name, or if a name is
            reserved. Names that start with `onward.` or `celery.` are, for example.

    Example:
        >>> from onward import Catalog, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> Catalog((double >> double).named("fourfold"))
        Catalog(double, fourfold)
    """

    tasks: Tasks
    """The tasks, by name."""

    flows: Mapping[str, AnyFlow]
    """The named flows, by name."""

    def __init__(
        self,
        *served: Flow[..., object, object],
        tasks: Mapping[str, Flow[..., object, object]] = NOTHING,
        flows: Mapping[str, Flow[..., object, object]] = NOTHING,
    ) -> None:
        its_tasks: dict[str, AnyTask] = {}
        named: dict[str, Named[..., Any, Any]] = {}
        for flow in (*served, *tasks.values(), *flows.values()):
            if not isinstance(flow, Flow):
                raise TypeError(
                    f"a Catalog holds tasks and flows, not {flow!r}: put @task on the function, "
                    "or write Catalog.of(module)"
                )
            for each in walk(flow):
                if isinstance(each, Task | Named):
                    check_reserved(each.name)
                if isinstance(each, Task):
                    known = its_tasks.get(each.name, each)
                    its_tasks[each.name] = one_of_namesakes(known, each)
                elif (
                    isinstance(each, Named) and named.setdefault(each.name, each).body != each.body
                ):
                    raise ValueError(
                        f"two flows are named {each.name!r}, {named[each.name].body!r} and "
                        f"{each.body!r}: give one of them another name"
                    )
        check_shared_limits(its_tasks.values())
        for name in named.keys() & its_tasks.keys():
            raise ValueError(f"a task and a flow are both named {name!r}: rename one of them")
        object.__setattr__(self, "tasks", MappingProxyType(its_tasks))
        object.__setattr__(self, "flows", MappingProxyType(named))

    @property
    def queues(self) -> frozenset[str]:
        """The queues that its tasks and flows name."""
        nodes = [task.node for task in self.tasks.values()]
        nodes += [node for flow in self.flows.values() for node in walk_nodes(flow.node)]
        named = (node.queue for node in nodes if isinstance(node, Delivery))
        return frozenset(queue for queue in named if queue)

    def with_tasks(self, tasks: Tasks) -> Catalog:
        """The same names, with other tasks behind them: such as ones that observers follow."""
        other = Catalog()
        object.__setattr__(other, "tasks", tasks)
        object.__setattr__(other, "flows", self.flows)
        return other

    @classmethod
    def of(cls, *modules: ModuleType | str) -> Catalog:
        """Makes a catalog of all tasks and flows at the top level of modules.

        Args:
            modules: Modules, or their names.

        Raises:
            TypeError: If an argument is not a module, or a task lacks a resource.
            ImportError: If there is no module of that name.
            ValueError: If the modules have no task, or if two tasks or flows share a name.
        """
        for module in modules:
            if not isinstance(module, ModuleType | str):
                raise TypeError(f"{module!r} is not a module: write Catalog.of(my.tasks)")
        loaded = [importlib.import_module(m) if isinstance(m, str) else m for m in modules]
        values: list[Any] = [value for module in loaded for value in vars(module).values()]
        # Not `isinstance`, which would have a lazy object of Django's load its settings.
        for value in values:
            if issubclass(type(value), Unfinished):
                raise value.problem
        catalog = cls(*(value for value in values if issubclass(type(value), Flow)))
        if not catalog.tasks:
            names = ", ".join(module.__name__ for module in loaded)
            raise ValueError(f"{names} has no task at its top level: put @task on its functions")
        return catalog

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Catalog):
            return NotImplemented
        return (self.tasks, self.flows) == (other.tasks, other.flows)

    def __hash__(self) -> int:
        return hash((frozenset(self.tasks.values()), frozenset(self.flows.values())))

    def __copy__(self) -> Catalog:
        return self

    def __deepcopy__(self, memo: object) -> Catalog:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Catalog, (*self.tasks.values(), *self.flows.values())

    def __contains__(self, name: object) -> bool:
        return name in self.tasks or name in self.flows

    def __iter__(self) -> Iterator[str]:
        yield from sorted([*self.tasks, *self.flows])

    def __len__(self) -> int:
        return len(self.tasks) + len(self.flows)

    def __repr__(self) -> str:
        return f"Catalog({', '.join(self)})"


def check_shared_limits(tasks: Iterable[AnyTask]) -> None:
    """Raises ValueError if tasks share the name of a limit, and its numbers differ."""
    known: dict[str, tuple[str, StepLimit]] = {}
    for task in tasks:
        if task.policy.limit is None:
            continue
        limit = on_wire(task.policy.limit, task.name)
        other, its = known.setdefault(limit.name, (task.name, limit))
        if its != limit:
            raise ValueError(
                f"tasks {other!r} and {task.name!r} share the limit {limit.name!r}, and its "
                "numbers differ: give both the same Limit, or each a name of its own"
            )


def errors_of(tasks: Tasks, name: str) -> Tagged | None:
    """The error codec of a task; None if the task is missing or has none."""
    if name == AWAITS:
        return errors_of_awaits()
    task = tasks.get(name)
    return None if task is None else task.signature.errors
