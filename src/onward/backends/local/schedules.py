"""Schedules in memory. The backend makes their calls on its event loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from weakref import WeakMethod

from msgspec.structs import replace
from returns.result import Failure, Result, Success

from onward.backend import Schedule, Scheduled, Submission
from onward.backend.schedules import Timing, advance, begin, change, shown
from onward.fault import Fault, Misconfigured, Unknown

_LONGEST_SLEEP = 60.0
"""How long it sleeps at most, in seconds, because the system's clock may be set meanwhile."""


@dataclass(slots=True)
class _Kept:
    schedule: Schedule
    submission: Submission
    timing: Timing


class Timetable:
    """The schedules of a backend; all of it runs on the backend's event loop.

    Args:
        submit: Submits a call.
        is_open: Says whether the call with this id has no outcome yet.
    """

    def __init__(
        self,
        submit: Callable[[Submission], Coroutine[Any, Any, Result[str, Fault]]],
        is_open: Callable[[str], bool],
    ) -> None:
        # Weak, or the threads of a closed backend would last until the next garbage collection.
        self._submit = WeakMethod(submit)
        self._is_open = WeakMethod(is_open)
        self._kept: dict[str, _Kept] = {}
        self._changed = asyncio.Event()
        self._clock: asyncio.Task[None] | None = None

    def declare(self, schedule: Schedule, submission: Submission) -> Result[Schedule, Fault]:
        """See `Schedules.schedule`."""
        before, now = self._kept.get(schedule.name), time.time()
        is_paused = (schedule if before is None else before.schedule).paused
        kept = replace(schedule, paused=is_paused, next_at=None)
        try:
            timing = (
                change(kept, before.schedule, before.timing, now) if before else begin(kept, now)
            )
        except ValueError as problem:
            return Failure(Misconfigured(schedule.name, str(problem)))
        self._kept[schedule.name] = _Kept(kept, submission, timing)
        self._wake()
        return Success(shown(kept, timing))

    def listed(self) -> list[Schedule]:
        """See `Schedules.schedules`."""
        return [shown(kept.schedule, kept.timing) for _, kept in sorted(self._kept.items())]

    def scheduled(self, name: str) -> Result[Scheduled, Fault]:
        """See `ReadsSchedules.scheduled`."""
        kept = self._kept.get(name)
        if kept is None:
            return Failure(_unknown(name))
        return Success(Scheduled(shown(kept.schedule, kept.timing), kept.submission.plan))

    def pause(self, name: str, *, is_paused: bool) -> Result[None, Fault]:
        """Pauses or resumes a schedule; `Unknown` if there is none of this name."""
        kept = self._kept.get(name)
        if kept is None:
            return Failure(_unknown(name))
        if kept.schedule.paused != is_paused:
            kept.schedule = replace(kept.schedule, paused=is_paused)
            kept.timing = begin(kept.schedule, time.time(), kept.timing.last)
            self._wake()
        return Success(None)

    def remove(self, name: str) -> Result[None, Fault]:
        """Deletes a schedule; `Unknown` if there is none of this name."""
        if self._kept.pop(name, None) is None:
            return Failure(_unknown(name))
        self._wake()
        return Success(None)

    def close(self) -> None:
        """Makes no more calls."""
        self._kept.clear()
        self._changed.set()

    def note_end(self, id: str) -> None:
        """Starts the run that waits for a call to end, if there is one."""
        if any(kept.timing.waiting and kept.timing.last == id for kept in self._kept.values()):
            self._changed.set()

    def _wake(self) -> None:
        self._changed.set()
        if self._kept and (self._clock is None or self._clock.done()):
            self._clock = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while self._kept:
            self._changed.clear()
            running = [kept for kept in self._kept.values() if not kept.schedule.paused]
            for kept in running:
                await self._make_due(kept)
            times = [kept.timing.next_at for kept in running if kept.timing.next_at is not None]
            sleep = min([at - time.time() for at in times], default=_LONGEST_SLEEP)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, min(sleep, _LONGEST_SLEEP))):
                    await self._changed.wait()

    async def _make_due(self, kept: _Kept) -> None:
        submit, is_open = self._submit(), self._is_open()
        if submit is None or is_open is None:
            return  # nobody holds the backend any more, and its loop is about to end
        calls, kept.timing = advance(kept.schedule, kept.timing, time.time(), is_open)
        for id in calls:
            plan = replace(kept.submission.plan, id=id)
            await submit(replace(kept.submission, plan=plan))


def _unknown(name: str) -> Unknown:
    return Unknown(name, "local() has no schedule of this name in this process")
