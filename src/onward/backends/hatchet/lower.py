"""Lowers a named flow to a DAG, whose steps Hatchet's dashboard shows; and explains plans.

A DAG is a fixed set of steps. Each step runs when all its parents have given a value. The evaluator
runs flows that need more, such as `each` and `rescue`.
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
    AwaitsNode,
    CaseNode,
    ChainNode,
    EachNode,
    FinallyNode,
    FixedNode,
    FusedNode,
    KeepNode,
    NamedNode,
    Node,
    RescueNode,
    Runnable,
    SleepNode,
    SpreadNode,
    StepNode,
    TeeNode,
    TogetherNode,
    cancels_on_failure,
)

Source: TypeAlias = str | tuple["Source", ...]
"""The source of a step's argument: a path, several paths for an array, or "" for the call's own."""

_MOST = 100
"""The most steps of a DAG. The evaluator runs longer flows."""


class Part(Struct, frozen=True):
    """One step of a DAG.

    Args:
        name: The step's name in the dashboard, unique within the DAG.
        at: The step's path within the plan.
        step: The step that it runs.
        source: The source of its argument.
    """

    name: str
    at: str
    step: Runnable
    source: Source


class Dag(Struct, frozen=True):
    """The steps of a flow, and the source of its value.

    Args:
        parts: The steps, each after those that it depends on.
        source: The source of the flow's value.
    """

    parts: tuple[Part, ...]
    source: Source

    def part(self, name: str) -> Part | None:
        """Returns the step with a name."""
        return next((part for part in self.parts if part.name == name), None)

    def parents(self, part: Part) -> list[str]:
        """Returns the names of the steps that a step waits for."""
        name_of = {each.at: each.name for each in self.parts}
        return [name_of[path] for path in dict.fromkeys(paths(part.source))]

    @property
    def shape(self) -> tuple[object, ...]:
        """What the engine knows of the DAG. Flows with equal shapes are the same DAG to it."""
        parts = ((each.name, each.source, each.step.queue) for each in self.parts)
        return (*parts, self.source)


def any_dag(root: Node) -> Dag | None:
    """Lowers a plan's root to a DAG; returns None if a DAG cannot express it."""
    parts: list[Part] = []
    taken: dict[str, int] = {}
    try:
        source = _add_steps(root, "", "", parts, taken)
    except _NotADag:
        return None
    return Dag(tuple(parts), source) if 0 < len(parts) <= _MOST else None


def to_dag(root: Node, limits: Limits) -> Dag | None:
    """Lowers a plan's root to the DAG to declare; returns None if the evaluator runs it.

    Hatchet counts concurrency in each workflow separately. So a task with a limit of concurrency
    must run only in its own workflow, and a flow that contains it is not declared as a DAG.

    Args:
        root: The plan's root.
        limits: The limits of tasks.
    """
    dag = any_dag(root)
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


def _add_steps(
    node: Node, at: str, source: Source, parts: list[Part], taken: dict[str, int]
) -> Source:
    """Adds a node's steps to the parts; returns the source of the node's value."""
    match node:
        case StepNode() | FusedNode():
            # A DAG has one priority for all its steps, and no runs for single attempts.
            if node.priority is not None or node.limit is not None:
                raise _NotADag
            name = _name(node, taken)
            parts.append(Part(name, at or "0", node, source))
            return at or "0"
        case NamedNode(_, body, limit):
            if limit is not None:  # the evaluator begins once the call has its place
                raise _NotADag
            return _add_steps(body, at, source, parts, taken)
        case ChainNode(steps) if steps:
            prefix = f"{at}." if at else ""
            for index, step in enumerate(steps):
                source = _add_steps(step, f"{prefix}{index}", source, parts, taken)
            return source
        case TogetherNode(branches) if not cancels_on_failure(node):
            return tuple(
                _add_steps(branch, f"{at}[{index}]", source, parts, taken)
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
    # The name with the number may be another task's name.
    return name if name not in taken else _name(step, taken)


def paths(source: Source) -> Iterator[str]:
    """Returns the paths of the steps that give an argument."""
    if isinstance(source, tuple):
        for each in source:
            yield from paths(each)
    elif source:
        yield source


def resolve(source: Source, args: Args, outcomes: Mapping[str, Outcome]) -> Args | Outcome:
    """Returns the arguments of a step.

    Args:
        source: The source of the arguments.
        args: The call's own arguments.
        outcomes: The outcomes so far, by path; a missing one raises `KeyError`.

    Returns:
        The arguments; or a failure, if a step that should give them has failed.
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
    """Renders the workflow that would run a plan's root, and its steps, for people to read.

    Args:
        root: The plan's root.
        prefix: The prefix of workflow names.
        limits: The limits of tasks.
    """
    if isinstance(root, Runnable | NamedNode) and root.limit is not None:
        return f"{names.workflow(names.FLOW, prefix)}({_contents(root)})"
    if isinstance(root, StepNode):
        return names.workflow(root.task, prefix)
    if isinstance(root, FusedNode):
        return f"{names.workflow(names.FUSED, prefix)}({_contents(root.body)})"
    if not isinstance(root, NamedNode):
        return f"{names.workflow(names.FLOW, prefix)}({_contents(root)})"
    dag = to_dag(root, limits)
    inside = _contents(root.body) if dag is None else _dag_text(dag)
    return f"{names.workflow(root.name, prefix)}({inside})"


def _dag_text(dag: Dag) -> str:
    texts: list[str] = []
    for part in dag.parts:
        parents = " & ".join(dag.parents(part))
        texts.append(f"{part.name} <- {parents}" if parents else part.name)
    return ", ".join(texts)


def _option(node: Node) -> str:
    return ", on_failure='cancel'" if cancels_on_failure(node) else ""


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
            return f"together({', '.join(map(_text, branches))}{_option(node)})"
        case CaseNode(branches, routes):
            texts = (
                f"{route.text}: {_text(branch)}"
                for branch, route in zip(branches, routes, strict=True)
            )
            return f"case({', '.join(texts)})"
        case EachNode(body):
            return f"each({_contents(body)}{_option(node)})"
        case RescueNode(body, handler):
            return f"{_text(body)} (rescue {_text(handler)})"
        case FinallyNode(body, cleanup):
            return f"{_text(body)} (finally {_text(cleanup)})"
        case FusedNode(body=body):
            return f"{names.FUSED}({_contents(body)})"
        case NamedNode(_, body):
            return _text(body)
        case SleepNode() | AwaitsNode():
            return str(type(node).__struct_config__.tag)
        case KeepNode(body) | TeeNode(body) | SpreadNode(body) | FixedNode(body):
            return f"{type(node).__struct_config__.tag}({_contents(body)})"
