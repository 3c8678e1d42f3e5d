"""The part of a ledger that hands out the places of limits."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

from msgspec import Struct

from onward.backends.celery.due import Hold
from onward.limit import StepLimit

Place: TypeAlias = Literal["begun", "held", "hold", "pass"]
"""The answer to a step that asks for a place: `begun` if it has one and begins; `held` if the
ledger holds its message until it has one; `hold` if the ledger must be given the message for that;
`pass` if it needs none, because `Ledger.begin_step` will refuse it."""


class Ask(Struct, frozen=True, kw_only=True):
    """A step that asks for a place.

    Args:
        call: The call's id.
        at: The step's path within the call.
        limit: Its limit.
        key: The limit's key.
        message: The id of its message.
        route: The queue that the message came from, and its priority.
    """

    call: str
    at: str
    limit: StepLimit
    key: str
    message: str
    route: str


class Enter(Struct, frozen=True, kw_only=True):
    """A call that starts when the limit of its flow has a place.

    Args:
        call: The call's id.
        limit: The limit.
        key: The limit's key.
        deadline: When the call expires, by the ledger's clock.
    """

    call: str
    limit: StepLimit
    key: str
    deadline: float | None = None


class LimitLedger(Protocol):
    """The part of a ledger that hands out the places of limits."""

    def ask(self, ask: Ask, hold: Hold | None = None) -> Place:
        """Begins a step if there is a place for it, or has it wait.

        A step that has begun and asks again begins later than it said.

        Args:
            ask: The step.
            hold: Its message, to be held if there is no place.
        """
        ...

    def enter(self, enter: Enter) -> bool:
        """Whether a call as a whole has a place; it is due again when it has one."""
        ...

    def leave(self, call: str, at: str) -> None:
        """Takes a step out of its limit, and hands out what that frees."""
        ...
