"""Calls that share a key, in the memory of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import MutableMapping

from onward.backends.celery.due import EXPIRY, START
from onward.backends.celery.memory_due import MemoryDue
from onward.backends.celery.unique import Added, UniqueCall


class MemoryUnique:
    """Calls that share a key, in a ledger in memory.

    Args:
        changed: Guards the ledger.
        calls: The records of all calls.
        due: What is due later.
    """

    def __init__(
        self,
        changed: threading.Condition,
        calls: MutableMapping[str, dict[str, bytes]],
        due: MemoryDue,
    ) -> None:
        self._changed = changed
        self._calls = calls
        self._due = due
        self._first: dict[str, str] = {}
        self._next: dict[str, tuple[str, float]] = {}
        """The call that comes next, and when it is due, by slot."""

    def add(self, call: UniqueCall) -> Added:
        slot, due = call.slot, time.time() + call.delay
        with self._changed:
            self.advance(slot)
            first = self._first.get(slot)
            following, _ = self._next.get(slot, (None, 0.0))
            if first is not None and not call.replaces:
                return Added(first)
            replaced = following
            if first is not None and following is None and "begun" not in self._calls[first]:
                replaced = first
            if replaced is not None:
                if replaced != call.other:
                    return Added(replaced, is_other=True)
                self._calls[replaced]["plan"] = call.other_plan
                submitted = self._calls[replaced]["about"].partition(b" ")[0]
                self._calls[replaced]["about"] = submitted + b" " + call.about
                self._wait(slot, replaced, due, call.deadline, is_behind=replaced == following)
                return Added(replaced)
            self._calls[call.id] = {
                "plan": call.plan,
                "slot": slot.encode(),
                "about": b"%.6f %b" % (time.time(), call.about),
            }
            if first is not None or call.replaces or call.delay > 0:
                self._wait(slot, call.id, due, call.deadline, is_behind=first is not None)
            else:
                self._first[slot] = call.id
                self._calls[call.id]["begun"] = b"1"
            return Added(call.id, is_new=True)

    def _wait(
        self, slot: str, id: str, due: float, deadline: float | None, *, is_behind: bool
    ) -> None:
        if not is_behind:
            self._first[slot] = id
            self._due.add(START, id, due)
            return
        self._next[slot] = id, due
        self._due.forget(id)
        if deadline is not None:
            self._due.add(EXPIRY, id, deadline)

    def advance(self, slot: str) -> None:
        """Forgets the calls of a slot that have ended, and lets the next one become the first."""
        following = self._next.get(slot)
        if following is not None and not self._is_open(following[0]):
            del self._next[slot]
        if slot in self._first and not self._is_open(self._first[slot]):
            del self._first[slot]
        if slot not in self._first and slot in self._next:
            id, due = self._next.pop(slot)
            self._first[slot] = id
            self._due.add(START, id, due)

    def _is_open(self, id: str) -> bool:
        return id in self._calls and "end" not in self._calls[id]
