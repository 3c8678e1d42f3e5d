"""The metadata of runs, by which people and Onward find them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from types import MappingProxyType

import msgspec

from onward.backends.hatchet.message import DUE, KEY, RunInput
from onward.plan import Plan, Waiting, has_cleanup, walk

CALL = "onward_call"
"""The entry of a run that is a call, with the prefix of its namespace."""

OF = "onward_of"
"""The entry of a run that belongs to a call, with the call's id."""

LOOK = "onward_look"
"""The entry of a call whose state is not only that of its run; with its start, if it is delayed."""

POOL = "onward_pool"
LIMIT_KEY = "onward_limit_key"
"""The entries of an attempt at a step with a limit: whose places it needs, and its key."""

_YES, _NO = "yes", "no"
_FLOW = "flow"
_TAGS = "tags"
_TAG = "tag."
_LONGEST = 200

_READ_TAGS = msgspec.json.Decoder(tuple[str, ...])


def of_run(
    plan: Plan,
    run_input: RunInput,
    key: str,
    prefix: str,
    *,
    is_part: bool,
    place: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Makes the metadata of a run, as JSON.

    Args:
        plan: Its plan.
        run_input: Its input.
        key: Its idempotency key.
        prefix: The prefix of workflow names. It is in the key, because the engine shares keys among
            all workflows.
        is_part: Whether another run starts it.
        place: The entries by which the engine knows the place that it needs in a limit.
    """
    marks = {KEY: f"{prefix}{key}", DUE: "", _FLOW: _shortened(plan.flow)}
    if plan.key is not None:
        marks["key"] = plan.key
    if run_input.call or is_part:
        marks[CALL] = _NO  # the engine would give it the entry of the run that starts it
    if run_input.call:
        marks[OF] = run_input.call
    elif not is_part:
        marks |= of_call(plan, prefix, run_input.start)
    marks |= place
    return msgspec.json.encode(marks).decode()


def of_call(plan: Plan, prefix: str, start: float = 0.0) -> dict[str, str]:
    """Makes the entries of a call.

    Args:
        plan: Its plan.
        prefix: The prefix of workflow names.
        start: When it starts, in seconds since 1970; 0 for at once.
    """
    marks = {CALL: prefix}
    if plan.tags:
        marks[_TAGS] = msgspec.json.encode(plan.tags).decode()
        marks |= {_entry(tag): _YES for tag in plan.tags}
    is_limited = plan.deadline is not None or has_cleanup(plan)
    if start:
        marks[LOOK] = str(start)
    elif is_limited or any(isinstance(node, Waiting) for node in walk(plan.root)):
        marks[LOOK] = _YES
    return marks


def filters(prefix: str, flow: str, tags: Collection[str]) -> list[str]:
    """Returns the entries that calls of a flow with these tags have, as the engine's filters.

    Args:
        prefix: The prefix of workflow names.
        flow: The flow's name; empty for all.
        tags: The tags.
    """
    named = [f"{_FLOW}:{_shortened(flow)}"] if flow else []
    return [f"{CALL}:{prefix}", *named, *(f"{_entry(tag)}:{_YES}" for tag in sorted(tags))]


def tags_in(marks: Mapping[str, object]) -> tuple[str, ...]:
    """Returns the tags of a call."""
    try:
        return _READ_TAGS.decode(str(marks.get(_TAGS, "[]")))
    except msgspec.MsgspecError:
        return ()


def flow_in(marks: Mapping[str, object], wanted: str) -> str:
    """Returns the name of a call's flow, which is `wanted` if only its begin is known."""
    flow = str(marks.get(_FLOW, ""))
    return wanted if flow == _shortened(wanted) else flow


def start_in(marks: Mapping[str, object]) -> datetime | None:
    """Returns when a delayed call starts; None for others."""
    start = str(marks.get(LOOK, _YES))
    return None if start == _YES else datetime.fromtimestamp(float(start), UTC)


def _shortened(flow: str) -> str:
    return flow[:_LONGEST]


def _entry(tag: str) -> str:
    # A filter of the engine's cannot have a colon in the name of an entry.
    return _TAG + tag.replace("%", "%25").replace(":", "%3A")
