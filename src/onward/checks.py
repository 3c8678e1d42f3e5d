"""Checks of names and numbers that several kinds of value share."""

from __future__ import annotations

MAX_SECONDS = 365 * 24 * 3600.0
"""The longest time of a policy, in seconds: a year."""

NAME_LIMIT = 200
"""How many characters a name may have."""


def check_policy_seconds(what: str, value: float, *, zero: bool = True) -> None:
    """Raises TypeError or ValueError for a number of seconds that a policy cannot have."""
    least = "0 or more" if zero else "more than 0"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{what} is a number of seconds, not {value!r}: write {what}=30.0")
    if not 0 <= value <= MAX_SECONDS or (value == 0 and not zero):
        raise ValueError(
            f"{what} is {least} and at most {MAX_SECONDS:.0f} seconds (a year), not {value!r}"
        )


def check_name(what: str, name: str) -> None:
    """Raises TypeError or ValueError for a name that an engine would refuse or change."""
    if not isinstance(name, str):
        raise TypeError(f"a {what}'s name is a text, not {name!r}")
    if not name or len(name) > NAME_LIMIT or not name.isascii() or not name.isprintable():
        raise ValueError(
            f"a {what}'s name is 1 to {NAME_LIMIT} printable ASCII characters, not {name!r}"
        )
    if any(letter.isspace() for letter in name):
        raise ValueError(f"a {what}'s name has no spaces: write {'_'.join(name.split())!r}")
