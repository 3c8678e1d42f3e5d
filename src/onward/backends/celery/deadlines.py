"""Ends calls whose deadline has passed, when a client waits for them or reads their status.

A call expires this way even if no worker is alive.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

from onward import plan as plans
from onward.backend import State
from onward.backend.support import expired
from onward.backends.celery.ledger import Entry, Ledger
from onward.outcome import Faulted, faulted

_SLICE = 1.0
_LONG_SLICE = 5.0
"""How long a wait lasts before it checks deadlines, in seconds; the second once they are known."""

_SHORTEST = 0.2
_MOST = 100_000
"""How many deadlines a client remembers."""


class Deadlines:
    """The deadlines of the calls that a client waits for.

    Args:
        ledger: The ledger of these calls.
        end_early: Ends a call, after its cleanups if it has any to run; takes its id, outcome and
            state.
    """

    def __init__(self, ledger: Ledger, end_early: Callable[[str, Faulted, State], object]) -> None:
        self._ledger = ledger
        self._end_early = end_early
        self._known: dict[str, float] = {}
        """The deadlines by call; infinite for a call without one."""

    def expire_due(self, ids: Collection[str]) -> bool:
        """Ends those of these calls whose deadline has passed; returns whether any has ended."""
        due = [id for id in ids if self._known.get(id, 0.0) <= self._ledger.now()]
        entries = [self.read_entry(id) for id in due]
        return any(entry is None or entry.end for entry in entries)

    def time_to_next(self, ids: Collection[str]) -> float:
        """The time until the next deadline must be checked, in seconds."""
        if not all(id in self._known for id in ids):
            return _SLICE
        due = min((self._known[id] for id in ids), default=math.inf)
        return min(max(due - self._ledger.now(), _SHORTEST), _LONG_SLICE)

    def read_entry(self, id: str) -> Entry | None:
        """Reads the entry of a call. If the call's deadline has passed, this ends the call."""
        entry = self._ledger.read(id)
        if entry is None or entry.end:
            return entry
        plan = plans.decode(entry.plan).value_or(None)
        if len(self._known) >= _MOST:
            self._known.clear()
        deadline = math.inf
        if plan is not None and plan.deadline is not None and "cancelling" not in entry.fields:
            deadline = plan.deadline
        self._known[id] = deadline
        if plan is None or deadline > self._ledger.now():
            return entry
        self._end_early(id, faulted(expired(plan.flow)), "expired")
        return self._ledger.read(id)
