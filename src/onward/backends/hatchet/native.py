"""A named flow as a DAG of Hatchet: steps with parents, which its dashboard shows.

What a DAG says is a fixed set of steps, each of which runs once all before it gave values. A flow
that needs more (`each`, `rescue`) is left to the evaluator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from msgspec import Struct

from onward.evaluate import gather
from onward.outcome import Outcome, Value
from onward.plan import (
    Args,
    ChainNode,
    FusedNode,
    NamedNode,
    Node,
    Runnable,
    StepNode,
    TogetherNode,
)

Source: TypeAlias = str | tuple["Source", ...]
"""Where a step's argument is from: a place; several as one array; or "" for the call's own."""

_MOST = 100
"""How many steps a DAG has at most; what is longer is shown better as a run of its own each."""


class Part(Struct, frozen=True):
    """One step of a DAG.

    Args:
        name: What the dashboard calls it; no two of a DAG have the same.
        at: Its place within the plan.
        step: What it runs.
        source: Where its argument is from.
    """

    name: str
    at: str
    step: Runnable
    source: Source


class Dag(Struct, frozen=True):
    """The steps of a flow, and where its value is from.

    Args:
        parts: The steps, each after those that it takes from.
        source: Where the value of the whole is from.
    """

    parts: tuple[Part, ...]
    source: Source

    def part(self, name: str) -> Part | None:
        """The step of a name."""
        return next((part for part in self.parts if part.name == name), None)

    def parents(self, part: Part) -> list[str]:
        """The names of the steps that a step waits for."""
        names = {each.at: each.name for each in self.parts}
        return [names[place] for place in dict.fromkeys(places(part.source))]

    @property
    def shape(self) -> tuple[object, ...]:
        """What of it the engine is told; two flows of one shape are the same DAG there."""
        parts = ((each.name, each.source, each.step.queue) for each in self.parts)
        return (*parts, self.source)


def compiled(root: Node) -> Dag | None:
    """A plan's root as a DAG; None if it takes more than a DAG can say."""
    parts: list[Part] = []
    names: dict[str, int] = {}
    try:
        source = _line(root, "", "", parts, names)
    except _TooMuch:
        return None
    return Dag(tuple(parts), source) if 0 < len(parts) <= _MOST else None


class _TooMuch(Exception):
    """It takes more than a DAG can say."""


def _line(node: Node, at: str, source: Source, parts: list[Part], names: dict[str, int]) -> Source:
    """Adds a node's steps, and gives where its value is from."""
    match node:
        case StepNode() | FusedNode():
            if node.priority is not None:  # which a DAG has as a whole, or not at all
                raise _TooMuch
            name = _name(node, names)
            parts.append(Part(name, at or "0", node, source))
            return at or "0"
        case NamedNode(_, body):
            return _line(body, at, source, parts, names)
        case ChainNode(steps) if steps:
            prefix = f"{at}." if at else ""
            for index, step in enumerate(steps):
                source = _line(step, f"{prefix}{index}", source, parts, names)
            return source
        case TogetherNode(branches):
            return tuple(
                _line(branch, f"{at}[{index}]", source, parts, names)
                for index, branch in enumerate(branches)
            )
        case _:
            raise _TooMuch


def _name(step: Runnable, names: dict[str, int]) -> str:
    base = step.task.lower() if isinstance(step, StepNode) else "fused"
    count = names[base] = names.get(base, 0) + 1
    if count == 1:
        return base
    name = f"{base}-{count}"
    # A task may be called what the second of another one would be.
    return name if name not in names else _name(step, names)


def places(source: Source) -> Iterator[str]:
    """The places that an argument is from."""
    if isinstance(source, tuple):
        for each in source:
            yield from places(each)
    elif source:
        yield source


def resolve(source: Source, args: Args, outcomes: Mapping[str, Outcome]) -> Args | Outcome:
    """What a step takes.

    Args:
        source: Where it is from.
        args: The call's own arguments.
        outcomes: The outcomes there are, by place; a `KeyError` tells of one that is missing.

    Returns:
        The arguments; or the failure that stands in their way.
    """
    if source == "":
        return args
    outcome = _outcome(source, outcomes)
    return Args((outcome.raw,)) if isinstance(outcome, Value) else outcome


def _outcome(source: Source, outcomes: Mapping[str, Outcome]) -> Outcome:
    if isinstance(source, tuple):
        return gather([_outcome(each, outcomes) for each in source])
    return outcomes[source]
