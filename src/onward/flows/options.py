"""Reads, checks and applies options that are fields of a policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from typing import Any, cast

from msgspec.structs import replace as replace_struct

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
    changed_task,
    kind,
)
from onward.policy import PLAIN, CallOptions, Policy, PolicyOptions


def policy_of(function: str, options: PolicyOptions, *others: str) -> Policy:
    """The policy that options describe.

    Args:
        function: The function whose options they are, for the message.
        options: The given options.
        others: The function's options that are not fields of a policy, for the message.

    Raises:
        TypeError, ValueError: If there is no such option, or a value is out of bounds.
    """
    return replace_struct(PLAIN, **changes_of(function, options, *others))


def changes_of(function: str, options: PolicyOptions, *others: str) -> dict[str, Any]:
    """The fields of a policy that options change; see `policy_of`."""
    known = Policy.__struct_fields__
    if unknown := [name for name in options if name not in known]:
        from onward.flows import hints  # only mistakes pay for it

        raise TypeError(hints.options(function, unknown, (*others, *known)))
    changes = _without_none(options)
    replace_struct(PLAIN, **changes)  # raises if a value is out of bounds
    return changes


def call_options(options: CallOptions) -> dict[str, Any]:
    """The fields of a plan that the options of a call set.

    Raises:
        TypeError, ValueError: If a value is out of bounds.
    """
    if not options:
        return {}
    checked = replace_struct(PLAIN, **_without_none(options))
    return {name: getattr(checked, name) for name in CallOptions.__annotations__}


def check_call_options(options: CallOptions) -> None:
    """Raises TypeError for an option that a call does not have."""
    known = CallOptions.__annotations__
    if unknown := [name for name in options if name not in known]:
        raise TypeError(
            f"a call has no option {', '.join(map(repr, unknown))}: beside the arguments of the "
            f"function that you called, it takes {' and '.join(known)}; for the other fields of a "
            "policy write flow.with_(...)"
        )


def _without_none(options: PolicyOptions | CallOptions) -> dict[str, Any]:
    given = cast("dict[str, Any]", options)
    return {name: getattr(PLAIN, name) if value is None else value for name, value in given.items()}


def with_policy(flow: Node, changes: Mapping[str, Any]) -> Node:
    """The flow with changed fields in the policy of each task and fused part."""
    match kind(flow):
        case Task(policy=policy) as task:
            return changed_task(task, policy=replace_struct(policy, **changes))
        case Identity() | Sleep() | Awaits():
            return flow
        case (Given(inner) | Fixed(inner)) as given:
            return replace(given, flow=with_policy(inner, changes))
        case Chain(steps) as chain:
            return reduce(type(chain), [with_policy(step, changes) for step in steps])
        case (Together(branches=branches) | Case(branches=branches)) as forked:
            return replace(forked, branches=tuple(with_policy(it, changes) for it in branches))
        case (Each(step) | Keep(step) | Tee(step) | Spread(step)) as one:
            return replace(one, step=with_policy(step, changes))
        case Rescue(body, handler) as rescue:
            changed = with_policy(handler, changes)
            return replace(rescue, body=with_policy(body, changes), handler=changed)
        case Finally(body, cleanup) as ended:
            changed = with_policy(cleanup, changes)
            return replace(ended, body=with_policy(body, changes), cleanup=changed)
        case Fused(policy=policy) as fused:
            return replace(fused, policy=replace_struct(policy, **changes))
        case Named(body) as named:
            return replace(named, body=with_policy(body, changes))
