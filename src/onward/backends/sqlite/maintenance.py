"""What a worker does every second or so, beside its steps.

It renews its lease, takes over from workers that are gone, ends calls whose deadline has passed,
makes the calls of schedules, and forgets old calls. It has a thread of its own, because a step that
blocks the event loop must not cost the worker its lease.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from sqlite3 import Connection
from typing import NamedTuple

from onward.backends.sqlite import lease, places, retention, schedules, schema
from onward.backends.sqlite.clock import note_time
from onward.backends.sqlite.errors import PROBLEMS, Refused
from onward.backends.sqlite.lease import LostCall
from onward.backends.sqlite.resources import Resources
from onward.backends.sqlite.settle import expire

_EVERY = 1.0
"""How often it looks at most, in seconds."""

_PRUNE_EVERY = 10.0
"""How often it looks for old calls, in seconds."""

_LOGGER = logging.getLogger("onward.sqlite")


class Report(NamedTuple):
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


class Maintenance:
    """Looks every second or so, until it is closed.

    Args:
        resources: What it works with.
        worker: The worker's number.
        tell: Takes the report of each round that wrote something, on some thread.
    """

    def __init__(self, resources: Resources, worker: int, tell: Callable[[Report], None]) -> None:
        self._resources = resources
        self._worker = worker
        self._tell = tell
        self._closed = threading.Event()
        self._identity = self._found = resources.file.identity
        self._pruned = self._looked = time.monotonic()
        self._renewed = self._looked - resources.lease  # it looks at once
        threading.Thread(target=self._run, name="onward-sqlite-maintenance", daemon=True).start()

    def close(self) -> None:
        """Looks no more."""
        self._closed.set()

    def silent(self) -> float:
        """How long it has not been able to look, in seconds."""
        return time.monotonic() - self._looked

    def _run(self) -> None:
        every = min(_EVERY, self._resources.lease / 4)
        while not self._closed.is_set():
            try:
                if self._is_due() or self._resources.reads.do(self._is_needed).result():
                    report = self._resources.commits.do(self._look).result()
                    self._identity = self._found
                    self._resources.outage.works()
                    self._tell(report)
                self._looked = time.monotonic()
                if time.monotonic() - self._pruned >= _PRUNE_EVERY:
                    self._prune_all()
            except CancelledError:
                pass  # the backend was closed
            except (*PROBLEMS, Refused) as problem:  # the next look may find the file well again
                self._resources.outage.fails(problem)
            self._closed.wait(every)

    def _prune_all(self) -> None:
        # In short transactions, between which others have their turn.
        while self._resources.commits.do(self._prune).result() and not self._closed.is_set():
            pass
        self._pruned = time.monotonic()

    def _prune(self, db: Connection) -> bool:
        is_full = retention.prune(db, self._resources.file.clock.now() - self._resources.keep)
        retention.shrink(db)
        return is_full

    def _is_due(self) -> bool:
        return time.monotonic() - self._renewed >= self._resources.lease / 3

    def _is_needed(self, db: Connection) -> bool:
        now = self._resources.file.clock.now()
        query = "select 1 from onward_jobs where deadline <= ? limit 1"
        return bool(
            db.execute(query, (now,)).fetchone()
            or schedules.are_due(db)
            or lease.gone(db, now, self._worker)
        )

    def _look(self, db: Connection) -> Report:
        clock, now = self._resources.file.clock, self._resources.file.clock.now()
        self._found = self._resources.file.identity
        if self._found != self._identity:
            # In a copy of the file, this worker may own what it no longer holds.
            lease.leave(db, self._worker, clock)
        has_lease = lease.renew(db, self._worker, now + self._resources.lease)
        if schema.version_of(db) > schema.VERSION:
            return Report([], has_lease, is_old=True)
        lost: list[LostCall] = []
        # Who was stopped, or kept from writing, lets the others, which may have been too, say first
        # that they are there.
        if time.monotonic() - self._looked < self._resources.lease / 2:
            lost = lease.take_over(db, lease.gone(db, now, self._worker), clock)
        expire(db, clock)
        places.look_over(db, now)
        schedules.make_due(db, self._resources.queue, clock)
        note_time(db, now)
        self._renewed = time.monotonic()
        return Report(lost, has_lease, others=lease.queues_of_others(db, self._worker))
