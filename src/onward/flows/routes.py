"""Which values go to which branch of a `case`, as a plan says it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Never

from onward.codec import Annotation, Codec, Tagged, codec
from onward.codec.annotations import members
from onward.codec.base import OBJECT
from onward.codec.labels import Label, labels, tags_of, untagged
from onward.fault import Fault
from onward.flows.annotations import is_open, plain, shown, union_of
from onward.flows.node import Node
from onward.flows.nodes import (
    Case,
    Chain,
    Fused,
    Given,
    Named,
    Rescue,
    Task,
)
from onward.flows.value_types import gives, writers
from onward.routing import Field, Route


def taken(flow: Case) -> Annotation:
    """The type that a case takes."""
    return union_of(flow.kinds)


def takes(flow: Case) -> Codec:
    """The codec of what a case takes, which is made once."""
    known = flow._takes
    if known is None:
        known = codec(taken(flow))
        object.__setattr__(flow, "_takes", known)
    return known


def gives_codec(flow: Case) -> Codec:
    """The codec of a case's value, which is made once."""
    known = flow._gives
    if known is None:
        value = gives(flow)
        known = codec(None if value is Never else value)
        object.__setattr__(flow, "_gives", known)
    return known


def routes_of(flow: Case) -> tuple[Route, ...]:
    """The routes of a case, one for each branch, which are made once.

    Raises:
        TypeError: If two types, or the values of two branches, cannot be told apart.
    """
    known = flow._routes
    if known is None:
        known = _routes_of(flow)
        object.__setattr__(flow, "_routes", known)
    return known


def _routes_of(flow: Case) -> tuple[Route, ...]:
    alone = [[untagged(member) for member in members(kind)] for kind in flow.kinds]
    kinds = [frozenset[str]().union(*(label.kinds for label in each)) for each in alone]
    counts = Counter(name for each in kinds for name in each)
    fields = _fields(alone) if counts[OBJECT] > 1 else [() for _ in alone]
    value = gives(flow)
    routes = tuple(
        Route(
            tags=tuple(name for label in each for name in tags_of(label.member)),
            kinds=tuple(sorted(name for name in own if counts[name] == 1)),
            fields=told,
            keeps_tag=_keeps_tag(kind, branch),
            gives=_names(branch, kind, value),
        )
        for kind, branch, each, own, told in zip(
            flow.kinds, flow.branches, alone, kinds, fields, strict=True
        )
    )
    _check(flow, routes)
    return routes


def branch_for(routes: Sequence[Route], label: Label) -> int | None:
    """The branch that all values of a type go to; None if there is none."""
    if label.tags:
        names = label.tags
        if isinstance(label.member, type) and issubclass(label.member, Fault):
            names = tuple(each.__name__ for each in label.member.__mro__)
        found = [at for name in names for at, route in enumerate(routes) if name in route.tags]
        return found[0] if found else None
    for at, route in enumerate(routes):
        for field in route.fields:
            if field.name in label.fields and set(label.fields[field.name]) <= set(field.values):
                return at
    within = [at for at, route in enumerate(routes) if label.kinds <= set(route.kinds)]
    return within[0] if within else None


def _check(flow: Case, routes: Sequence[Route]) -> None:
    seen: set[Annotation] = set()
    for kind in flow.kinds:
        if is_open(kind):
            raise TypeError(f"case({shown(kind)}, ...) would take anything: name a type")
        for member in members(kind):
            if member in seen:
                raise TypeError(f"there are two cases for {shown(member)}: leave one out")
            seen.add(member)
    for label in labels(taken(flow)):
        at = branch_for(routes, label)
        if at is None or plain(label.member) not in map(plain, members(flow.kinds[at])):
            others = [shown(each) for each in seen if each != label.member]
            raise TypeError(
                f"a case cannot tell {shown(label.member)} from {' and '.join(sorted(others))}: "
                "their values look the same as JSON, so make each a dataclass of its own"
            )


def _fields(alone: Sequence[Sequence[Label]]) -> list[tuple[Field, ...]]:
    """The field that tells the objects of all cases apart, with its values for each case."""
    objects = [[label for label in each if OBJECT in label.kinds] for each in alone]
    every = [label for each in objects for label in each]
    for name in every[0].fields:
        if not all(name in label.fields for label in every):
            continue
        values = [value for label in every for value in label.fields[name]]
        if len(set(values)) == len(values):
            return [
                (Field(name, tuple(value for label in each for value in label.fields[name])),)
                if each
                else ()
                for each in objects
            ]
    return [() for _ in alone]


def _keeps_tag(kind: Annotation, branch: Node) -> bool:
    """Whether a branch takes a value together with the name of its type."""
    if any(label.tags for label in labels(kind)):
        return True
    first = _first(branch)
    names = [name for member in members(kind) for name in tags_of(member)]
    if isinstance(first, Case):
        inner = {name for route in routes_of(first) for name in route.tags}
        return bool(names) and inner.issuperset(names)
    if not isinstance(first, Task):
        return False
    own = first.signature.first
    return isinstance(own, Tagged) and own.has_tags and all(map(own.takes_tag, names))


def _first(branch: Node) -> Node:
    """The part of a branch that alone takes its input."""
    while True:
        match branch:
            case Chain(steps):
                branch = steps[0]
            case Given(inner) | Fused(inner) | Named(inner) | Rescue(inner, _, False):
                branch = inner
            case _:
                return branch


def _names(branch: Node, kind: Annotation, value: Annotation) -> tuple[tuple[str, str], ...]:
    """The names that the values of a branch need, each by its kind of JSON."""
    if is_open(value) or not any(label.tags for label in labels(value)):
        return ()
    found: dict[str, str] = {}
    for written in writers(branch, kind):
        for label in [] if is_open(written) else labels(written):
            for json in () if label.tags else sorted(label.kinds):
                [name] = tags_of(label.member)
                if found.setdefault(json, name) != name:
                    raise TypeError(
                        f"the values of a case are {shown(value)}, and those of one branch, "
                        f"{shown(written)}, travel without the names of their types: let it give "
                        "only one of them"
                    )
    return tuple(sorted(found.items()))
