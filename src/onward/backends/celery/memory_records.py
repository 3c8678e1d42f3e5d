"""What is recorded of calls, in the memory of this process."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from onward import outcome as outcomes
from onward.backends.celery.memory_due import MemoryDue
from onward.backends.celery.records import (
    Forgotten,
    ListedCall,
    ListedPage,
    Query,
    RecordedPage,
    fields_of,
    listed,
    parse_log,
    step_of,
)
from onward.outcome import Outcome


class MemoryRecords:
    """The records of calls in a ledger in memory.

    Args:
        changed: Guards the ledger.
        calls: The records of all calls, in the order in which they were submitted.
        due: What is due later.
    """

    def __init__(
        self, changed: threading.Condition, calls: dict[str, dict[str, bytes]], due: MemoryDue
    ) -> None:
        self._changed = changed
        self._calls = calls
        self._due = due

    def page(self, id: str, after: str, limit: int) -> RecordedPage | None:
        first = int(after or 0)
        with self._changed:
            call = self._calls.get(id)
            if call is None:
                return None
            names = [name for name in call if name.startswith("l:")]
            logs = [
                log
                for name in names[first : first + limit]
                for log in parse_log(call[name].decode(), None)
            ]
            raw = call.get("outcome")
            return RecordedPage(
                self._listed(id),
                call["plan"],
                [step_of(log, [call.get(each) for each in fields_of(log)], _read) for log in logs],
                None if raw is None else outcomes.decode(raw),
                dict(self._due.signals(id)),
                str(first + limit) if first + limit < len(names) else "",
                self._due.starts(id),
            )

    def known(self, id: str, paths: Sequence[str]) -> set[str]:
        with self._changed:
            return {path for path in paths if f"o:{path}" in self._calls.get(id, {})}

    def _listed(self, id: str) -> ListedCall:
        call = self._calls[id]
        if "end" in call:
            state = call["end"].decode()
        elif "cancelling" in call:
            state = "cancelling"
        else:
            waits = [value for name, value in call.items() if name.startswith("w:")]
            is_running = any(name.startswith("b:") for name in call)
            state = "running" if "task" in call else "queued"
            if not is_running and any(b" " in value for value in waits):
                state = "waiting"
        return listed(id, state, call.get("about"), call.get("ended"))

    def calls(self, query: Query, after: str, limit: int) -> ListedPage:
        found: list[tuple[ListedCall, str]] = []
        with self._changed:
            ids = list(reversed(self._calls))
            if after in self._calls:
                del ids[: ids.index(after) + 1]
            for id in ids:
                call = self._listed(id)
                if call.submitted is None or call.submitted >= query.until:
                    continue
                if call.submitted < query.since:
                    break
                if query.state not in ("", call.state, call.fault.lower()):
                    continue
                if len(found) == limit:
                    return ListedPage(found, found[-1][1])
                found.append((call, id))
        return ListedPage(found, "")

    def forget(self, id: str) -> Forgotten:
        with self._changed:
            call = self._calls.get(id)
            if call is None:
                return "unknown"
            if "end" not in call:
                return "open"
            del self._calls[id]
            self._due.delete(id)
            return "forgotten"

    def sweep(self) -> None:
        """Does nothing: calls are listed from their records."""


def _read(raw: bytes, *role: str) -> Outcome:
    return outcomes.decode(raw)
