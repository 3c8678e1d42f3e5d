"""Writes the progress of running steps to the ledger, and checks whether calls were cancelled.

A task reports and asks on its own thread. For async tasks this is the loop of all async steps, so
it must not wait for the ledger. A separate thread talks to the ledger instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Protocol, Self

from redis.exceptions import RedisError

from onward.context import Progress

_EVERY = 0.25
"""The interval of checks whether a call was cancelled, in seconds."""

_PAUSE = 0.05
"""The shortest interval between two writes of progress, in seconds."""

_PROMPT = 1.0
"""How long a sync step waits for the first check, in seconds. It blocks only its own thread."""


class ProgressLedger(Protocol):
    """The part of a ledger that this module needs."""

    def update(self, id: str, **fields: str) -> None:
        """Sets fields of a call's record."""
        ...

    def is_open(self, id: str, at: str) -> bool:
        """Whether a step of a call may go on."""
        ...


class AttemptProgress:
    """The progress of one attempt, and whether its call was cancelled; enter it meanwhile."""

    def __init__(self, writer: ProgressWriter, id: str, at: str) -> None:
        self.id = id
        self.at = at
        self.unwritten: str | None = None
        self.is_asking: bool = False
        self.has_ended = False
        self.is_finished = False
        self.checked: threading.Event = threading.Event()
        self._writer = writer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.finish(self)

    def report(self, progress: Progress) -> None:
        """Has the progress written soon. Of several reports in quick succession, the last wins."""
        total = "-" if progress.total is None else repr(progress.total)
        self.unwritten = f"{progress.done!r} {total} {progress.note}"
        self._writer.watch(self)

    def is_cancelled(self) -> bool:
        """Whether the call has ended. The first question starts the regular checks."""
        if not self.is_asking:
            self.is_asking = True
            self._writer.watch(self)
            if not _is_on_a_loop():
                self.checked.wait(_PROMPT)
        return self.has_ended


class ProgressWriter:
    """Talks to the ledger for all attempts of a worker, on one thread that starts when needed.

    Args:
        ledger: The worker's ledger.
    """

    def __init__(self, ledger: ProgressLedger) -> None:
        self._ledger = ledger
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._watched: set[AttemptProgress] = set()
        self._is_running = False
        self._is_closed = False

    def for_attempt(self, id: str, at: str) -> AttemptProgress:
        """Makes the progress of one attempt at the step of a call at a path."""
        return AttemptProgress(self, id, at)

    def watch(self, attempt: AttemptProgress) -> None:
        """Lets the thread handle an attempt."""
        with self._changed:
            if self._is_closed or attempt.is_finished:
                return
            self._watched.add(attempt)
            self._changed.notify()
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="onward-progress", daemon=True).start()

    def finish(self, attempt: AttemptProgress) -> None:
        """Takes an attempt back from the thread, and writes its last progress."""
        with self._changed:
            attempt.is_finished = True
            self._watched.discard(attempt)
        self._write(attempt)

    def close(self) -> None:
        """Ends the thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._watched or self._is_closed):
                    self._changed.wait()
                if self._is_closed:
                    return
                watched = list(self._watched)
            for attempt in watched:
                self._write(attempt)
                if attempt.is_asking:
                    self._check(attempt)
            with self._changed:
                self._watched = {each for each in self._watched if each.unwritten or each.is_asking}
                pause = _EVERY if any(each.is_asking for each in self._watched) else _PAUSE
                self._changed.wait_for(lambda: self._is_closed, pause)

    def _write(self, attempt: AttemptProgress) -> None:
        if attempt.unwritten is None:  # most attempts report nothing
            return
        # The lock keeps the order. A failed write is ignored, because progress is informational.
        with self._writing, contextlib.suppress(RedisError, OSError):
            unwritten, attempt.unwritten = attempt.unwritten, None
            if unwritten is not None:
                self._ledger.update(attempt.id, progress=unwritten)

    def _check(self, attempt: AttemptProgress) -> None:
        with contextlib.suppress(RedisError, OSError):  # the next check may succeed
            attempt.has_ended = not self._ledger.is_open(attempt.id, attempt.at)
            attempt.checked.set()


def _is_on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
