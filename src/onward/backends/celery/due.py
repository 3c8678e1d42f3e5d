"""What is due later: the calls and messages that the ledger holds until their time comes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

START = ""
EXPIRY = "!"
"""In place of a path: the entry is the start of a call, or its deadline."""


class Hold(Struct, frozen=True, kw_only=True):
    """A message that the ledger holds.

    Args:
        call: The call's id.
        at: The path of the message's task within the call.
        seconds: How long it is held, in seconds; infinity for no limit.
        message: The message, encoded.
        is_top: Whether the task is outside of all fan-outs, so that nothing else of the call runs.
        deadline: When the call expires, by the ledger's clock.
    """

    call: str
    at: str
    seconds: float
    message: bytes
    is_top: bool
    deadline: float | None = None


class DueEntry(NamedTuple):
    """An entry that is due, and is claimed by a worker.

    Args:
        at: The path of the held message; `START` or `EXPIRY`.
        call: The call's id.
        until: The time until which it is claimed, as the ledger writes it.
        message: The held message, encoded; empty if there is none.
    """

    at: str
    call: str
    until: str
    message: bytes


class Claims(NamedTuple):
    """The entries that a worker has claimed.

    Args:
        entries: The entries.
        next: In how many seconds the next entry is due; None if there is none.
    """

    entries: Sequence[DueEntry]
    next: float | None


class DueLedger(Protocol):
    """The part of a ledger that holds what is due later."""

    def hold_retry(self, hold: Hold, holder: str, attempt: int) -> None:
        """Holds the message of a step's next attempt, and ends the lease of the last one.

        Args:
            hold: The message.
            holder: The name of the delivery that holds the step's lease.
            attempt: The number of the next attempt. While its message is held, no earlier attempt
                begins.
        """
        ...

    def claim(self, lease: float) -> Claims:
        """Claims some of the entries that are due.

        Args:
            lease: For how many seconds no other worker claims them. After that, the worker that
                claimed them counts as dead.
        """
        ...

    def release(self, entries: Sequence[DueEntry]) -> None:
        """Removes claimed entries, whose messages have been sent.

        An entry stays if it has been claimed or held again meanwhile.
        """
        ...

    def wait(self, seconds: float) -> None:
        """Waits for so many seconds, or until an entry is written that is due before all others."""
        ...
