"""The steps that not every backend can run, and which of them a backend lacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Literal, Protocol, TypeAlias

from onward.fault import Fault, Misconfigured, Unsupported
from onward.plan import (
    VERSION,
    AwaitsNode,
    FinallyNode,
    FusedNode,
    NamedNode,
    Plan,
    SleepNode,
    StepNode,
    cancels_on_failure,
    walk,
)
from onward.policy import Delivery

Feature: TypeAlias = Literal[
    "sleep", "awaits", "finally", "on_failure", "past", "limit", "call_limit", "rate"
]
"""What a plan has that needs more of a backend than a step-runner for the evaluator.

`finally` is a cleanup, `on_failure` a fan-out whose first failure cancels the other branches, and
`past` is what a call takes over from one that it continues. `limit` is a limit of a step,
`call_limit` one of the calls of a flow, and `rate` a limit of either that has a rate.
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

LIMITS: Mapping[Feature, str] = MappingProxyType(
    {
        "limit": "it cannot keep to a limit over all workers",
        "call_limit": "it cannot keep to a limit over all workers",
        "rate": "it cannot keep to a limit over all workers",
    }
)
"""What a backend lacks that hands steps over as fast as workers take them."""

LACKED_BY_DEFAULT: Mapping[Feature, str] = MappingProxyType({**WAITS, **CLEANUPS, **PAST, **LIMITS})
"""What a backend lacks that does not say what it lacks."""


def lacking(backend: object, plan: Plan) -> list[Fault]:
    """What a backend lacks for a plan, and limits that none can keep to, as faults.

    Args:
        backend: The backend, or what submits in a transaction of one.
        plan: The plan.
    """
    lacks: Mapping[Feature, str] = getattr(backend, "lacks", LACKED_BY_DEFAULT)
    if plan.v == VERSION:  # quick, because every submission asks
        return []
    needed = dict.fromkeys(_features(plan))
    faults: list[Fault] = [
        Unsupported(plan.flow, f"{backend!r} cannot run {feature}: {lacks[feature]}")
        for feature in needed
        if feature in lacks
    ]
    if "limit" in needed:
        faults += _limited_within_fused(plan)
    if "call_limit" in needed:
        faults += _limited_within_a_flow(plan)
    return faults


def _limited_within_a_flow(plan: Plan) -> list[Fault]:
    inside = (node for node in walk(plan.root) if node is not plan.root)
    return [
        Misconfigured(
            node.name,
            f"it has the limit {node.limit.name!r}, which counts whole calls of it, and it is a "
            f"part of {plan.flow!r}: submit it as a call of its own, or give a limit to its tasks",
        )
        for node in inside
        if isinstance(node, NamedNode) and node.limit is not None
    ]


def _limited_within_fused(plan: Plan) -> list[Fault]:
    inside = {
        node.task: node.limit.name
        for fused in walk(plan.root)
        if isinstance(fused, FusedNode)
        for node in walk(fused.body)
        if isinstance(node, StepNode) and node.limit is not None
    }
    return [
        Misconfigured(
            task,
            f"it has the limit {limit!r}, and within fused, or in the chunks of each, it would "
            "hold a slot while it waits for it: leave it out of fused, or give the limit to the "
            "fused step, as in fused(flow, limit=Limit(...))",
        )
        for task, limit in inside.items()
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
        elif isinstance(node, Delivery | NamedNode) and node.limit is not None:
            yield "limit" if isinstance(node, Delivery) else "call_limit"
            if node.limit.rate is not None:
                yield "rate"
