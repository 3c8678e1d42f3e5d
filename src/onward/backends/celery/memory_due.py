"""What is due later, in the memory of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from onward.backends.celery.due import EXPIRY, Claims, DueEntry, Hold


class MemoryDue:
    """What is due later, in a ledger in memory.

    Args:
        changed: Guards the ledger; notified when an entry is written.
        is_open: Whether a call is known and has no outcome.
    """

    def __init__(self, changed: threading.Condition, is_open: Callable[[str], bool]) -> None:
        self._changed = changed
        self._is_open = is_open
        self._due: dict[str, dict[str, float]] = {}
        """When entries are due, by call and path."""
        self._held: dict[tuple[str, str], bytes] = {}
        self._is_new = False
        """Whether an entry was written since a worker last claimed what was due."""

    def add(self, at: str, call: str, due: float) -> None:
        """Adds an entry."""
        with self._changed:
            self._due.setdefault(call, {})[at] = due
            self._is_new = True
            self._changed.notify_all()

    def forget(self, call: str) -> None:
        """Removes all entries of a call."""
        with self._changed:
            for at in self._due.pop(call, {}):
                self._held.pop((call, at), None)

    def hold_retry(self, hold: Hold, holder: str, attempt: int) -> None:
        self.hold(hold, time.time() + hold.seconds)

    def hold(self, hold: Hold, due: float) -> None:
        """Holds a message until it is due, if its call is open."""
        with self._changed:
            if not self._is_open(hold.call):
                return
            self._held[hold.call, hold.at] = hold.message
            if hold.deadline is not None:
                self.add(EXPIRY, hold.call, hold.deadline)
            self.add(hold.at, hold.call, due)

    def claim(self, lease: float) -> Claims:
        with self._changed:
            self._is_new = False
            now = time.time()
            claimed: list[DueEntry] = []
            for call, entries in self._due.items():
                for at, due in entries.items():
                    if due <= now:
                        entries[at] = now + lease
                        message = self._held.get((call, at), b"")
                        claimed.append(DueEntry(at, call, repr(now + lease), message))
            first = min((due for each in self._due.values() for due in each.values()), default=None)
            return Claims(claimed, None if first is None else first - now)

    def release(self, entries: Sequence[DueEntry]) -> None:
        with self._changed:
            for each in entries:
                of_call = self._due.get(each.call, {})
                if of_call.get(each.at) == float(each.until):
                    del of_call[each.at]
                    self._held.pop((each.call, each.at), None)
                    if not of_call:
                        del self._due[each.call]

    def wait(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_new, seconds)
