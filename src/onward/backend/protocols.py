"""The protocols of a backend: the port that all implement, and capabilities that some have.

A backend carries plans to workers and outcomes back. It implements `Backend` if its engine's client
blocks, or `AsyncBackend` if the client awaits. `onward.backend.adapters` provides the other one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from msgspec import Raw
from returns.result import Result

from onward.backend.records import (
    Diagnosis,
    Schedule,
    Scheduled,
    Status,
    Submission,
)
from onward.backend.workers import Worker
from onward.fault import Fault, Moved
from onward.outcome import Outcome
from onward.plan import Plan

if TYPE_CHECKING:
    from onward.backend.history import CallPage, CallQuery, HistoryPage
    from onward.catalog import Catalog


class Submits(Protocol):
    """What plans can be submitted on, for callers that block: a backend, or a part of one."""

    def submit(self, submission: Submission, /) -> Result[str, Fault]:
        """Submits a plan and returns the call's id. An id that is known already starts nothing."""
        ...

    def submit_all(self, submissions: Iterable[Submission], /) -> Result[list[str], Fault]:
        """Submits many plans in their order, in as few round trips as possible."""
        ...


@runtime_checkable
class SubmitsUnique(Submits, Protocol):
    """What has unique calls: of a key, one at a time is open.

    Example:
        >>> from onward import connect
        >>> from onward.backend import SubmitsUnique
        >>> isinstance(connect("local://").unwrap(), SubmitsUnique)
        True
    """

    def submit_unique(self, submission: Submission, /) -> Result[str, Fault]:
        """Submits a plan, unless a call of its `unique.slot` is open, which is then the answer.

        A call is open until it has an outcome. With `unique.replaces`, what happens depends on
        whether the open call has started:

        - If it has not, the submission's plan and delay replace its own, and its id stays.
        - If it has, the submission becomes the call that comes after it: it starts when the delay
          has passed and the open one has ended. Until then, further ones replace that one.

        All of it is atomic, however many processes submit.

        Args:
            submission: A submission with `unique`.

        Returns:
            The id of the call that stands for the submission; `Unsupported` if the engine cannot
            replace calls.
        """
        ...


