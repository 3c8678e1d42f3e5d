"""What is due later: the calls and messages that the ledger holds until their time comes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from msgspec import Struct

from onward.backends.celery.records import FailedAttempt

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


class Wait(Struct, frozen=True, kw_only=True):
    """What a message waits for: a time, or a signal until a time.

    Args:
        call: The call's id.
        at: The path of the wait within the call.
        seconds: How long it lasts at most, in seconds; infinity for no limit.
        signal: The name of the signal; empty if it waits for none.
        message: The id of the message.
        route: The queue that the message came from, and its priority.
    """

    call: str
    at: str
    seconds: float
    signal: str
    message: str
    route: str


class Answer(NamedTuple):
    """The ledger's answer to a message that waits.

    Args:
        kind: `known` if the call took the outcome over from another one; `ended` if the call has
            ended, or is cancelling and the wait is in no cleanup; `held` if the ledger holds the
            message; `hold` if it must be given the message to hold; `over` if the time has passed;
            `signal` if the signal has come.
        value: The signal's value, or the known outcome; None if its signature is not valid.
        seconds: How long the message is to be held, in seconds.
    """

    kind: Literal["known", "ended", "held", "hold", "over", "signal"]
    value: bytes | None = None
    seconds: float = 0.0


Sent = Literal["sent", "again", "ended", "unknown"]
"""What became of a signal: it is stored, the call has one of its name, has ended, or is unknown."""


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

    def hold_retry(self, hold: Hold, holder: str, failed: FailedAttempt) -> None:
        """Holds the message of a step's next attempt, and ends the lease of the last one.

        While it is held, no earlier attempt begins.

        Args:
            hold: The message.
            holder: The name of the delivery that holds the step's lease.
            failed: The last attempt.
        """
        ...

    def begin_wait(self, wait: Wait, hold: Hold | None = None) -> Answer:
        """Decides whether a wait is over. The decision stays, whatever comes later.

        Args:
            wait: What the message waits for. The first message of a wait sets its due time.
            hold: The message, to be held if the wait is not over.
        """
        ...

    def send(self, call: str, signal: str, value: bytes) -> Sent:
        """Stores the value of a signal, unless the call has one, and ends the waits for it."""
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

    def pause(self, seconds: float) -> None:
        """Waits for so many seconds, or until an entry is written that is due before all others."""
        ...

    def wake(self) -> None:
        """Ends one worker's `pause`, because the worker that it was meant for has stopped."""
        ...
