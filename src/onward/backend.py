"""The port that every backend implements, and the capabilities that only some have.

A backend carries plans to workers and outcomes back. It implements `Backend` if its engine's client
blocks, or `AsyncBackend` if it awaits; `onward.adapters` gives it the other one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from msgspec import Struct
from returns.result import Result

from onward.catalog import Catalog, Tasks
from onward.context import Progress
from onward.fault import Cancelled, Expired, Fault
from onward.flows.flow import Flow
from onward.outcome import Failed, Outcome, Value
from onward.plan import Plan

State: TypeAlias = Literal["queued", "running", "done", "failed", "cancelled", "expired"]
"""Where a call is. `failed` is a domain error or a fault; an id that nobody knows has no state."""


class Status(Struct, frozen=True):
    """Where a submitted call is.

    Args:
        state: queued, running, done, failed, cancelled or expired.
        task: The task that is running, or that ran last.
        step: That step's place within the call.
        attempt: Which attempt at it is running.
        progress: What the task last said of how far it is.
    """

    state: State
    task: str = ""
    step: str = ""
    attempt: int = 0
    progress: Progress | None = None

    @property
    def settled(self) -> bool:
        """Whether there is an outcome."""
        return self.state not in ("queued", "running")


class Submission(Struct, frozen=True):
    """A plan on its way to a backend.

    Args:
        plan: What to run; its `id` is the id that the backend knows it by.
        delay: How long it waits before it starts, in seconds.
        flow: The flow it was made of, for a backend that runs it in this process; a backend that
            sends the plan elsewhere has no use for it. None where only the plan is known.
        watched: The flow's tasks, where somebody is told of the attempts at them.
    """

    plan: Plan
    delay: float = 0.0
    flow: Flow[..., Any, Any] | None = None
    watched: Tasks | None = None

    @property
    def tasks(self) -> Tasks | None:
        """The tasks that it runs, by name; None where only the plan is known."""
        if self.watched is not None or self.flow is None:
            return self.watched
        return self.flow.tasks


class Schedule(Struct, frozen=True):
    """A call that a backend makes again and again, by a name.

    Args:
        name: What it goes by.
        flow: The flow's name, for people.
        cron: When it runs, as the five fields of cron: minute, hour, day of the month, month, day
            of the week.
        every: How many seconds lie between two runs, where it goes by no cron.
        timezone: The time zone that cron's fields are in, by its IANA name.
        paused: Whether it runs nothing until it is resumed.
        next_at: When it runs next, with a time zone, where the engine tells.

    Example:
        >>> Schedule("nightly-report", "report", cron="30 2 * * *", timezone="Europe/Berlin")
        Schedule(name='nightly-report', flow='report', cron='30 2 * * *', every=None, \
timezone='Europe/Berlin', paused=False, next_at=None)
    """

    name: str
    flow: str
    cron: str | None = None
    every: int | None = None
    timezone: str = "UTC"
    paused: bool = False
    next_at: datetime | None = None


class Finding(Struct, frozen=True):
    """Something that was found out about an engine, for people.

    Args:
        what: What it is about, in a word or two.
        text: What is so; no secret is in it.
        cure: What to do about it; empty where nothing need be done.
        is_wrong: Whether it keeps calls from running as they should.
    """

    what: str
    text: str
    cure: str = ""
    is_wrong: bool = False


class SeenWorker(Struct, frozen=True):
    """A worker, as the engine knows it.

    Args:
        name: What the engine calls it.
        queues: Where it takes steps from.
        tasks: The tasks that it serves; None where the engine cannot tell.
    """

    name: str
    queues: frozenset[str]
    tasks: frozenset[str] | None = None


class Diagnosis(Struct, frozen=True):
    """How an engine is.

    Args:
        queue: The queue of steps that name none.
        findings: What was found out.
        workers: The workers that are there.
        waiting: How many steps wait in each queue.
        clock: How far its clock is ahead of ours, in seconds; None where it cannot be told.
        tells_workers: Whether the engine was heard about its workers; if not, none are known.
        knows_capitals: Whether it does; if not, there are none in the names of workers' tasks.
        knows_tasks: Whether it hands a step only to workers that serve its task; else to whichever
            worker takes steps from the queue.
        waiting_tasks: How many steps of each task wait, on an engine that does not tell of queues.
    """

    queue: str
    findings: tuple[Finding, ...]
    workers: tuple[SeenWorker, ...]
    waiting: Mapping[str, int]
    clock: float | None = None
    tells_workers: bool = True
    knows_capitals: bool = True
    knows_tasks: bool = False
    waiting_tasks: Mapping[str, int] = {}


def state_of(outcome: Outcome) -> State:
    """The state of a call that has this outcome."""
    if isinstance(outcome, Value):
        return "done"
    match None if isinstance(outcome, Failed) else outcome.fault:
        case Cancelled():
            return "cancelled"
        case Expired():
            return "expired"
        case _:
            return "failed"


class Worker(Protocol):
    """Something that serves a catalog until it is stopped."""

    def stop(self, grace: float = 30.0) -> None:
        """Takes no more work, and waits so many seconds at most for what it holds to end.

        Who is in a hurry calls it again meanwhile, from another thread, with fewer seconds.
        """
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it has stopped, or so many seconds; True once it has."""
        ...