class Backend(Submits, Protocol):
    """Carries plans to workers and outcomes back, for callers that block.

    Example:
        >>> from onward import Backend, connect
        >>> backend: Backend = connect("local://").unwrap()
    """

    def outcome(self, id: str, /, timeout: float | None = None) -> Result[Outcome | None, Fault]:
        """Waits for the outcome of a call.

        Args:
            id: The call's id.
            timeout: The longest wait, in seconds; None for no limit.

        Returns:
            The outcome; None if there is none in time; `Unknown` for an unknown id.
        """
        ...

    def settled(
        self, ids: Collection[str], /, timeout: float | None = None
    ) -> Result[Mapping[str, Outcome], Fault]:
        """Waits until at least one of these calls has an outcome.

        Args:
            ids: The calls' ids.
            timeout: The longest wait, in seconds; None for no limit.

        Returns:
            The outcomes by id; empty if there is none in time. The outcome of an id that the engine
            does not know is `Unknown`.
        """
        ...

    def status(self, id: str, /) -> Result[Status, Fault]:
        """Returns the status of a call; `Unknown` if the engine does not know the id."""
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
            catalog: The tasks that the worker runs.
            concurrency: How many steps it runs at the same time; None for the backend's default.
            queues: The queues that it takes steps from; None for the backend's default queue and
                those that the catalog names. A backend without queues ignores this.
        """
        ...

    def close(self) -> None:
        """Closes the connection. Submitted calls stay with the engine."""
        ...


@runtime_checkable
class Cancels(Backend, Protocol):
    """A backend that can cancel a call; `isinstance(backend, Cancels)` tells whether it can.

    Example:
        >>> from onward import Cancels, connect
        >>> isinstance(connect("local://").unwrap(), Cancels)
        True
    """

    def cancel(self, id: str, /) -> Result[None, Fault]:
        """Ends a call as `Cancelled`, if it has no outcome yet."""
        ...


@runtime_checkable
class Signals(Backend, Protocol):
    """A backend that can send signals; `isinstance(backend, Signals)` tells whether it can.

    Example:
        >>> from onward import Signals, connect
        >>> isinstance(connect("local://").unwrap(), Signals)
        True
    """

    def send(self, id: str, name: str, raw: Raw, /) -> Result[None, Fault]:
        """Stores the value of a signal for a call, which may wait for it already, or later.

        Args:
            id: The call's id.
            name: The signal's name.
            raw: Its value as JSON.

        Returns:
            None once it is stored. `Conflict` if the call has a value for this signal already, or
            has ended; see `onward.backend.support`. `Unknown` for an unknown id.
        """
        ...


@runtime_checkable
class Histories(Backend, Protocol):
    """A backend that can say what happened in a call; `isinstance(backend, Histories)` tells."""

    def history(self, id: str, /, after: str = "", limit: int = 1000) -> Result[HistoryPage, Fault]:
        """Returns what is recorded of a call.

        Args:
            id: The call's id.
            after: The `next` of the page before; empty for the first page.
            limit: The largest number of steps on the page.

        Returns:
            The page; `Unknown` for an unknown id.
        """
        ...


@runtime_checkable
class Lists(Backend, Protocol):
    """A backend that can list its calls; `isinstance(backend, Lists)` tells whether it can."""

    def calls(self, query: CallQuery, /, after: str = "") -> Result[CallPage, Fault]:
        """Lists calls, the newest first.

        Args:
            query: Which ones, and how many on a page.
            after: The `next` of the page before; empty for the first page.
        """
        ...


@runtime_checkable
class Forgets(Backend, Protocol):
    """A backend that can delete all that it keeps of a call that has ended."""

    def forget(self, id: str, /) -> Result[None, Fault]:
        """Deletes a call that has ended: its arguments, its values, its outcome.

        Returns:
            None once it is deleted. `Conflict` if the call has no outcome yet; `Unknown` for an
            unknown id.
        """
        ...


@runtime_checkable
class Moves(Histories, Protocol):
    """A backend whose calls can be moved to another one while they are under way.

    Example:
        >>> from onward import Moves, connect
        >>> isinstance(connect("local://").unwrap(), Moves)
        True
    """

    def give_up(self, id: str, moved: Moved, /) -> Result[None, Fault]:
        """Ends a call with a fault that says where it goes on.

        From then on none of its steps begins here, no cleanup runs, and what its running steps give
        counts no more; they are interrupted as `cancel` does it. Its history stays.

        Args:
            id: The call's id.
            moved: What its outcome is from now on.

        Returns:
            None once it has ended, by this or before; its outcome says by which. `Conflict` if it
            is cancelling, which it ends here; `Unknown` for an unknown id.
        """
        ...


@runtime_checkable
class Finds(Backend, Protocol):
    """A backend where the id of a call is not always the id of its plan."""

    def find(self, id: str, /, timeout: float = 0.0) -> Result[str, Fault]:
        """Finds the call that was submitted with a plan.

        Args:
            id: The plan's id.
            timeout: How long to wait until the engine knows it, in seconds.

        Returns:
            The call's id; `Unknown` if there is none.
        """
        ...


@runtime_checkable
class Schedules(Backend, Protocol):
    """A backend that has schedules; `isinstance(backend, Schedules)` tells whether it has.

    Features that the engine lacks, such as `every` or pausing, are `Unsupported` there.

    Example:
        >>> from onward import Schedules, connect
        >>> isinstance(connect("local://").unwrap(), Schedules)
        True
    """

    def schedule(self, schedule: Schedule, plan: Plan, /) -> Result[Schedule, Fault]:
        """Makes a schedule, or replaces the one of the same name.

        Args:
            schedule: Its name, either its cron or its `every`, its `overlap` and its `catch_up`,
                all of them checked already, and whether it begins as a paused one. If the engine
                cannot do one of them, the answer is `Unsupported`.
            plan: The plan to run. It has no id: each run is a call of its own, and the backend
                gives it an id.

        Returns:
            The schedule as it is now. A paused schedule stays paused, and one whose times are the
            same continues.
        """
        ...

    def schedules(self) -> Result[list[Schedule], Fault]:
        """Lists the schedules that Onward made, sorted by name."""
        ...

    def pause_schedule(self, name: str, /) -> Result[None, Fault]:
        """Stops a schedule from running until it is resumed; `Unknown` if there is none."""
        ...

    def resume_schedule(self, name: str, /) -> Result[None, Fault]:
        """Lets a paused schedule run again, from now on; `Unknown` if there is none."""
        ...

    def unschedule(self, name: str, /) -> Result[None, Fault]:
        """Deletes a schedule; the calls it made stay. `Unknown` if there is none."""
        ...


@runtime_checkable
class ReadsSchedules(Schedules, Protocol):
    """A backend that can say what a schedule calls, so that another one can take it over."""

    def scheduled(self, name: str, /) -> Result[Scheduled, Fault]:
        """Returns a schedule and its plan; `Unknown` if there is none of this name.

        It reads what the engine has now, even where its list of schedules lags behind.
        """
        ...


@runtime_checkable
class Diagnoses(Backend, Protocol):
    """A backend that can diagnose its engine; `isinstance(backend, Diagnoses)` tells."""

    def diagnose(self, queues: Collection[str] = (), /) -> Result[Diagnosis, Fault]:
        """Inspects the engine, its workers and its queues, including the queues given here."""
        ...


@runtime_checkable
class Watches(Protocol):
    """A blocking backend that can notify a caller of an outcome without holding a thread."""

    def watched(
        self, ids: Collection[str], notify: Callable[[], object], /
    ) -> AbstractContextManager[bool]:
        """Calls `notify`, on some thread, when one of these calls ends while this is entered.

        The context manager gives False if it will not notify, because the engine is not reached.
        """
        ...


@runtime_checkable
class Transacts(Backend, Protocol):
    """A backend that can submit calls in a transaction of the caller's on the same database."""

    def within(self, connection: object, /) -> Submits:
        """Returns what submits in the transaction of a connection.

        A call that is submitted on it exists once the transaction commits; after a rollback there
        is none.

        Raises:
            TypeError: If it is no connection of a kind that the backend knows.
        """
        ...


