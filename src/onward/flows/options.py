"""Options that are fields of a policy, read and checked."""

from __future__ import annotations

from typing import Any, cast

from msgspec.structs import replace

from onward.flows import hints
from onward.policy import PLAIN, CallOptions, Policy, PolicyOptions


def policy_of(function: str, options: PolicyOptions, *others: str) -> Policy:
    """The policy that options ask for.

    Args:
        function: Whose options they are.
        options: What was given.
        others: The function's options that are no fields of a policy, for the message.

    Raises:
        TypeError, ValueError: If there is no such option, or a value is out of bounds.
    """
    return replace(PLAIN, **changes_of(function, options, *others))


def changes_of(function: str, options: PolicyOptions, *others: str) -> dict[str, Any]:
    """The fields of a policy that options change; like `policy_of`."""
    known = Policy.__struct_fields__
    if unknown := [name for name in options if name not in known]:
        raise TypeError(hints.options(function, unknown, (*others, *known)))
    changes = _without_none(options)
    replace(PLAIN, **changes)  # it raises for a value that is out of bounds
    return changes


def call_options(options: CallOptions) -> dict[str, Any]:
    """The fields of a plan that the options of a call fill.

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
            f"a call has no option {', '.join(map(repr, unknown))}: of a policy's fields it takes "
            f"{', '.join(known)}; for the others write flow.with_(...)"
        )


def _without_none(options: PolicyOptions | CallOptions) -> dict[str, Any]:
    given = cast("dict[str, Any]", options)
    return {name: getattr(PLAIN, name) if value is None else value for name, value in given.items()}
