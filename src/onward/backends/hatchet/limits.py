"""Limits of tasks over all workers, which the engine enforces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

import msgspec

from onward.backends.hatchet import names
from onward.catalog import Catalog
from onward.fault import Fault, Misconfigured
from onward.plan import FusedNode, Node, StepNode, walk
from onward.url import instead_of

Per: TypeAlias = Literal["second", "minute", "hour", "day", "week", "month", "year"]
"""The length of a rate's window."""

_MOST = 1_000_000_000


class Limit(msgspec.Struct, frozen=True):
    """How much of a task runs, over all workers.

    A step that waits for its turn waits in the engine, and occupies no worker. Each worker that
    declares the task declares its limit; if they differ, the one that started last counts.

    Args:
        concurrency: How many of its steps may run at a time, both single calls and steps of
            flows. A step that is ready and finds no worker counts as running.
        rate: How many of its steps workers may receive in each window of time. A retry does not
            count, because the worker makes it within the same step; a step that another worker
            takes over does. The windows are fixed: around the end of one, up to two windows'
            steps may begin.
        per: The length of a window.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If it is out of bounds.

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
    """A copy of what was passed for limits; raises TypeError for what is none."""
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
    """The engine's key for a task's rate limit."""
    return f"onward.{names.workflow(task, prefix)}"


def unkept(catalog: Catalog, limits: Limits) -> Misconfigured | None:
    """The limit that a catalog's flows would break, if any."""
    for name in limits:
        if name not in catalog.tasks:
            message = f"limits: the catalog has no task {instead_of(name, catalog.tasks)}"
            return Misconfigured(name, message)
    found = (unkept_in(flow.node, limits) for flow in catalog.flows.values())
    return next(filter(None, found), None)


def wrong_in(root: Node, limits: Limits) -> list[Fault]:
    """What is wrong with a plan before it is sent: its names, and limits it would break."""
    found = (names.wrong(names.named_in(root)), unkept_in(root, limits))
    return [wrong for wrong in found if wrong is not None]


def unkept_in(root: Node, limits: Limits) -> Misconfigured | None:
    """The limit that a plan would break, if any."""
    if not limits:
        return None
    for fused in (node for node in walk(root) if isinstance(node, FusedNode)):
        for node in walk(fused.body):
            if isinstance(node, StepNode) and node.task in limits:
                return Misconfigured(
                    node.task,
                    "it has a limit, which Hatchet cannot enforce within fused, where it is not a "
                    "step of its own: leave it out of fused, or out of limits",
                )
    return None
