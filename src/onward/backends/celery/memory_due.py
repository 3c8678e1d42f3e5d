"""What is due later, in the memory of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from onward.backends.celery.due import EXPIRY, START, Answer, Claims, DueEntry, Hold, Sent, Wait
from onward.backends.celery.memory_log import log_begun, log_ended, log_failed
from onward.backends.celery.records import IN_WAIT, FailedAttempt
from onward.scope import in_cleanup


class MemoryDue:
    """What is due later, in a ledger in memory.

    Args:
        changed: Guards the ledger; notified when an entry is written.
        calls: The records of all calls.
    """

    def __init__(self, changed: threading.Condition, calls: Mapping[str, dict[str, bytes]]) -> None:
        self._changed = changed
        self._calls = calls
        self._due: dict[str, dict[str, float]] = {}
        """When entries are due, by call and path."""
        self._held: dict[tuple[str, str], bytes] = {}
        self._signals: dict[str, dict[str, bytes]] = {}
        self._is_new = False
        """Whether an entry was written since a worker last claimed what was due."""

        self.look: Callable[[float], float | None] = lambda now: None
        """Called with the time when a worker looks at what is due; returns when it must again."""

    def send_now(self, at: str, call: str) -> None:
        """Makes a held message due at once, if it is held."""
        with self._changed:
            if (call, at) in self._held:
                self.add(at, call, time.time())

    def add(self, at: str, call: str, due: float) -> None:
        """Adds an entry."""
        with self._changed:
            self._due.setdefault(call, {})[at] = due
            self._is_new = True
            self._changed.notify_all()

    def hurry(self, call: str, is_due: Callable[[str], bool]) -> None:
        """Makes those held messages of a call due at once for whose path this is true."""
        with self._changed:
            for at in list(self._due.get(call, {})):
                if (call, at) in self._held and is_due(at):
                    self.add(at, call, time.time())

    def delete(self, call: str) -> None:
        """Removes all entries of a call, and its signals."""
        with self._changed:
            self._signals.pop(call, None)
            self.forget(call)

    def signals(self, call: str) -> dict[str, bytes]:
        """The signals that a call has got."""
        with self._changed:
            return dict(self._signals.get(call, {}))

    def starts(self, call: str) -> float | None:
        """When a delayed call starts; None if it has started."""
        with self._changed:
            return self._due.get(call, {}).get(START)

    def forget(self, call: str) -> None:
        """Removes all entries of a call."""
        with self._changed:
            for at in self._due.pop(call, {}):
                self._held.pop((call, at), None)

    def drop(self, call: str, is_dropped: Callable[[str], bool]) -> None:
        """Removes those entries of a call for whose path, or kind, this is true."""
        with self._changed:
            entries = self._due.get(call, {})
            for at in [at for at in entries if is_dropped(at)]:
                del entries[at]
                self._held.pop((call, at), None)

    def hold_retry(self, hold: Hold, holder: str, failed: FailedAttempt) -> None:
        with self._changed:
            record = self._calls.get(hold.call)
            if record is not None and "end" not in record:
                record.pop(f"b:{hold.at}", None)
                log_failed(record, hold.at, holder, failed)
                self.hold(hold, time.time() + hold.seconds)

    def begin_wait(self, wait: Wait, hold: Hold | None = None) -> Answer:
        with self._changed:
            record = self._calls.get(wait.call)
            if record is None or "end" in record:
                return Answer("ended")
            if f"o:{wait.at}" in record:
                return Answer("known", record[f"o:{wait.at}"])
            place, now = f"w:{wait.at}", time.time()
            known = record.get(place, b"").decode()
            due = float(record.get(f"d:{wait.at}", now + wait.seconds))
            if known not in ("", "over", "got"):
                due = float(known.split(" ")[0])
            value = self._signals.get(wait.call, {}).get(wait.signal)
            answer = None
            if value is not None and known != "over":
                record[place], answer = b"got", Answer("signal", value)
            elif known == "over" or due <= now:
                record[place], answer = b"over", Answer("over")
            if answer is not None:
                if not known:
                    log_begun(record, wait.at, IN_WAIT, due)
                if known not in ("over", "got"):
                    log_ended(record, wait.at, IN_WAIT)
                return answer
            if "cancelling" in record and not in_cleanup(wait.at):
                return Answer("ended")
            if known and (wait.call, wait.at) in self._held:
                return Answer("held")
            if hold is None:
                return Answer("hold", seconds=due - now)
            if not known:
                log_begun(record, wait.at, IN_WAIT, due)
            record[place] = f"{due!r} {wait.signal}".encode()
            self.hold(hold, due)
            return Answer("held")

    def send(self, call: str, signal: str, value: bytes) -> Sent:
        with self._changed:
            record = self._calls.get(call)
            if record is None or "end" in record:
                return "unknown" if record is None else "ended"
            signals = self._signals.setdefault(call, {})
            if signal in signals:
                return "again"
            signals[signal] = value
            for at in list(self._due.get(call, {})):
                _, _, awaited = record.get(f"w:{at}", b"").decode().partition(" ")
                if awaited == signal:
                    self.add(at, call, time.time())
            return "sent"

    def hold(self, hold: Hold, due: float) -> None:
        """Holds a message until it is due."""
        with self._changed:
            self._held[hold.call, hold.at] = hold.message
            if hold.deadline is not None:
                self.add(EXPIRY, hold.call, hold.deadline)
            self.add(hold.at, hold.call, due)

    def claim(self, lease: float) -> Claims:
        with self._changed:
            self._is_new = False
            now = time.time()
            next_look = self.look(now)
            claimed: list[DueEntry] = []
            for call, entries in self._due.items():
                for at, due in entries.items():
                    if due <= now:
                        entries[at] = now + lease
                        if at == START:
                            self._calls.get(call, {})["begun"] = b"1"
                        message = self._held.get((call, at), b"")
                        claimed.append(DueEntry(at, call, repr(now + lease), message))
            dues = [due for each in self._due.values() for due in each.values()]
            first = min(dues if next_look is None else [*dues, next_look], default=None)
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

    def pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_new, seconds)

    def wake(self) -> None:
        with self._changed:
            self._is_new = True
            self._changed.notify_all()
