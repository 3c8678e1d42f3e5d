"""The records that interpreters and backends exchange, besides plans and outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from onward.context import Progress
from onward.fault import Cancelled, Expired, Moved
from onward.flows.flow import AnyTask, Flow
from onward.outcome import Failed, Outcome, Value
from onward.plan import Plan

State: TypeAlias = Literal[
    "queued", "running", "waiting", "cancelling", "done", "failed", "cancelled", "expired", "moved"
]
"""The state of a call. `failed` is a domain error or a fault; an unknown id has no state.

A call is `waiting` while all that it does is to sleep, or to wait for a signal or for a limit. It
is `cancelling` if it was cancelled, or its deadline has passed, and cleanups still run. It is
`moved` once another backend has it.
"""


Overlap: TypeAlias = Literal["allow", "skip", "queue"]
"""What a schedule does when it is due while its last run has not ended: it starts the run anyway,
leaves it out, or starts it when the last one has ended."""


class Status(Struct, frozen=True):
    """Where a submitted call is.

    Args:
        state: queued, running, waiting, cancelling, done, failed, cancelled, expired or moved.
        task: The task that is running, or that ran last: of a call that waits, before the wait.
        step: The step's path within the call.
        attempt: The number of the step's attempt.
        progress: The progress that the task last reported.
        signal: The name of the signal that the call waits for; empty if it waits for none.
        until: When the wait ends at the latest; None if the call waits for no moment.
        limit: The name of the limit that the step waits for; empty if it waits for none.

    Example:
        >>> from onward import local, result, status, submit, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> backend = local()
        >>> ref = submit(double(21), on=backend).unwrap()
        >>> result(ref, on=backend)
        <Success: 42>
        >>> status(ref, on=backend).unwrap()
        Status(state='done', task='double', step='0', attempt=1, progress=None, \
signal='', until=None, limit='')
    """

    state: State
    task: str = ""
    step: str = ""
    attempt: int = 0
    progress: Progress | None = None
    signal: str = ""
    until: datetime | None = None
    limit: str = ""

    @property
    def settled(self) -> bool:
        """Whether there is an outcome."""
        return self.state not in ("queued", "running", "waiting", "cancelling")


class Unique(Struct, frozen=True):
    """How a submission shares its key with others, of which one at a time is open.

    Args:
        slot: What stands for the key and the flow together: 32 hexadecimal digits.
        replaces: Whether the submission replaces an open call that has not started, as `debounce=`
            asks for.
    """

    slot: str
    replaces: bool = False


class Submission(Struct, frozen=True):
    """A plan on its way to a backend.

    Args:
        plan: The plan to run; its `id` becomes the call's id.
        delay: The delay before it starts, in seconds.
        flow: The flow that the plan was made from, for a backend that runs it in this process. None
            if only the plan is known.
        observed: The flow's tasks, if observers follow their attempts or middleware surrounds them.
        unique: What it shares with other submissions, for `SubmitsUnique.submit_unique`.
    """

    plan: Plan
    delay: float = 0.0
    flow: Flow[..., Any, Any] | None = None
    observed: Mapping[str, AnyTask] | None = None
    unique: Unique | None = None

    @property
    def tasks(self) -> Mapping[str, AnyTask] | None:
        """The tasks that it runs, by name; None if only the plan is known."""
        if self.observed is not None or self.flow is None:
            return self.observed
        return self.flow.tasks


class Schedule(Struct, frozen=True):
    """A named schedule, by which a backend makes a call again and again.

    Args:
        name: The schedule's name.
        flow: The name of the flow that it calls.
        cron: When it runs, as the five fields of cron: minute, hour, day of the month, month, day
            of the week.
        every: The seconds between two runs, for a schedule without cron.
        timezone: The time zone of the cron fields, by its IANA name.
        paused: Whether it is paused.
        next_at: When it runs next, with a time zone; None if the engine does not say.
        overlap: What it does when it is due while its last run has not ended: `allow` starts the
            run, `skip` leaves it out, and `queue` starts it when the last one has ended.
        catch_up: How long after its time a missed run is still made, in seconds; None for what the
            engine does by itself.

    Example:
        >>> Schedule("nightly-report", "report", cron="30 2 * * *", timezone="Europe/Berlin")
        Schedule(name='nightly-report', flow='report', cron='30 2 * * *', every=None, \
timezone='Europe/Berlin', paused=False, next_at=None, overlap='allow', catch_up=None)
    """

    name: str
    flow: str
    cron: str | None = None
    every: int | None = None
    timezone: str = "UTC"
    paused: bool = False
    next_at: datetime | None = None
    overlap: Overlap = "allow"
    catch_up: int | None = None


class Scheduled(Struct, frozen=True):
    """A schedule, and the plan of its calls.

    Args:
        schedule: The schedule.
        plan: The plan, without an id.
    """

    schedule: Schedule
    plan: Plan


class Hearing(Struct, frozen=True):
    """How long a worker has heard nothing from its engine.

    Args:
        silent: The time since the engine answered, in seconds.
        limit: How long the engine may be silent while all is well, in seconds.
        slots: How many steps the worker can run at a time; None if it does not say.

    Example:
        >>> Hearing(silent=40.0, limit=15.0).is_deaf
        True
    """

    silent: float
    limit: float
    slots: int | None = None

    @property
    def is_deaf(self) -> bool:
        """Whether the worker hears nothing."""
        return self.silent > self.limit


class Finding(Struct, frozen=True):
    """A finding about an engine, for people to read.

    Args:
        what: The subject, in a word or two.
        text: The finding, without secrets.
        cure: What to do about it; empty if there is nothing to do.
        is_wrong: Whether it prevents calls from running as they should.
    """

    what: str
    text: str
    cure: str = ""
    is_wrong: bool = False


class SeenWorker(Struct, frozen=True):
    """A worker that the engine knows.

    Args:
        name: The engine's name for it.
        queues: The queues that it takes steps from.
        tasks: The tasks that it serves; None if the engine does not say.
    """

    name: str
    queues: frozenset[str]
    tasks: frozenset[str] | None = None


class Diagnosis(Struct, frozen=True):
    """The condition of an engine, its workers and its queues.

    Args:
        queue: The default queue, for steps that name none.
        findings: The findings about the engine.
        workers: The workers that are connected.
        waiting: The number of waiting steps, by queue.
        clock: How far the engine's clock is ahead of this machine's, in seconds; None if unknown.
        tells_workers: Whether the engine answered about its workers; if not, `workers` is empty.
        knows_capitals: Whether the engine keeps upper case in task names; if not, the workers'
            tasks are in lower case.
        knows_tasks: Whether a step goes only to workers that serve its task; if not, it goes to any
            worker of its queue.
        waiting_tasks: The number of waiting steps by task, on an engine without queue lengths.
        running: The number of running steps, by queue or by task, as far as the engine counts them.
        oldest: How long the oldest waiting step has waited, in seconds, by queue or by task, as far
            as the engine knows.
        keeps: How long the engine keeps a call that has ended, in seconds; None if it does not say.
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
    running: Mapping[str, int] = {}
    oldest: Mapping[str, float] = {}
    keeps: float | None = None


def state_of(outcome: Outcome) -> State:
    """Returns the state of a call that has this outcome.

    Example:
        >>> from onward.backend import state_of
        >>> from onward.fault import Expired
        >>> from onward.outcome import faulted
        >>> state_of(faulted(Expired("ingest", "its deadline passed")))
        'expired'
    """
    if isinstance(outcome, Value):
        return "done"
    match None if isinstance(outcome, Failed) else outcome.fault:
        case Cancelled():
            return "cancelled"
        case Expired():
            return "expired"
        case Moved():
            return "moved"
        case _:
            return "failed"
