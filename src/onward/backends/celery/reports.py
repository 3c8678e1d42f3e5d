"""The progress that running steps report, and whether their calls were cancelled.

Tasks say and ask where they run, which for async ones is the loop of all async steps of the worker.
So neither waits for the ledger: a thread beside writes what was said, and looks for who asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Protocol, Self

from redis.exceptions import RedisError

from onward.context import Progress

_EVERY = 0.25
"""How often the calls of those who ask are looked up, in seconds."""

_PAUSE = 0.05
"""How often what is said is written at most, in seconds."""

_PROMPT = 1.0
"""How long a sync step waits for the first look, in seconds; it stops nobody else meanwhile."""


class Calls(Protocol):
    """The part of a ledger that this needs."""

    def note(self, id: str, **fields: str) -> None:
        """Notes where a call is."""
        ...

    def is_open(self, id: str) -> bool:
        """Whether the call is known and has no outcome."""
        ...


class Report:
    """What one attempt at a step says and asks, while this is entered."""

    def __init__(self, reports: Reports, id: str) -> None:
        self.id = id
        self.said: str | None = None
        self.is_asking: bool = False
        self.is_over = False
        self.has_left = False
        self.looked: threading.Event = threading.Event()
        self._reports = reports

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reports.leave(self)

    def say(self, progress: Progress) -> None:
        """Has the progress written soon; of much that is said at once, the last counts."""
        total = "-" if progress.total is None else repr(progress.total)
        self.said = f"{progress.done!r} {total} {progress.note}"
        self._reports.take(self)

    def is_cancelled(self) -> bool:
        """Whether the call was found to have ended; from the first question on, looks go on."""
        if not self.is_asking:
            self.is_asking = True
            self._reports.take(self)
            if not _is_on_a_loop():
                self.looked.wait(_PROMPT)
        return self.is_over


class Reports:
    """Writes and looks for the attempts of a worker, on one thread that starts when needed.

    Args:
        calls: The ledger, as a worker has it.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._taken: set[Report] = set()
        self._is_running = False
        self._is_closed = False

    def of(self, id: str) -> Report:
        """For an attempt at a step of this call."""
        return Report(self, id)

    def take(self, report: Report) -> None:
        """Has a report looked after until it is left."""
        with self._changed:
            if self._is_closed or report.has_left:
                return
            self._taken.add(report)
            self._changed.notify()
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="onward-reports", daemon=True).start()

    def leave(self, report: Report) -> None:
        """Writes what a report has not got rid of yet, before anything that comes after it."""
        with self._changed:
            report.has_left = True
            self._taken.discard(report)
        self._write(report)

    def close(self) -> None:
        """Ends the thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._taken or self._is_closed):
                    self._changed.wait()
                if self._is_closed:
                    return
                reports = list(self._taken)
            for report in reports:
                self._write(report)
                if report.is_asking:
                    self._look(report)
            with self._changed:
                self._taken = {each for each in self._taken if each.said or each.is_asking}
                pause = _EVERY if any(each.is_asking for each in self._taken) else _PAUSE
                self._changed.wait_for(lambda: self._is_closed, pause)

    def _write(self, report: Report) -> None:
        if report.said is None:  # most attempts say nothing
            return
        # In turn, so that nothing old is written over what is newer.
        with self._writing, contextlib.suppress(RedisError, OSError):  # it is for people to see
            said, report.said = report.said, None
            if said is not None:
                self._calls.note(report.id, progress=said)

    def _look(self, report: Report) -> None:
        with contextlib.suppress(RedisError, OSError):  # the next look may find it
            report.is_over = not self._calls.is_open(report.id)
            report.looked.set()


def _is_on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