@runtime_checkable
class Checks(Protocol):
    """A backend that can say, before anything is submitted, what its engine cannot run."""

    def check(self, plan: Plan, /) -> list[Fault]:
        """Returns what this engine cannot run of a plan; empty if it can run all of it."""
        ...


@runtime_checkable
class ChecksSchedules(Protocol):
    """A backend that can say what its engine cannot do of a schedule."""

    def check_schedule(self, schedule: Schedule, /) -> list[Fault]:
        """Returns what this engine cannot do of a schedule; empty if it can do all of it."""
        ...


@runtime_checkable
class Explains(Protocol):
    """A backend that can show what its engine would run."""

    def explain(self, plan: Plan, /) -> str:
        """Renders a plan in the engine's own terms."""
        ...


@runtime_checkable
class RunsHere(Protocol):
    """A backend in this process that can run a call while the caller waits, without storing it."""

    def run_here(self, submission: Submission, /) -> Result[Outcome, Fault]:
        """Runs a call that has no key, so that nobody else can ask for its outcome."""
        ...


@runtime_checkable
class SchedulesHere(Protocol):
    """A backend in this process, whose schedules run the flow that they were declared with."""

    def schedule_here(
        self, schedule: Schedule, submission: Submission, /
    ) -> Result[Schedule, Fault]:
        """Like `Schedules.schedule`, for a plan together with its flow."""
        ...
