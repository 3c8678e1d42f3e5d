"""What a ledger in memory knows of cleanups."""

from __future__ import annotations

import threading
from collections.abc import Callable

from onward import outcome as outcomes
from onward.backends.celery.cleanups import Begun
from onward.backends.celery.memory_due import MemoryDue
from onward.outcome import Faulted, Outcome
from onward.scope import in_cleanup


class MemoryCleanups:
    """Cleanups, in a ledger in memory.

    Args:
        changed: Guards the ledger.
        calls: The records of all calls.
        due: What is due later.
        settle: Ends a call.
    """

    def __init__(
        self,
        changed: threading.Condition,
        calls: dict[str, dict[str, bytes]],
        due: MemoryDue,
        settle: Callable[[str, Outcome, str], bool],
    ) -> None:
        self._changed = changed
        self._calls = calls
        self._due = due
        self._settle = settle

    def begin(self, id: str, at: str) -> Begun:
        with self._changed:
            call = self._calls.get(id)
            if call is None or "end" in call:
                return "ended"
            if "cancelling" in call and f"f:{at}" not in call:
                return "cancelled"
            call[f"f:{at}"] = call["cleanups"] = b""
            return "begun"

    def end_early(self, id: str, outcome: Faulted, end: str, *, at_once: bool = False) -> bool:
        with self._changed:
            call = self._calls.get(id)
            if call is None or "end" in call or "cancelling" in call:
                return False
            if at_once or "cleanups" not in call:
                self._settle(id, outcome, end)
                return False
            call["cancelling"], call["ends"] = outcomes.encode(outcome), end.encode()
            self._due.drop(id, lambda at: not in_cleanup(at))
            return True

    def cancelled(self, id: str) -> Faulted | None:
        with self._changed:
            call = self._calls.get(id, {})
            raw = None if "end" in call else call.get("cancelling")
        outcome = None if raw is None else outcomes.decode(raw)
        return outcome if isinstance(outcome, Faulted) else None
