"""What every kind of node has, and what follows from its parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Self

from msgspec import Struct

from onward.flows.frozen import Compared
from onward.plan import MAX_DEPTH
from onward.plan import Node as PlanNode

if TYPE_CHECKING:
    from onward.flows.signals import Signal


class Computed(Struct):
    """What was computed from a node, each on its first use; None until then."""

    name: str | None = None
    steps: tuple[Node, ...] | None = None
    signals: Mapping[str, Signal[Any]] | None = None
    tasks: dict[str, Any] | None = None
    lowered: PlanNode | None = None
    travelling: tuple[PlanNode, int] | None = None


class Node(Compared):
    """A flow as data, and what was computed from it.

    Its kinds are dataclasses with constructors of their own: `dataclass` would compile one for each
    kind, at every import.
    """

    __slots__ = ("__weakref__", "computed", "depth")

    computed: Computed
    depth: int
    """How deep its parts nest; a chain adds no depth."""

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        kept: Any = self  # every kind is a dataclass
        return type(self), tuple(getattr(self, each.name) for each in fields(kept))


class Pair(Node):
    """One flow after another: all that a chain consists of."""

    __slots__ = ("first", "then")

    first: Node
    then: Node


def begin(node: Node, **values: object) -> None:
    """Sets the fields of a new node, and what follows from its parts."""
    set_fields(node, **values)
    inside = [*_nodes_among(values.values())]
    computed = Computed(signals=merged_signals(*inside))
    set_fields(node, depth=_depth_over(*inside), computed=computed)


def set_fields(node: Node, **values: object) -> None:
    """Sets fields of a node that is being made."""
    for name, value in values.items():
        object.__setattr__(node, name, value)


def _nodes_among(values: Iterable[object]) -> Iterator[Node]:
    for value in values:
        if isinstance(value, Node):
            yield value
        elif isinstance(value, tuple):
            yield from (each for each in value if isinstance(each, Node))


_NO_SIGNALS: Final[Mapping[str, Signal[Any]]] = MappingProxyType({})


def signals_of(flow: Node) -> Mapping[str, Signal[Any]]:
    """The signals that a flow waits for, by their names.

    Raises:
        ValueError: If two signals of one name have different types.
    """
    known = flow.computed.signals
    if known is None:  # only of chains, because they are made in large numbers
        todo: list[Node] = [flow]
        inside: list[Node] = []
        while todo:
            part = todo.pop()
            if isinstance(part, Pair) and part.computed.signals is None:
                todo += (part.then, part.first)
            elif part.computed.signals:
                inside.append(part)
        known = flow.computed.signals = merged_signals(*inside)
    return known


def merged_signals(*flows: Node) -> Mapping[str, Signal[Any]]:
    """The signals of several flows; raises ValueError if two of one name have different types."""
    found = _NO_SIGNALS
    for its in filter(None, map(signals_of, flows)):
        for name in found.keys() & its.keys():
            if found[name].type != its[name].type:
                raise ValueError(
                    f"two signals are named {name!r}, one with {found[name].type_name} and one "
                    f"with {its[name].type_name}: give one of them another name"
                )
        found = {**found, **its} if found else its
    return found


def _depth_over(*inner: Node) -> int:
    """How deep a flow of these parts nests; raises ValueError if it is too deep to travel."""
    depth = 1 + max((part.depth for part in inner), default=0)
    if depth > MAX_DEPTH:
        raise ValueError(
            f"flows nest at most {MAX_DEPTH} deep: make a task of the inner ones, or chain them"
        )
    return depth
