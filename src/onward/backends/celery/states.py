"""The state of a call after a step or a fan-out. Pure."""

from __future__ import annotations

from msgspec import Raw

from onward.backends.celery.message import (
    CallState,
    Continuing,
    Failing,
    StepMessage,
    outcome_of,
)
from onward.evaluate import join, split
from onward.outcome import Faulted, Outcome, Value
from onward.plan import Args


def state_after(outcome: Outcome, message: StepMessage) -> CallState:
    """Where the call stands after a step with this outcome."""
    if isinstance(outcome, Value):
        return Continuing(outcome.raw)
    return Failing(outcome, message.inside)


def ends_with(state: CallState, message: StepMessage) -> bool:
    """Whether the call ends here: with its last task, or with a failure that no rescue is for."""
    is_lost = isinstance(state, Failing) and message.is_top and not state.inside
    return message.is_last or is_lost


def gathered(states: list[CallState], message: StepMessage) -> CallState:
    """Where a call stands after a fan-out: all the values, or the first failure."""
    values: list[Raw] = []
    for state in states:
        if isinstance(state, Failing) or (
            isinstance(state, Continuing) and state.past in message.skips
        ):
            return state
        raw = outcome_of(state).raw
        parts = split(Args((raw,))) if message.is_flat else [raw]
        if isinstance(parts, Faulted):
            return Failing(parts)
        values.extend(parts)
    return Continuing(join(values))
