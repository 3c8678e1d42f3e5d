"""Checks a signal against the flow that it is sent to, and encodes its value."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar

from msgspec import Raw

from onward.codec import Refused
from onward.fault import BadPayload, Fault, Misconfigured
from onward.flows.flow import AnyFlow
from onward.flows.node import signals_of
from onward.flows.signals import Signal
from onward.plan import AwaitsNode, Plan, walk

S = TypeVar("S")


def signal_value(flow: AnyFlow, signal: Signal[S], value: S) -> Raw | Fault:
    """The JSON of a signal's value, or what is wrong with it.

    Raises:
        TypeError: If it is no signal.
    """
    if not isinstance(signal, Signal):
        raise TypeError(f"send takes a Signal, not {signal!r}: write Signal(name, type)")
    known = signal_named(flow, signal.name)
    if isinstance(known, Fault):
        return known
    if known.type != signal.type:
        return BadPayload(
            flow.name,
            f"signal {signal.name!r} has the type {signal.type_name}, and the flow waits for one "
            f"with {known.type_name}",
            advice="Send the signal that the flow was made with.",
        )
    try:
        return Raw(signal.codec.encode(value))
    except Refused as refused:
        message = f"the value of signal {signal.name!r}: {refused.reason}"
        return BadPayload(flow.name, message, refused.path)


def signal_named(flow: AnyFlow, name: str) -> Signal[Any] | Fault:
    """The signal of a name that a flow waits for, or the fault if it waits for none."""
    awaited = signals_of(flow)
    return awaited[name] if name in awaited else _waits_for_none(name, awaited, flow.name)


def unknown_signal(plan: Plan, name: str) -> Fault | None:
    """The fault if a plan waits for no signal of a name. Of its type, a plan says nothing."""
    awaited = {node.signal for node in walk(plan.root) if isinstance(node, AwaitsNode)}
    return None if name in awaited else _waits_for_none(name, awaited, plan.flow)


def _waits_for_none(name: str, awaited: Collection[str], flow: str) -> Fault:
    known = f"it waits for {', '.join(map(repr, sorted(awaited)))}" if awaited else "it has none"
    return Misconfigured(flow, f"the flow waits for no signal {name!r}: {known}")
