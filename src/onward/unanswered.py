"""`Unanswered`: the error of an `awaits` whose signal did not come in time, and how it travels."""

from __future__ import annotations

from typing import Final

from msgspec import Raw, Struct

from onward.codec import Tagged, error_codec
from onward.outcome import Failed
from onward.plan import AwaitsNode

AWAITS: Final = "onward.awaits"
"""What an error names in place of a task, because an `awaits` runs none."""


class Unanswered(Struct, frozen=True):
    """The error of an `awaits` with a timeout: nobody sent the signal in time.

    Args:
        signal: The signal's name.
        seconds: How long the call waited for it, in seconds.

    Example:
        >>> Unanswered("decision", 86_400.0)
        Unanswered(signal='decision', seconds=86400.0)
    """

    signal: str
    seconds: float


def errors_of_awaits() -> Tagged:
    """The codec of the errors of an `awaits`."""
    return error_codec(Unanswered)


def unanswered(node: AwaitsNode) -> Failed:
    """The outcome of an `awaits` whose timeout has passed."""
    error = Unanswered(node.signal, float(node.timeout or 0))
    return Failed(Raw(errors_of_awaits().encode(error, AWAITS)))
