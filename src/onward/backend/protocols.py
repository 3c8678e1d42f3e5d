"""The port that every backend implements, and the capabilities that only some have.

A backend carries plans to workers and outcomes back. It implements `Backend` if its engine's client
blocks, or `AsyncBackend` if it awaits; the adapters beside this module give it the other one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from returns.result import Result

from onward.backend.records import Diagnosis, Schedule, Status, Submission
from onward.catalog import Catalog
from onward.fault import Fault
from onward.outcome import Outcome
from onward.plan import Plan


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
    def is_stopping(self) -> bool:
        """Whether it is to stop, as one of those tools said."""
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

    def close(self) -> None:
        """Ends the connection. What was submitted stays with the engine."""
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


class AsyncCancels(Protocol):
    """What can cancel a call, for callers that await."""

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


class AsyncSchedules(Protocol):
    """What makes calls by the clock, for callers that await."""

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


@runtime_checkable
class Watches(Protocol):
    """A backend that blocks, and can say when there is an outcome without holding a thread."""

    def watched(
        self, ids: Collection[str], notify: Callable[[], object], /
    ) -> AbstractContextManager[bool]:
        """While this is entered, `notify` is called on some thread when one of these has ended.

        It gives whether that is so; it may not be, where the engine is not reached.
        """
        ...


class AsyncDiagnoses(Protocol):
    """What can tell how its engine is, for callers that await."""

    async def diagnose(self, queues: Collection[str] = (), /) -> Result[Diagnosis, Fault]:
        """Like `Diagnoses.diagnose`."""
        ...


@runtime_checkable
class Checks(Protocol):
    """A backend that knows, before anything is submitted, what it cannot do."""

    def check(self, plan: Plan, /) -> list[Fault]:
        """What stands against this plan here; empty if nothing does."""
        ...


@runtime_checkable
class Explains(Protocol):
    """A backend that can show what its engine will be given."""

    def explain(self, plan: Plan, /) -> str:
        """A plan in the engine's own terms."""
        ...


@runtime_checkable
class RunsHere(Protocol):
    """A backend in this process, which can run a call for the one who waits, and then forget it."""

    def run_here(self, submission: Submission, /) -> Result[Outcome, Fault]:
        """Runs a call that has no key, so that nobody else can ask for it."""
        ...
