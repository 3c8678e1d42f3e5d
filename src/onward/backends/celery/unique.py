"""Calls that share a key: the ledger keeps which one is open, and which one comes after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol


class UniqueCall(NamedTuple):
    """A call that shares a key with others.

    Args:
        slot: What stands for the key and the flow together.
        id: The call's id.
        plan: Its plan, encoded.
        delay: Its delay, in seconds.
        replaces: Whether it replaces the open call, or comes next if that one has started.
        deadline: When it expires, by the ledger's clock.
        about: What lists show of it, encoded; see `records`.
        other: The id of the call that it replaces; empty if there is none.
        other_plan: The plan of that call then, encoded.
    """

    slot: str
    id: str
    plan: bytes
    delay: float
    replaces: bool
    deadline: float | None = None
    about: bytes = b""
    other: str = ""
    other_plan: bytes = b""


class Added(NamedTuple):
    """The ledger's answer to a call that shares a key.

    Args:
        id: The call that stands for it.
        is_new: Whether that is the call itself, so that it is to be sent unless it is delayed.
        is_other: Whether nothing was stored, because the call replaces this one, and has to be
            added again with this one's plan.
    """

    id: str
    is_new: bool = False
    is_other: bool = False


class UniqueLedger(Protocol):
    """The part of a ledger that keeps which call of a key is open."""

    def add(self, call: UniqueCall) -> Added:
        """Stores a call, unless another one stands for it. It is atomic."""
        ...


def add_unique(ledger: UniqueLedger, call: UniqueCall, encoded: Callable[[str], bytes]) -> Added:
    """Stores a call, unless another one stands for it.

    Args:
        ledger: Where.
        call: The call.
        encoded: The plan with another id, encoded.
    """
    added = ledger.add(call)
    while added.is_other:
        added = ledger.add(call._replace(other=added.id, other_plan=encoded(added.id)))
    return added
