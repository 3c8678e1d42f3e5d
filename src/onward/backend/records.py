"""What passes between interpreters and backends, beside plans and outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from onward.catalog import Tasks
from onward.context import Progress
from onward.fault import Cancelled, Expired
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
        observed: The flow's tasks, where observers follow the attempts at them.
    """

    plan: Plan
    delay: float = 0.0
    flow: Flow[..., Any, Any] | None = None
    observed: Tasks | None = None

    @property
    def tasks(self) -> Tasks | None:
        """The tasks that it runs, by name; None where only the plan is known."""
        if self.observed is not None or self.flow is None:
            return self.observed
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