@runtime_checkable
class StopsRemotely(Worker, Protocol):
    """A worker that people can also stop by their engine's own tools."""

    @property
    def is_told(self) -> bool:
        """Whether somebody has told it to stop."""
        ...


class Backend(Protocol):
    """What carries plans to workers and outcomes back, for callers that block."""

    def submit(self, submission: Submission, /) -> Result[str, Fault]:
        """Hands a plan over, once for each id; gives the id it is now known by."""
        ...

    def submit_all(self, submissions: Iterable[Submission], /) -> Result[list[str], Fault]:
        """Hands many plans over, in their order, by as few round trips as can be."""
        ...

    def outcome(self, id: str, /, timeout: float | None = None) -> Result[Outcome | None, Fault]:
        """The outcome of a call; None if there is none after so many seconds; `Unknown`."""
        ...

    def settled(
        self, ids: Collection[str], /, timeout: float | None = None
    ) -> Result[Mapping[str, Outcome], Fault]:
        """The outcomes there are among these calls, as soon as there is one.

        An id that nobody knows has `Unknown` as its outcome. None of them after so many seconds is
        an empty mapping.
        """
        ...

    def status(self, id: str, /) -> Result[Status, Fault]:
        """Where a call is; `Unknown` for an id that nobody knows."""
        ...

    def serve(
        self,
        catalog: Catalog,
        /,
        *,
        concurrency: int | None = None,
        queues: Collection[str] | None = None,
    ) -> Result[Worker, Fault]:
        """Starts a worker.

        Args:
            catalog: What it runs.
            concurrency: How many steps it runs at a time; None leaves it to the backend.
            queues: The queues that it takes steps from; None for the backend's own, where steps
                wait that name none, and those that the catalog names. In a backend without queues
                it takes whatever comes.
        """
        ...


class AsyncBackend(Protocol):
    """What carries plans to workers and outcomes back, for callers that await."""

    async def submit(self, submission: Submission, /) -> Result[str, Fault]:
        """Like `Backend.submit`."""
        ...

    async def submit_all(self, submissions: Iterable[Submission], /) -> Result[list[str], Fault]:
        """Like `Backend.submit_all`."""
        ...

    async def outcome(
        self, id: str, /, timeout: float | None = None
    ) -> Result[Outcome | None, Fault]:
        """Like `Backend.outcome`."""
        ...

    async def settled(
        self, ids: Collection[str], /, timeout: float | None = None
    ) -> Result[Mapping[str, Outcome], Fault]:
        """Like `Backend.settled`."""
        ...

    async def status(self, id: str, /) -> Result[Status, Fault]:
        """Like `Backend.status`."""
        ...

    async def serve(
        self,
        catalog: Catalog,
        /,
        *,
        concurrency: int | None = None,
        queues: Collection[str] | None = None,
    ) -> Result[Worker, Fault]:
        """Like `Backend.serve`."""
        ...


