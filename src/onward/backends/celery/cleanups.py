"""The part of a ledger that knows of cleanups."""

from __future__ import annotations

from typing import Literal, Protocol

from onward.outcome import Faulted

Begun = Literal["begun", "cancelled", "ended"]
"""The ledger's answer when a flow with a cleanup begins: whether it may."""


class CleanupLedger(Protocol):
    """Knows which flows with cleanups have begun, and which calls are cancelling."""

    def begin(self, id: str, at: str) -> Begun:
        """Stores that a flow with a cleanup begins, unless its call is cancelling or has ended.

        Args:
            id: The call's id.
            at: The flow's path.
        """
        ...

    def end_early(self, id: str, outcome: Faulted, end: str, *, at_once: bool = False) -> bool:
        """Ends a call: at once, or after its cleanups if any flow with a cleanup has begun.

        Args:
            id: The call's id.
            outcome: Its outcome then, unless it has one, or is cancelling, already.
            end: Its state then.
            at_once: Whether it ends without its cleanups.

        Returns:
            Whether it is cancelling from now on, so that it must be sent again.
        """
        ...

    def cancelled(self, id: str) -> Faulted | None:
        """The outcome with which a call that is cancelling will end; None if it is not."""
        ...
