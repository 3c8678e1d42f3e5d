"""Submissions that share a key, of which one call at a time is open."""

from __future__ import annotations

from datetime import timedelta

from msgspec.structs import replace

from onward.backend import Submission, Unique
from onward.fault import Fault, Misconfigured
from onward.flows.flow import AnyFlow
from onward.interpret.keys import id_of_key
from onward.interpret.prepare import seconds_of


def with_unique(
    prepared: Submission | Fault,
    flow: AnyFlow,
    unique: str | None,
    debounce: float | timedelta | None = None,
) -> Submission | Fault:
    """Adds `unique=` and `debounce=` to a submission, or says what is wrong with them.

    Args:
        prepared: The submission without them, or what is wrong with it.
        flow: Its flow. Equal keys of two flows have nothing to do with each other.
        unique: The key that one open call at a time has; None for no such key.
        debounce: How long no later submission may come before the call starts.
    """
    if isinstance(prepared, Fault) or (unique is None and debounce is None):
        return prepared
    try:
        return _checked(prepared, flow, unique, debounce)
    except (TypeError, ValueError) as problem:
        return Misconfigured(flow.name, str(problem))


def _checked(
    prepared: Submission, flow: AnyFlow, unique: str | None, debounce: float | timedelta | None
) -> Submission:
    if unique is None:
        raise ValueError("debounce needs a key by which later submissions are known: add unique=")
    slot = id_of_key("unique", flow, unique)
    if prepared.plan.key is not None:
        raise ValueError(
            "key= and unique= exclude each other: with key=, the call is submitted once for as "
            "long as its outcome is kept; with unique=, once until it has ended"
        )
    if debounce is None:
        return replace(prepared, unique=Unique(slot))
    if prepared.delay:
        raise ValueError("debounce= says when the call starts: leave delay= out")
    seconds = seconds_of("debounce", debounce)
    return replace(prepared, delay=seconds, unique=Unique(slot, replaces=True))