@runtime_checkable
class Cancels(Backend, Protocol):
    """A backend that can cancel a call; `isinstance(backend, Cancels)` tells whether it can."""

    def cancel(self, id: str, /) -> Result[None, Fault]:
        """Sees to it that the call ends as `Cancelled`, if it has no outcome yet."""
        ...


class AsyncCancels(AsyncBackend, Protocol):
    """A backend that can cancel a call, for callers that await."""

    async def cancel(self, id: str, /) -> Result[None, Fault]:
        """Like `Cancels.cancel`."""
        ...


@runtime_checkable
class Schedules(Backend, Protocol):
    """A backend that makes calls by the clock; `isinstance(backend, Schedules)` tells.

    What an engine knows only part of (no `every`, no pausing) is `Unsupported` there.
    """

    def schedule(self, schedule: Schedule, plan: Plan, /) -> Result[Schedule, Fault]:
        """Makes a schedule, or puts it in the place of the one of that name.

        Args:
            schedule: Its name, and either its cron or its `every`; nothing of it needs a check.
            plan: What to run. It has no id: each run is a call of its own, whose id the backend
                gives to it. Runs may overlap.

        Returns:
            The schedule as it is now: one that was paused stays so, and one that is declared again
            unchanged goes on as it was.
        """
        ...

    def schedules(self) -> Result[list[Schedule], Fault]:
        """The schedules there are, by name; those that Onward made, and no others."""
        ...

    def pause_schedule(self, name: str, /) -> Result[None, Fault]:
        """Lets a schedule run nothing until it is resumed; `Unknown` if there is none."""
        ...

    def resume_schedule(self, name: str, /) -> Result[None, Fault]:
        """Lets a paused schedule run again, from now on; `Unknown` if there is none."""
        ...

    def unschedule(self, name: str, /) -> Result[None, Fault]:
        """Takes a schedule away, and leaves the calls it has made; `Unknown` if there is none."""
        ...


class AsyncSchedules(AsyncBackend, Protocol):
    """A backend that makes calls by the clock, for callers that await."""

    async def schedule(self, schedule: Schedule, plan: Plan, /) -> Result[Schedule, Fault]:
        """Like `Schedules.schedule`."""
        ...

    async def schedules(self) -> Result[list[Schedule], Fault]:
        """Like `Schedules.schedules`."""
        ...

    async def pause_schedule(self, name: str, /) -> Result[None, Fault]:
        """Like `Schedules.pause_schedule`."""
        ...

    async def resume_schedule(self, name: str, /) -> Result[None, Fault]:
        """Like `Schedules.resume_schedule`."""
        ...

    async def unschedule(self, name: str, /) -> Result[None, Fault]:
        """Like `Schedules.unschedule`."""
        ...


@runtime_checkable
class Diagnoses(Backend, Protocol):
    """A backend that can tell how its engine is; `isinstance(backend, Diagnoses)` tells."""

    def diagnose(self, queues: Collection[str] = (), /) -> Result[Diagnosis, Fault]:
        """Looks at the engine, its workers and its queues, these among them."""
        ...


class Checks(Protocol):
    """A backend that knows, before anything is submitted, what it cannot do."""

    def check(self, plan: Plan, /) -> list[Fault]:
        """What stands against this plan here; empty if nothing does."""
        ...


class Explains(Protocol):
    """A backend that can show what its engine will be given."""

    def explain(self, plan: Plan, /) -> str:
        """A plan in the engine's own terms."""
        ...


class RunsHere(Protocol):
    """A backend in this process, which can run a call for the one who waits, and then forget it."""

    def run_here(self, submission: Submission, /) -> Result[Outcome, Fault]:
        """Runs a call that has no key, so that nobody else can ask for it."""
        ...


class AsyncRunsHere(Protocol):
    """A backend in this process, for callers that await."""

    async def run_here(self, submission: Submission, /) -> Result[Outcome, Fault]:
        """Like `RunsHere.run_here`."""
        ...
