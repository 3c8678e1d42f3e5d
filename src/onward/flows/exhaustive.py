"""Checks that a `case` has a branch for each type that may come, and no further branch."""

from __future__ import annotations

from onward.codec import Annotation
from onward.codec.labels import Label, labels
from onward.flows.annotations import fits, is_open, plain, shown
from onward.flows.nodes import Case
from onward.flows.routes import branch_for, routes_of, taken


def lack(flow: Case, given: Annotation) -> str | None:
    """What a case lacks for the values of a type, with what to do; None if it lacks nothing."""
    routes = routes_of(flow)
    for label in _labels(given):
        at = branch_for(routes, label)
        member = label.member
        if is_open(member) or (at is not None and fits(member, flow.kinds[at])):
            continue
        wider = [shown(kind) for kind in flow.kinds if fits(member, kind)]
        if not wider:
            return f"it has no case for {shown(member)}, so add .case({shown(member)}, ...)"
        if label.tags:
            return (
                f"values of {shown(member)} do not go to its case for {wider[0]}, so add "
                f".case({shown(member)}, ...)"
            )
        return (
            f"{shown(member)} does not travel with its type's name, so annotate what gives it as "
            f"{shown(taken(flow))}"
        )
    return None


def unreached(flow: Case, given: Annotation) -> list[Annotation]:
    """The types for which a case has a branch, and which no value of a type has.

    If no value has any of them, the case lacks all that comes, and none is given.
    """
    every = _labels(given)
    if not every or any(is_open(label.member) for label in every):
        return []
    routes = routes_of(flow)
    reached: set[int] = set()
    for label in every:
        at = branch_for(routes, label)
        by_type = (at for at, kind in enumerate(flow.kinds) if fits(label.member, kind))
        reached.update(by_type if at is None else (at,))
    return [kind for at, kind in enumerate(flow.kinds) if reached and at not in reached]


def _labels(given: Annotation) -> list[Label]:
    if is_open(given):
        return []
    try:
        return labels(plain(given))
    except TypeError:  # it is made of types that no task has, so nothing can be said of it
        return []
