"""Makes the calls of schedules when they are due, on a thread of the worker that leads.

The workers agree on the leader by a lease in the ledger. If the leader dies, its lease runs out,
and another worker goes on. The leader first submits a call and then stores that it has. The id of a
run comes from the schedule's name and the time, so whoever makes it again submits nothing new.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterable

from msgspec.structs import replace
from returns.result import Failure, Result

from onward.backend import Submission
from onward.backend.schedules import advance
from onward.backends.celery.core import Core
from onward.backends.celery.errors import NOT_REACHED
from onward.backends.celery.schedules import Kept, ScheduleStore
from onward.fault import Fault

_LEASE = 3.0
"""How long the leader leads without renewing its lease, in seconds."""

_PAUSE = 1.0
"""How long the leader sleeps at most, in seconds, because a client may declare a schedule."""

_LOGGER = logging.getLogger("onward.celery")


class Scheduler:
    """Takes part in the lead, and makes the calls of schedules while it leads.

    Args:
        core: The backend.
        submit: Submits calls.
    """

    def __init__(
        self, core: Core, submit: Callable[[Iterable[Submission]], Result[list[str], Fault]]
    ) -> None:
        self._ledger = core.ledger
        self._store = ScheduleStore(core.ledger.cells, core.signer)
        self._submit = submit
        self._holder = f"{os.getpid()}-{secrets.token_hex(8)}"
        self._version: int | None = None
        self._kept: dict[str, Kept] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="onward-schedules", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Makes no more calls, and lets another worker lead."""
        self._ended.set()

    def join(self, timeout: float) -> None:
        """Waits until another worker may lead, for at most so many seconds."""
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._look()
            except NOT_REACHED:  # other parts log it
                self._version = None
                self._ended.wait(_PAUSE)
            except Exception:
                if self._ended.is_set():  # the ledger may have been closed meanwhile
                    break
                _LOGGER.exception("the worker failed to make the calls of schedules")
                self._version = None
                self._ended.wait(_PAUSE)
        try:
            self._store.cells.step_down(self._holder)
        except Exception:  # the lease runs out by itself
            _LOGGER.debug("the ledger did not answer at the end", exc_info=True)

    def _look(self) -> None:
        """Makes the calls that are due, if this worker leads, and sleeps until others may be."""
        leadership = self._store.cells.lead(self._holder, _LEASE)
        if not leadership.is_leader:
            self._version = None
            self._ended.wait(leadership.left)
            return
        if leadership.version != self._version:
            self._kept = {kept.record.schedule.name: kept for kept in self._store.all()}
            self._version = leadership.version
        now = self._ledger.now()
        failed = [kept for kept in list(self._kept.values()) if not self._make_due(kept, now)]
        timings = [
            kept.record.timing for kept in self._kept.values() if not kept.record.schedule.paused
        ]
        times = [timing.next_at for timing in timings if timing.next_at is not None]
        until_due = min((at - self._ledger.now() for at in times), default=_PAUSE)
        pause = _PAUSE if failed else min(until_due, _PAUSE)
        blocking = [timing.last for timing in timings if timing.waiting]
        if blocking and pause > 0:
            self._ledger.wait(blocking, pause)  # until one of the calls ends that runs wait for
        else:
            self._ended.wait(max(0.0, pause))

    def _make_due(self, kept: Kept, now: float) -> bool:
        """Makes the calls of a schedule that are due; returns whether it could."""
        schedule, before = kept.record.schedule, kept.record.timing
        is_due = before.next_at is not None and before.next_at <= now
        if schedule.paused or not (is_due or before.waiting):
            return True
        calls, timing = advance(schedule, before, now, self._ledger.is_open)
        if timing == before:
            return True
        if calls:
            plan = self._store.plan_of(schedule.name)
            if plan is None:
                del self._kept[schedule.name]  # until a client changes a schedule
                _LOGGER.error("the plan of schedule %r cannot be read", schedule.name)
                return True
            made = self._submit([Submission(replace(plan, id=id)) for id in calls])
            if isinstance(made, Failure):
                _LOGGER.warning(
                    "schedule %r makes its calls later: %s", schedule.name, made.failure()
                )
                return False
        stored = self._store.advance(kept, timing)
        if stored is None:
            self._version = None  # read all of them again
        else:
            self._kept[schedule.name] = stored
        return True
