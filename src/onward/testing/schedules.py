"""The laws of schedules."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace
from returns.result import Failure, Result, Success

from onward import aio
from onward.backend import Backend, Schedule, Schedules
from onward.fault import (
    Fault,
    Unknown,
    Unsupported,
)
from onward.flows.flow import Call
from onward.interpret import (
    pause_schedule,
    result,
    resume_schedule,
    schedule,
    schedules,
    unschedule,
)
from onward.testing import tasks
from onward.testing.tools import Tools


class ScheduleLaws(Tools):
    """The laws of schedules, as a part of `BackendSuite`."""

    @pytest.fixture
    @staticmethod
    def names(backend: Backend) -> Iterator[tuple[str, str]]:
        """Names for the schedules of one test, which removes them at its end."""
        names = (f"suite.{os.urandom(8).hex()}", f"suite.{os.urandom(8).hex()}")
        yield names
        if isinstance(backend, Schedules):
            for name in names:
                unschedule(name, on=backend)

    def test_declaring_a_schedule_again_replaces_it(
        self, backend: Backend, names: tuple[str, str]
    ) -> None:
        """A name has one schedule, the last declared one, until it is removed."""
        clock = self.clock(backend)
        name, other = names
        self.declare(Schedule(name, "inc", cron="0 0 1 1 *"), tasks.inc(1), clock)
        self.declare(Schedule(name, "double", cron="30 2 28 2 *"), tasks.double(1), clock)
        self.declare(Schedule(other, "inc", cron="0 0 1 1 *"), tasks.inc(2), clock)
        assert unschedule(name, on=clock) == Success(None)
        self.until(lambda: self.listed(name, clock) == [])
        assert len(self.listed(other, clock)) == 1
        assert isinstance(unschedule(name, on=clock).failure(), Unknown)
        assert asyncio.run(aio.unschedule(other, on=clock)) == Success(None)

    def test_a_schedule_uses_its_time_zone(self, backend: Backend, names: tuple[str, str]) -> None:
        """If the engine reports the next run, that is at the right hour in the time zone."""
        clock = self.clock(backend)
        name, _ = names
        made = schedule(
            tasks.inc(1), on=clock, name=name, cron="30 2 28 2 *", timezone="Asia/Tokyo"
        )
        if is_unsupported(made):
            pytest.skip("this backend knows no time zones")
        next_at = made.unwrap().next_at
        if next_at is not None:
            assert next_at.tzinfo is not None
            there = next_at.astimezone(ZoneInfo("Asia/Tokyo"))
            assert (there.month, there.day, there.hour, there.minute) == (2, 28, 2, 30)

    def test_a_paused_schedule_stays_paused(self, backend: Backend, names: tuple[str, str]) -> None:
        """Also when it is declared again, until it is resumed."""
        clock = self.clock(backend)
        name, unknown = names
        yearly = Schedule(name, "inc", cron="0 0 1 1 *")
        self.declare(yearly, tasks.inc(1), clock)
        if is_unsupported(pause_schedule(name, on=clock)):
            pytest.skip("this backend cannot pause a schedule")
        self.declare(replace(yearly, cron="30 2 28 2 *", paused=True), tasks.inc(1), clock)
        assert asyncio.run(aio.resume_schedule(name, on=clock)) == Success(None)
        self.declare(yearly, tasks.inc(1), clock)
        assert isinstance(pause_schedule(unknown, on=clock).failure(), Unknown)
        assert isinstance(resume_schedule(unknown, on=clock).failure(), Unknown)

    def test_each_run_of_a_schedule_is_a_call_of_its_own(
        self, backend: Backend, names: tuple[str, str], traces: Path
    ) -> None:
        """Each has an id, with which one gets its outcome."""
        clock = self.clock(backend)
        name, _ = names
        n, times, patience = int.from_bytes(os.urandom(4)), 2, self.patience
        made = schedule(tasks.inc(n), on=clock, name=name, every=1)
        if is_unsupported(made):
            times, patience = 1, self.patience + 60
            made = schedule(tasks.inc(n), on=clock, name=name, cron="* * * * *")
        made.unwrap()
        self.until(lambda: len(self.calls_on(n, traces)) >= times, patience)
        for id in self.calls_on(n, traces):
            assert result(tasks.inc.ref(id), on=clock, timeout=self.patience) == Success(n + 1)

    def test_a_paused_or_removed_schedule_runs_nothing(
        self, backend: Backend, names: tuple[str, str], traces: Path
    ) -> None:
        """While another schedule goes on."""
        clock = self.clock(backend)
        name, metronome = names
        n, beat = int.from_bytes(os.urandom(4)), int.from_bytes(os.urandom(4))
        if is_unsupported(schedule(tasks.inc(n), on=clock, name=name, every=1)):
            pytest.skip("this backend's schedules go by cron alone")
        schedule(tasks.inc(beat), on=clock, name=metronome, every=1).unwrap()

        def comes_again(number: int, times: int = 1) -> None:
            more = len(self.calls_on(number, traces)) + times
            self.until(lambda: len(self.calls_on(number, traces)) >= more)

        def is_still() -> bool:
            comes_again(beat, 2)  # What had begun has arrived by then.
            before = len(self.calls_on(n, traces))
            comes_again(beat, 2)
            return len(self.calls_on(n, traces)) == before

        comes_again(n)
        if not is_unsupported(pause_schedule(name, on=clock)):
            assert is_still()
            assert resume_schedule(name, on=clock) == Success(None)
            comes_again(n)
        assert unschedule(name, on=clock) == Success(None)
        assert is_still()

    # -- tools --------------------------------------------------------------------------------

    def clock(self, backend: Backend) -> Schedules:
        """The backend under test; skips the test if it has no schedules."""
        if not isinstance(backend, Schedules):
            pytest.skip("this backend does not have the capability Schedules")
        return backend

    def declare(self, expected: Schedule, call: Call[Any, Any], clock: Schedules) -> None:
        """Declares a schedule, and checks the answer and the list of all schedules."""
        made = schedule(call, on=clock, name=expected.name, cron=expected.cron).unwrap()
        assert replace(made, next_at=None) == expected
        self.until(lambda: self.listed(expected.name, clock) == [expected])

    def listed(self, name: str, clock: Schedules) -> list[Schedule]:
        """The schedules of this name, without the time of their next run."""
        found = schedules(on=clock).unwrap()
        return [replace(one, next_at=None) for one in found if one.name == name]

    def calls_on(self, n: int, traces: Path) -> list[str]:
        """The ids of the calls that have run `inc` on this number."""
        return [file.name for file in traces.iterdir() if file.read_text() == f"inc {n} 1\n"]


def is_unsupported(answer: Result[Any, Fault]) -> bool:
    """Whether the answer is that the backend cannot do this."""
    return isinstance(answer, Failure) and isinstance(answer.failure(), Unsupported)
