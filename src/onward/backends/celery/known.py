"""What a call that continues another one need not send: the steps whose outcome is known."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from msgspec.structs import replace

from onward.backends.celery.lower import PASS, Chord, Part, SingleTask, is_step
from onward.backends.celery.message import CallState, Continuing, Started, outcome_of
from onward.evaluate import single_value
from onward.outcome import Value
from onward.plan import Plan, SleepNode


def passing(parts: Iterable[Part], known: Collection[str]) -> list[Part]:
    """The same parts, whose steps with a known outcome go to any worker, not to their own queues.

    Args:
        parts: The parts.
        known: The paths of the steps whose outcome is known.
    """
    return [_passing(part, known) for part in parts]


def _passing(part: Part, known: Collection[str]) -> Part:
    if isinstance(part, Chord):
        branches = tuple(tuple(passing(line, known)) for line in part.branches)
        return replace(part, branches=branches)
    is_known = part.message.at in known and is_step(part.name, part.message)
    return replace(part, name=PASS) if is_known else part


def paths_of_steps(parts: Iterable[Part]) -> Iterator[str]:
    """The paths of all steps of a sequence."""
    for part in parts:
        if isinstance(part, Chord):
            for line in part.branches:
                yield from paths_of_steps(line)
        elif is_step(part.name, part.message):
            yield part.message.at


def beginning(parts: list[Part], plan: Plan) -> tuple[list[Part], CallState]:
    """What is left of a call without the first steps whose values are known, and its state then.

    Args:
        parts: Its parts.
        plan: Its plan.
    """
    state: CallState = Started(plan.args)
    if plan.past is None:
        return parts, state
    known = plan.past.outcomes
    while len(parts) > 1 and isinstance(parts[0], SingleTask):
        message = parts[0].message
        value = known.get(message.at)
        if not (is_step(parts[0].name, message) or message.wait) or not isinstance(value, Value):
            break
        if message.handles:
            break
        if isinstance(message.wait, SleepNode):  # it passes its input on
            value = outcome_of(state) if isinstance(state, Continuing) else single_value(plan.args)
        if not isinstance(value, Value):
            break
        parts, state = parts[1:], Continuing(value.raw)
    return passing(parts, known), state
