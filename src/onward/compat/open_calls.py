"""Says which calls in flight do not fit a catalog."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from onward.catalog import Catalog
from onward.codec import Refused
from onward.past import node_at
from onward.plan import (
    NO_ARGS,
    Args,
    ChainNode,
    FinallyNode,
    FixedNode,
    FusedNode,
    KeepNode,
    NamedNode,
    Node,
    Plan,
    RescueNode,
    StepNode,
    TeeNode,
    TogetherNode,
    children,
)


def misfits(plan: Plan, ended: Collection[str], catalog: Catalog) -> Iterator[str]:
    """Says why a call cannot go on with the tasks of a catalog.

    Args:
        plan: The call's plan.
        ended: The paths of the steps that have ended.
        catalog: The tasks.
    """
    over = {id(node_at(plan.root, path)) for path in ended}
    for step, args in _steps(plan.root, plan.args):
        if id(step) in over:
            continue
        task = catalog.tasks.get(step.task)
        if task is None:
            yield f"{step.task}: the task is gone"
            continue
        given = step.given
        skip = 0 if args is not None else 1  # the value of the step before, which is not known
        own = NO_ARGS if args is None else args
        both = Args(own.positional + given.positional, {**own.keyword, **given.keyword})
        try:
            task.signature.decode(both, skip=skip)
        except Refused as refused:
            yield f"{step.task}: {refused.reason} at {refused.path}"


def _steps(node: Node, args: Args | None) -> Iterator[tuple[StepNode, Args | None]]:
    """The steps of a plan, with the arguments of those that take the call's own."""
    match node:
        case StepNode():
            yield node, args
        case ChainNode([first, *others]):
            yield from _steps(first, args)
            for each in others:
                yield from _steps(each, None)
        case TogetherNode(branches):
            for each in branches:
                yield from _steps(each, args)
        case RescueNode(body, other) | FinallyNode(body, other):
            yield from _steps(body, args)
            yield from _steps(other, None)
        case NamedNode(_, body) | FusedNode(body=body) | KeepNode(body) | TeeNode(body):
            yield from _steps(body, args)
        case FixedNode(body, own):
            yield from _steps(body, own)
        case _:
            for each in children(node):
                yield from _steps(each, None)
