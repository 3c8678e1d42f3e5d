"""The types of what a flow gives, where the type of what goes in is known."""

from __future__ import annotations

import types
from typing import Any, Never

from onward.codec import Annotation, element
from onward.flows.annotations import tuple_of, union_of
from onward.flows.node import Node
from onward.flows.nodes import (
    Awaits,
    Case,
    Chain,
    Each,
    Finally,
    Fixed,
    Fused,
    Given,
    Identity,
    Keep,
    Named,
    Rescue,
    Sleep,
    Spread,
    Task,
    Tee,
    Together,
    kind,
)


def gives(flow: Node, taken: Annotation = Any) -> Annotation:
    """The type of a flow's value.

    Args:
        flow: The flow.
        taken: The type of its input, which matters to flows that pass it on.
    """
    match kind(flow):
        case Task() as task:
            signature = task.signature
            return Never if signature.never_returns else signature.returns.annotation
        case Identity() | Tee() | Sleep():
            return taken
        case Awaits(signal):
            return signal.type
        case Chain(steps):
            for step in steps:
                taken = gives(step, taken)
            return taken
        case Together(branches):
            return tuple_of([gives(branch, taken) for branch in branches])
        case Each(step):
            item = Any if taken is Any else element(taken, 0)
            return types.GenericAlias(list, (gives(step, item),))
        case Keep(step):
            return tuple_of([taken, gives(step, taken)])
        case Given(inner) | Rescue(inner) | Finally(inner) | Fused(inner) | Named(inner):
            return gives(inner, taken)
        case Spread(inner) | Fixed(inner):
            return gives(inner)
        case Case(kinds, branches) as choice:
            value = choice._value
            if value is None:
                value = union_of([gives(*each) for each in zip(branches, kinds, strict=True)])
                object.__setattr__(choice, "_value", value)
            return value


def writers(flow: Node, taken: Annotation = Any) -> list[Annotation]:
    """The types by which the steps write a flow's value that may end it.

    A rescue's value is written by its handler, whose type may be narrower than that of the body.
    """
    match kind(flow):
        case Chain() as chain:
            first, then = chain.first, chain.then
            if isinstance(then, Identity | Tee | Sleep):
                return writers(first, taken)
            return writers(then, gives(first, taken) if _passes_on(then) else Any)
        case Rescue(body, handler):
            return [*writers(body, taken), *writers(handler)]
        case Given(inner) | Finally(inner) | Fused(inner) | Named(inner):
            return writers(inner, taken)
        case Spread(inner) | Fixed(inner):
            return writers(inner)
        case _:
            return [gives(flow, taken)]


def _passes_on(flow: Node) -> bool:
    return not isinstance(flow, Task | Case | Fixed | Spread | Awaits)
