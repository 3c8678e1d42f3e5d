"""A plan in Hatchet's terms: a named flow as a DAG, whose steps the dashboard shows.

A DAG is a fixed set of steps, each of which runs once all its parents gave values. A flow that
needs more (`each`, `rescue`) runs in the evaluator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from msgspec import Struct

from onward.backends.hatchet import names
from onward.backends.hatchet.limits import Limits
from onward.evaluate import gather
from onward.outcome import Outcome, Value
from onward.plan import (
    Args,
    ChainNode,
    EachNode,
    FixedNode,
    FusedNode,
    KeepNode,
    NamedNode,
    Node,
    RescueNode,
    Runnable,
    SpreadNode,
    StepNode,
    TeeNode,
    TogetherNode,
)

Source: TypeAlias = str | tuple["Source", ...]
"""Where a step's argument comes from: a place, several as an array, or "" for the call's own."""

_MOST = 100
"""How many steps a DAG has at most; the steps of a longer flow are runs of their own."""


class Part(Struct, frozen=True):
    """One step of a DAG.

    Args:
        name: Its name in the dashboard, unique within the DAG.
        at: Its place within the plan.
        step: What it runs.
        source: Where its argument comes from.
    """

    name: str
    at: str
    step: Runnable
    source: Source


class Dag(Struct, frozen=True):
    """The steps of a flow, and where its value comes from.

    Args:
        parts: The steps, each after those it depends on.
        source: Where the value of the whole comes from.
    """

    parts: tuple[Part, ...]
    source: Source

    def part(self, name: str) -> Part | None:
        """The step of a name."""
        return next((part for part in self.parts if part.name == name), None)

    def parents(self, part: Part) -> list[str]:
        """The taken of the steps that a step waits for."""
        taken = {each.at: each.name for each in self.parts}
        return [taken[place] for place in dict.fromkeys(places(part.source))]

    @property
    def shape(self) -> tuple[object, ...]:
        """What the engine knows of it; two flows with one shape are the same DAG there."""
        parts = ((each.name, each.source, each.step.queue) for each in self.parts)
        return (*parts, self.source)


def dag_of(root: Node) -> Dag | None:
    """A plan's root as a DAG; None if a DAG cannot express it."""
    parts: list[Part] = []
    taken: dict[str, int] = {}
    try:
        source = _line(root, "", "", parts, taken)
    except _NotADag:
        return None
    return Dag(tuple(parts), source) if 0 < len(parts) <= _MOST else None


def lowered(root: Node, limits: Limits) -> Dag | None:
    """A plan's root as the DAG to declare; None if it runs in the evaluator.

    Hatchet counts the steps of each workflow separately. So a task with a limit of concurrency must
    run in one workflow only, its own, and a flow that has it as a step is not declared as a DAG.

    Args:
        root: The plan's root.
        limits: The limits of tasks.
    """
    dag = dag_of(root)
    if dag is None or any(
        isinstance(part.step, StepNode)
        and part.step.task in limits
        and limits[part.step.task].concurrency is not None
        for part in dag.parts
    ):
        return None
    return dag


class _NotADag(Exception):
    """A DAG cannot express the plan."""


def _line(node: Node, at: str, source: Source, parts: list[Part], taken: dict[str, int]) -> Source:
    """Adds a node's steps, and gives where its value comes from."""
    match node:
        case StepNode() | FusedNode():
            if node.priority is not None:  # a DAG has one priority for all its steps
                raise _NotADag
            name = _name(node, taken)
            parts.append(Part(name, at or "0", node, source))
            return at or "0"
        case NamedNode(_, body):
            return _line(body, at, source, parts, taken)
        case ChainNode(steps) if steps:
            prefix = f"{at}." if at else ""
            for index, step in enumerate(steps):
                source = _line(step, f"{prefix}{index}", source, parts, taken)
            return source
        case TogetherNode(branches):
            return tuple(
                _line(branch, f"{at}[{index}]", source, parts, taken)
                for index, branch in enumerate(branches)
            )
        case _:
            raise _NotADag


def _name(step: Runnable, taken: dict[str, int]) -> str:
    base = step.task.lower() if isinstance(step, StepNode) else "fused"
    count = taken[base] = taken.get(base, 0) + 1
    if count == 1:
        return base
    name = f"{base}-{count}"
    # The name of another task may equal this one with its number.
    return name if name not in taken else _name(step, taken)


def places(source: Source) -> Iterator[str]:
    """The places that an argument comes from."""
    if isinstance(source, tuple):
        for each in source:
            yield from places(each)
    elif source:
        yield source


def resolve(source: Source, args: Args, outcomes: Mapping[str, Outcome]) -> Args | Outcome:
    """The arguments of a step.

    Args:
        source: Where they come from.
        args: The call's own arguments.
        outcomes: The outcomes so far, by place; a missing one raises `KeyError`.

    Returns:
        The arguments, or the failure that replaces them.
    """
    if source == "":
        return args
    outcome = _outcome(source, outcomes)
    return Args((outcome.raw,)) if isinstance(outcome, Value) else outcome


def _outcome(source: Source, outcomes: Mapping[str, Outcome]) -> Outcome:
    if isinstance(source, tuple):
        return gather([_outcome(each, outcomes) for each in source])
    return outcomes[source]


def explain(root: Node, prefix: str, limits: Limits) -> str:
    """The workflow that runs a plan's root, and its steps, as text for people.

    Args:
        root: The plan's root.
        prefix: What the names of workflows begin with.
        limits: The limits of tasks.
    """
    if isinstance(root, StepNode):
        return names.workflow(root.task, prefix)
    if isinstance(root, FusedNode):
        return f"{names.workflow(names.FUSED, prefix)}({_contents(root.body)})"
    if not isinstance(root, NamedNode):
        return f"{names.workflow(names.FLOW, prefix)}({_contents(root)})"
    dag = lowered(root, limits)
    inside = _contents(root.body) if dag is None else _dag_text(dag)
    return f"{names.workflow(root.name, prefix)}({inside})"


def _dag_text(dag: Dag) -> str:
    texts: list[str] = []
    for part in dag.parts:
        parents = " & ".join(dag.parents(part))
        texts.append(f"{part.name} <- {parents}" if parents else part.name)
    return ", ".join(texts)


def _contents(node: Node) -> str:
    if isinstance(node, ChainNode):
        return ", ".join(map(_text, node.steps)) or "identity"
    return _text(node)


def _text(node: Node) -> str:
    match node:
        case StepNode(task=name):
            return name
        case ChainNode():
            return f"chain({_contents(node)})"
        case TogetherNode(branches):
            return f"together({', '.join(map(_text, branches))})"
        case EachNode(body):
            return f"each({_contents(body)})"
        case RescueNode(body, handler):
            return f"{_text(body)} (rescue {_text(handler)})"
        case FusedNode(body=body):
            return f"{names.FUSED}({_contents(body)})"
        case NamedNode(_, body):
            return _text(body)
        case KeepNode(body) | TeeNode(body) | SpreadNode(body) | FixedNode(body):
            return f"{type(node).__struct_config__.tag}({_contents(body)})"
