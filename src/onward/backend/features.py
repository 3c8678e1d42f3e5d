"""The steps that not every backend can run, and which of them a backend lacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Literal, Protocol, TypeAlias

from onward.fault import Unsupported
from onward.plan import (
    VERSION,
    AwaitsNode,
    FinallyNode,
    Plan,
    SleepNode,
    cancels_on_failure,
    walk,
)

Feature: TypeAlias = Literal["sleep", "awaits", "finally", "on_failure", "past"]
"""What a plan has that needs more of a backend than a step-runner for the evaluator.

`finally` is a cleanup, `on_failure` a fan-out whose first failure cancels the other branches, and
`past` is what a call takes over from one that it continues.
"""


class Lacks(Protocol):
    """A backend that says which of these steps it cannot run, each with the reason.

    One without this attribute lacks those of `LACKED_BY_DEFAULT`: what the evaluator cannot do with
    a step-runner alone. Interpreters refuse a call with such a step before they submit it.
    """

    @property
    def lacks(self) -> Mapping[Feature, str]:
        """What it cannot run, with the reasons; empty if it can run every plan."""
        ...


NOTHING: Mapping[Feature, str] = MappingProxyType({})
"""What a backend lacks that can run every plan."""

WAITS: Mapping[Feature, str] = MappingProxyType(
    {
        "sleep": "it cannot hold a call until a moment",
        "awaits": "it cannot take a signal for a call",
    }
)
"""What a backend lacks that cannot wait without a slot."""

CLEANUPS: Mapping[Feature, str] = MappingProxyType(
    {"finally": "it cannot run a cleanup after a cancel or a deadline"}
)
"""What a backend lacks that ends a call at once when it is cancelled."""

PAST: Mapping[Feature, str] = MappingProxyType(
    {"past": "it cannot take over the outcomes of another call"}
)
"""What a backend lacks whose calls always begin at the beginning."""

LACKED_BY_DEFAULT: Mapping[Feature, str] = MappingProxyType({**WAITS, **CLEANUPS, **PAST})
"""What a backend lacks that does not say what it lacks."""


def lacking(backend: object, plan: Plan) -> list[Unsupported]:
    """What a backend lacks for a plan, as faults.

    Args:
        backend: The backend, or what submits in a transaction of one.
        plan: The plan.
    """
    lacks: Mapping[Feature, str] = getattr(backend, "lacks", LACKED_BY_DEFAULT)
    if not lacks or plan.v == VERSION:  # quick, because every submission asks
        return []
    needed = dict.fromkeys(_features(plan))
    return [
        Unsupported(plan.flow, f"{backend!r} cannot run {feature}: {lacks[feature]}")
        for feature in needed
        if feature in lacks
    ]


def _features(plan: Plan) -> Iterator[Feature]:
    if plan.past is not None:
        yield "past"
    for node in walk(plan.root):
        if isinstance(node, SleepNode):
            yield "sleep"
        elif isinstance(node, AwaitsNode):
            yield "awaits"
        elif isinstance(node, FinallyNode):
            yield "finally"
        elif cancels_on_failure(node):
            yield "on_failure"
