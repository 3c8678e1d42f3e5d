"""What a worker does every second or so, beside its steps.

It renews its lease, takes over from workers that are gone, ends calls whose deadline has passed,
makes the calls of schedules, and forgets old calls. It has a thread of its own, because a step that
blocks the event loop must not cost the worker its lease.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from sqlite3 import Connection
from typing import NamedTuple

from onward.backends.sqlite import lease, retention, schedules, schema
from onward.backends.sqlite.client import File
from onward.backends.sqlite.clock import note_time
from onward.backends.sqlite.errors import PROBLEMS, Refused
from onward.backends.sqlite.lanes import Lane
from onward.backends.sqlite.lease import LostCall
from onward.backends.sqlite.settle import expire

_EVERY = 1.0
"""How often it looks at most, in seconds."""

_PRUNE_EVERY = 10.0
"""How often it looks for old calls, in seconds."""

_LOGGER = logging.getLogger("onward.sqlite")


class Duty(NamedTuple):
    """What a keeper keeps.

    Args:
        worker: The worker's number.
        lease: How long its lease is, in seconds.
        keep: How long calls that have ended are kept, in seconds.
        queue: The queue of steps that name none.
    """

    worker: int
    lease: float
    keep: float
    queue: str


class Told(NamedTuple):
    """What has come of a look.

    Args:
        lost: The calls that are lost.
        has_lease: Whether the worker still had its lease.
        is_old: Whether a later release of Onward has changed the file's schema.
        others: The queues that other workers serve.
    """

    lost: list[LostCall]
    has_lease: bool
    is_old: bool = False
    others: frozenset[str] = frozenset()


class Keeper:
    """Looks every second or so, until it is closed.

    Args:
        duty: What it keeps.
        file: The file.
        commits: Writes.
        reads: Reads.
        tell: Is told of each look that wrote something, on some thread.
    """

    def __init__(
        self, duty: Duty, file: File, commits: Lane, reads: Lane, tell: Callable[[Told], None]
    ) -> None:
        self._duty = duty
        self._file = file
        self._commits = commits
        self._reads = reads
        self._tell = tell
        self._closed = threading.Event()
        self._pruned = self._looked = time.monotonic()
        self._renewed = self._looked - duty.lease  # it looks at once
        threading.Thread(target=self._run, name="onward-sqlite-keeper", daemon=True).start()

    def close(self) -> None:
        """Looks no more."""
        self._closed.set()

    def _run(self) -> None:
        every = min(_EVERY, self._duty.lease / 4)
        while not self._closed.is_set():
            # Who works tells of it; the next look may find the file well again.
            with contextlib.suppress(*PROBLEMS, Refused, CancelledError):
                if self._is_due() or self._reads.do(self._is_needed).result():
                    self._tell(self._commits.do(self._look).result())
                if time.monotonic() - self._pruned >= _PRUNE_EVERY:
                    self._prune_all()
            self._looked = time.monotonic()
            self._closed.wait(every)

    def _prune_all(self) -> None:
        # In short transactions, between which others have their turn.
        while self._commits.do(self._prune).result() and not self._closed.is_set():
            pass
        self._pruned = time.monotonic()

    def _prune(self, db: Connection) -> bool:
        is_full = retention.prune(db, self._file.clock.now() - self._duty.keep)
        retention.shrink(db)
        return is_full

    def _is_due(self) -> bool:
        return time.monotonic() - self._renewed >= self._duty.lease / 3

    def _is_needed(self, db: Connection) -> bool:
        now = self._file.clock.now()
        query = "select 1 from onward_jobs where deadline <= ? limit 1"
        return bool(
            db.execute(query, (now,)).fetchone()
            or schedules.are_due(db)
            or lease.gone(db, now, self._duty.worker)
        )

    def _look(self, db: Connection) -> Told:
        duty, clock, now = self._duty, self._file.clock, self._file.clock.now()
        has_lease = lease.renew(db, duty.worker, now + duty.lease)
        if schema.version_of(db) > schema.VERSION:
            return Told([], has_lease, is_old=True)
        lost: list[LostCall] = []
        # Who was stopped itself lets the others, which may have been too, say that they are there.
        if time.monotonic() - self._looked < duty.lease / 2:
            lost = lease.take_over(db, lease.gone(db, now, duty.worker), clock)
        expire(db, clock)
        schedules.make_due(db, duty.queue, clock)
        note_time(db, now)
        self._renewed = time.monotonic()
        return Told(lost, has_lease, others=lease.queues_of_others(db, duty.worker))
