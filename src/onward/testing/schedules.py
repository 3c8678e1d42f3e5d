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
from onward.backend import Backend, Overlap, ReadsSchedules, Schedule, Schedules
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
from onward.testing.tools import Tools, what_ran


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

    def test_a_schedule_is_listed_as_it_was_declared(
        self, backend: Backend, names: tuple[str, str]
    ) -> None:
        """With its time zone, its overlap and how long it catches up."""
        clock = self.clock(backend)
        for options in (Schedule("", "", overlap="skip"), Schedule("", "", catch_up=3600)):
            made = schedule(
                tasks.inc(1),
                on=clock,
                name=names[0],
                cron="30 2 28 2 *",
                timezone="Asia/Tokyo",
                overlap=options.overlap,
                catch_up=options.catch_up,
            )
            if is_unsupported(made):
                pytest.skip("this backend's runs always overlap, and missed ones are left out")
            expected = replace(
                options,
                name=names[0],
                flow="inc",
                cron="30 2 28 2 *",
                timezone="Asia/Tokyo",
            )
            assert replace(made.unwrap(), next_at=None) == expected
            self.until(lambda: self.listed(names[0], clock) == [expected])  # noqa: B023 - at once

    def test_a_schedule_can_be_read_with_its_plan(
        self, backend: Backend, names: tuple[str, str]
    ) -> None:
        """So that another backend can take it over, whichever queue it has by default."""
        clock = self.clock(backend)
        if not isinstance(clock, ReadsSchedules):
            pytest.skip("this backend does not have the capability ReadsSchedules")
        call = (tasks.inc >> tasks.double)(20)
        made = schedule(call, on=clock, name=names[0], cron="30 2 28 2 *", tags=["a b"]).unwrap()
        found = clock.scheduled(names[0]).unwrap()
        assert replace(found.schedule, next_at=None) == replace(made, next_at=None)
        assert (found.plan.tags, found.plan.queue, found.plan.args) == (("a b",), None, call.args)
        assert isinstance(clock.scheduled(names[1]).failure(), Unknown)

    def test_the_runs_of_a_schedule_overlap_are_left_out_or_wait(
        self, backend: Backend, traces: Path
    ) -> None:
        """While the last run has not ended: as the schedule says."""
        clock = self.clock(backend)
        number = int.from_bytes(os.urandom(4))
        held = {"allow": number, "skip": number + 1, "queue": number + 2}
        names = {overlap: f"suite.{n}" for overlap, n in held.items()}

        def begun(overlap: str) -> int:
            return len(self.calls_on(held[overlap], traces, "hold"))

        def declared(overlap: Overlap) -> bool:
            call, name = tasks.hold(held[overlap]), names[overlap]
            made = schedule(call, on=clock, name=name, every=1, overlap=overlap)
            if is_unsupported(made):
                return False
            made.unwrap()
            return True

        try:
            if not (declared("skip") and declared("queue") and declared("allow")):
                pytest.skip("this backend's runs always overlap, and missed ones are left out")
            self.until(lambda: begun("skip") >= 1 and begun("queue") >= 1)
            before = begun("allow")
            self.until(lambda: begun("allow") >= before + 2)
            assert (begun("skip"), begun("queue")) == (1, 1)
            for n in held.values():
                (traces / f"go.{n}").touch()
            self.until(lambda: begun("skip") >= 2 and begun("queue") >= 2)
        finally:
            for n in held.values():
                (traces / f"go.{n}").touch()
            for name in names.values():
                unschedule(name, on=clock)

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
        paused, removed, metronome = (int.from_bytes(os.urandom(4)) for _ in range(3))
        beat = f"{names[0]}.beat"
        if is_unsupported(schedule(tasks.inc(paused), on=clock, name=names[0], every=1)):
            pytest.skip("this backend's schedules go by cron alone")
        schedule(tasks.inc(removed), on=clock, name=names[1], every=1).unwrap()
        schedule(tasks.inc(metronome), on=clock, name=beat, every=1).unwrap()

        def comes_again(number: int, times: int = 1) -> None:
            more = len(self.calls_on(number, traces)) + times
            self.until(lambda: len(self.calls_on(number, traces)) >= more)

        try:
            comes_again(paused)
            comes_again(removed)
            still = [removed]
            if not is_unsupported(pause_schedule(names[0], on=clock)):
                still.append(paused)
            assert unschedule(names[1], on=clock) == Success(None)
            comes_again(metronome, 2)  # What had begun has arrived by then.
            before = [self.calls_on(number, traces) for number in still]
            comes_again(metronome, 2)
            assert [self.calls_on(number, traces) for number in still] == before
            if paused in still:
                assert resume_schedule(names[0], on=clock) == Success(None)
                comes_again(paused)
        finally:
            unschedule(beat, on=clock)

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

    def calls_on(self, n: int, traces: Path, task: str = "inc") -> list[str]:
        """The ids of the calls that have run a task on this number."""
        return [file.name for file in traces.iterdir() if what_ran(file) == [f"{task} {n} 1"]]


def is_unsupported(answer: Result[Any, Fault]) -> bool:
    """Whether the answer is that the backend cannot do this."""
    return isinstance(answer, Failure) and isinstance(answer.failure(), Unsupported)
