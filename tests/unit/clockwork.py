"""A backend with a clock, as somebody else would write it, and some that break a promise."""

import os
import threading
import time
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace
from returns.result import Failure, Result, Success

from onward import Fault, Schedule, Unknown, Unsupported
from onward.backend import Submission
from onward.plan import Plan
from tests.unit.third_party import Postal


class Clockwork(Postal):
    """Its clock runs fast. It knows no calendar, so that what goes by cron waits to be struck.

    Args:
        speed: How many of its seconds go by in one.
    """

    takes_all_runs = True
    """Whether it says that its runs overlap."""

    def __init__(self, speed: float = 10.0) -> None:
        super().__init__()
        self.plans: dict[str, Plan] = {}
        self._speed = speed
        self._kept: dict[str, Schedule] = {}
        self._due: dict[str, float] = {}
        self._lock = threading.RLock()
        self._stopped = threading.Event()
        self._clock = threading.Thread(target=self._tick, name="clockwork", daemon=True)
        self._clock.start()

    def schedule(self, schedule: Schedule, plan: Plan, /) -> Result[Schedule, Fault]:
        if self.takes_all_runs and schedule.overlap != "allow":
            return Failure(Unsupported(schedule.name, "it strikes, whatever goes on"))
        with self._lock:
            before = self._kept.get(schedule.name)
            now = schedule if before is None else replace(schedule, paused=before.paused)
            if now.every is None:
                self._due.pop(now.name, None)
            elif before is None or before.every != now.every:
                self._due[now.name] = time.monotonic() + now.every / self._speed
            self._kept[now.name] = now
            self.plans[now.name] = plan
            return Success(self._shown(now))

    def schedules(self) -> Result[list[Schedule], Fault]:
        with self._lock:
            return Success([self._shown(self._kept[name]) for name in sorted(self._kept)])

    def pause_schedule(self, name: str, /) -> Result[None, Fault]:
        return self._set_paused(name, True)

    def resume_schedule(self, name: str, /) -> Result[None, Fault]:
        return self._set_paused(name, False)

    def unschedule(self, name: str, /) -> Result[None, Fault]:
        with self._lock:
            if self._kept.pop(name, None) is None:
                return Failure(Unknown(name, "there is no schedule of this name"))
            self._due.pop(name, None)
            return Success(None)

    def strike(self, name: str) -> str:
        """Makes the call of a schedule, and gives the call's id."""
        plan = replace(self.plans[name], id=self.new_id())
        return self.submit(Submission(plan)).unwrap()

    def new_id(self) -> str:
        """The id of another run."""
        return os.urandom(16).hex()

    def is_to_run(self, schedule: Schedule) -> bool:
        """Whether a schedule that is due makes its call."""
        return not schedule.paused

    def close(self) -> None:
        self._stopped.set()
        self._clock.join()
        super().close()

    def _set_paused(self, name: str, paused: bool) -> Result[None, Fault]:
        with self._lock:
            if name not in self._kept:
                return Failure(Unknown(name, "there is no schedule of this name"))
            self._kept[name] = replace(self._kept[name], paused=paused)
            return Success(None)

    def _shown(self, schedule: Schedule) -> Schedule:
        if schedule.name not in self._due or schedule.paused:
            return schedule
        left = (self._due[schedule.name] - time.monotonic()) * self._speed
        return replace(schedule, next_at=datetime.now(UTC) + timedelta(seconds=left))

    def _tick(self) -> None:
        while not self._stopped.wait(0.2 / self._speed):
            with self._lock:
                for name, due in list(self._due.items()):
                    if due <= time.monotonic():
                        schedule = self._kept[name]
                        self._due[name] = due + (schedule.every or 0) / self._speed
                        if self.is_to_run(schedule):
                            self.strike(name)


class KeepsTheFirst(Clockwork):
    """It does not replace what it has."""

    def schedule(self, schedule: Schedule, plan: Plan, /) -> Result[Schedule, Fault]:
        return super().schedule(self._kept.get(schedule.name, schedule), plan)


class WakesWhenDeclared(Clockwork):
    """It forgets that a schedule was paused."""

    def schedule(self, schedule: Schedule, plan: Plan, /) -> Result[Schedule, Fault]:
        self.resume_schedule(schedule.name)
        return super().schedule(schedule, plan)


class RunsWhilePaused(Clockwork):
    """It only says that a schedule is paused."""

    def is_to_run(self, schedule: Schedule) -> bool:
        return True


class RunsOnWhenTakenAway(Clockwork):
    """It only takes the name away."""

    def unschedule(self, name: str, /) -> Result[None, Fault]:
        kept = self._kept.get(name)
        if kept is not None:
            self.schedule(replace(kept, name=f"{name} of old"), self.plans[name])
        return super().unschedule(name)


class RunsOverAnother(Clockwork):
    """It only says that no two runs overlap."""

    takes_all_runs = False


class ForgetsTheOverlap(Clockwork):
    """It takes all schedules, and says that their runs may overlap."""

    takes_all_runs = False

    def schedules(self) -> Result[list[Schedule], Fault]:
        return (
            super().schedules().map(lambda found: [replace(one, overlap="allow") for one in found])
        )


class GivesOneId(Clockwork):
    """It takes all runs for one and the same."""

    def new_id(self) -> str:
        return "1" * 32
