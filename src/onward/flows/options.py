"""Reads and checks options that are fields of a policy."""

from __future__ import annotations

from typing import Any, cast

from msgspec.structs import replace

from onward.flows import hints
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
    return replace(PLAIN, **changes_of(function, options, *others))


def changes_of(function: str, options: PolicyOptions, *others: str) -> dict[str, Any]:
    """The fields of a policy that options change; see `policy_of`."""
    known = Policy.__struct_fields__
    if unknown := [name for name in options if name not in known]:
        raise TypeError(hints.options(function, unknown, (*others, *known)))
    changes = _without_none(options)
    replace(PLAIN, **changes)  # raises if a value is out of bounds
    return changes


def call_options(options: CallOptions) -> dict[str, Any]:
    """The fields of a plan that the options of a call set.

    Raises:
        TypeError, ValueError: If a value is out of bounds.
    """
    if not options:
        return {}
    checked = replace(PLAIN, **_without_none(options))
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
