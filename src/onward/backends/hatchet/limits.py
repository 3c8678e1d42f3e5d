"""The limits of tasks over all workers, which the engine enforces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

import msgspec

from onward.backend.features import Feature
from onward.backends.hatchet import names
from onward.catalog import Catalog
from onward.fault import Fault, Misconfigured
from onward.plan import FusedNode, Node, StepNode, walk
from onward.url import instead_of

LACKS: Mapping[Feature, str] = MappingProxyType(
    {
        "rate": (
            "the engine counts a rate in windows that follow one another, so twice as many could "
            "begin around the end of one. Limit the concurrency, or use hatchet(limits=...), which "
            "has such rates"
        )
    }
)
"""What Hatchet cannot keep to."""

Per: TypeAlias = Literal["second", "minute", "hour", "day", "week", "month", "year"]
"""The length of a rate's window."""

_MOST = 1_000_000_000


class Limit(msgspec.Struct, frozen=True):
    """The limit of a task, over all workers.

    A step that waits for the limit waits in the engine, and occupies no worker. Each worker that
    declares the task also declares its limit. If they differ, the limit of the worker that started
    last is used.

    Args:
        concurrency: How many steps of the task may run at the same time, as single calls and as
            steps of flows. A step that is ready but has no worker counts as running.
        rate: How many steps of the task workers may receive in each window of time. A retry does
            not count, because the worker makes it within the same step. A step that another worker
            takes over does count. The windows are fixed, so around the end of one, the steps of two
            windows may begin.
        per: The length of a window.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.

    Example:
        >>> Limit(concurrency=5, rate=10, per="minute")
        Limit(concurrency=5, rate=10, per='minute')
    """

    concurrency: int | None = None
    rate: int | None = None
    per: Per = "second"

    def __post_init__(self) -> None:
        if self.concurrency is None and self.rate is None:
            raise ValueError(
                "a limit has a concurrency, a rate or both: write Limit(concurrency=5) or "
                'Limit(rate=10, per="second")'
            )
        _check_count("concurrency", self.concurrency, "5")
        _check_count("rate", self.rate, '10, per="second"')
        if self.per not in get_args(Per):
            raise ValueError(f"per is one of {', '.join(get_args(Per))}, not {self.per!r}")


def _check_count(what: str, count: int | None, example: str) -> None:
    if count is None:
        return
    if isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"{what} is a whole number, not {count!r}: write {what}={example}")
    if not 1 <= count <= _MOST:
        raise ValueError(
            f"{what} is from 1 to {_MOST}, not {count}: write {what}={example}, or leave it out "
            "for no limit"
        )


Limits: TypeAlias = Mapping[str, Limit]
"""The limits of tasks, by the tasks' names."""


def checked(limits: Limits | None) -> Limits:
    """Checks and copies limits; raises TypeError if they are not limits."""
    if limits is None:
        return {}
    if not isinstance(limits, Mapping):
        raise TypeError(
            f"limits are by the names of tasks, not {limits!r}: "
            'write limits={"fetch": Limit(concurrency=5)}'
        )
    for name, limit in limits.items():
        if not isinstance(name, str):
            raise TypeError(f"limits are by the names of tasks, not by {name!r}: pass task.name")
        if not isinstance(limit, Limit):
            raise TypeError(f"the limit of {name!r} is a Limit, not {limit!r}")
    return dict(limits)


def key(task: str, prefix: str) -> str:
    """Returns the engine's key of a task's rate limit."""
    return f"onward.{names.workflow(task, prefix)}"


def unenforceable(catalog: Catalog, limits: Limits) -> Misconfigured | None:
    """Returns a fault if a limit cannot be enforced in a catalog's flows, or None."""
    for name in limits:
        if name not in catalog.tasks:
            message = f"limits: the catalog has no task {instead_of(name, catalog.tasks)}"
            return Misconfigured(name, message)
    found = (unenforceable_in(flow.node, limits) for flow in catalog.flows.values())
    return next(filter(None, found), None)


def faults_in(root: Node, limits: Limits) -> list[Fault]:
    """Returns what Hatchet cannot run of a plan: invalid names, and limits it cannot enforce."""
    found = (names.fault_of(names.named_in(root)), unenforceable_in(root, limits))
    return [wrong for wrong in found if wrong is not None] + [*_of_policies(root, limits)]


def _of_policies(root: Node, limits: Limits) -> Iterator[Fault]:
    """Yields a fault for each task with a limit in its policy and another one of the backend."""
    for node in walk(root):
        if isinstance(node, StepNode) and node.limit is not None and node.task in limits:
            yield Misconfigured(
                node.task,
                "it has one limit in its policy and another one in hatchet(limits=...): leave one "
                "of them out",
            )


def unenforceable_in(root: Node, limits: Limits) -> Misconfigured | None:
    """Returns a fault if a limit cannot be enforced in a plan, or None."""
    if not limits:
        return None
    for fused in (node for node in walk(root) if isinstance(node, FusedNode)):
        for node in walk(fused.body):
            if isinstance(node, StepNode) and node.task in limits:
                return Misconfigured(
                    node.task,
                    "it has a limit, which Hatchet cannot enforce within fused, because it is not "
                    "a step of its own there: leave it out of fused, or out of limits",
                )
    return None
