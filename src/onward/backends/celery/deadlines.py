"""Ends calls whose deadline has passed, when a client waits for them or looks them up."""

from __future__ import annotations

import math
from collections.abc import Collection

from onward import plan as plans
from onward.backend.support import expired
from onward.backends.celery.ledger import Entry, Ledger
from onward.outcome import faulted

_SLICE = 1.0
_LONG_SLICE = 5.0
"""How long a wait is at most before the deadlines are looked at, in seconds; longer once known."""

_SHORTEST = 0.2
_MOST = 100_000
"""How many calls' deadlines a client remembers."""


class Deadlines:
    """The deadlines of calls that a client waits for.

    Args:
        ledger: Has the calls.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[str, float] = {}
        """By call; infinite for most."""

    def has_expired(self, ids: Collection[str]) -> bool:
        """Whether one of these ends here, as its deadline has passed."""
        due = [id for id in ids if self._known.get(id, 0.0) <= self._ledger.now()]
        looked = [self.look(id) for id in due]
        return any(entry is None or entry.end for entry in looked)

    def until_due(self, ids: Collection[str]) -> float:
        """How long it is until a deadline may pass, in seconds; a while at most."""
        if not all(id in self._known for id in ids):
            return _SLICE
        due = min((self._known[id] for id in ids), default=math.inf)
        return min(max(due - self._ledger.now(), _SHORTEST), _LONG_SLICE)

    def look(self, id: str) -> Entry | None:
        """The entry of a call. A call whose deadline has passed ends here."""
        entry = self._ledger.look(id)
        if entry is None or entry.end:
            return entry
        plan = plans.decode(entry.plan).value_or(None)
        if len(self._known) >= _MOST:
            self._known.clear()
        deadline = math.inf if plan is None or plan.deadline is None else plan.deadline
        self._known[id] = deadline
        if plan is None or deadline > self._ledger.now():
            return entry
        self._ledger.settle(id, faulted(expired(plan.flow)), "expired")
        return self._ledger.look(id)
