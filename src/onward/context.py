"""What a task can learn about its call, and how it reports progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from datetime import UTC, datetime

from msgspec import Struct


class Progress(Struct, frozen=True):
    """How far a task is.

    Args:
        done: How much is done, in the task's own unit.
        total: How much there is to do, in the same unit; None if that is unknown.
        note: What the task is doing, for people.

    Example:
        >>> Progress(3, 10, "rows")
        Progress(done=3, total=10, note='rows')
    """

    done: float
    total: float | None = None
    note: str = ""


class Context(Struct, frozen=True):
    """The call and the step that a task runs for, as `current()` gives them.

    Args:
        id: The call's id, which is also its ref's.
        task: The task's name.
        step: The step's place within the call.
        attempt: Which attempt at this step it is, from 1.
        key: The idempotency key that the call was submitted with.
        deadline: When the call expires.
        report: Receives what `progress` reports.
        is_cancelled: Answers `cancelled`.
        trace: What observers of the submission added to the plan.

    Example:
        >>> from onward import current, local, run, task
        >>> @task
        ... def which() -> tuple[str, int]:
        ...     return current().task, current().attempt
        >>> run(which(), on=local())
        <Success: ('which', 1)>
    """

    id: str = ""
    task: str = ""
    step: str = ""
    attempt: int = 1
    key: str | None = None
    deadline: datetime | None = None
    report: Callable[[Progress], None] = lambda _: None
    is_cancelled: Callable[[], bool] = lambda: False
    trace: Mapping[str, str] = {}

    @property
    def cancelled(self) -> bool:
        """Whether the call was cancelled or the step timed out. Check it in a long sync task."""
        return self.is_cancelled()


def is_same_attempt(one: Context, other: Context) -> bool:
    """Whether two contexts are of the same attempt; middleware may have changed the rest."""
    return (one.id, one.task, one.step, one.attempt) == (
        other.id,
        other.task,
        other.step,
        other.attempt,
    )


def moment(seconds: float | None) -> datetime | None:
    """Converts a plan's deadline, in seconds since 1970, to a datetime."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


HELD: ContextVar[Callable[[], AbstractContextManager[None]]] = ContextVar("onward_held")
"""Frees the slot of the running step while the step waits for a call.

Otherwise the step and the call could wait for each other.
"""


def slot_lent() -> AbstractContextManager[None]:
    """Frees the slot of the running step during a wait for a call, if its worker supports that."""
    return HELD.get(nullcontext)()


CURRENT: ContextVar[Context] = ContextVar("onward_current")
_NOWHERE = Context()


def current() -> Context:
    """The call and the step that the running task runs for.

    Returns:
        The context. Outside a task, its id is empty, so that you can test a task's plain function.

    Example:
        >>> from onward import current, local, run, task
        >>> @task
        ... def which() -> tuple[str, int]:
        ...     return current().task, current().attempt
        >>> run(which(), on=local())
        <Success: ('which', 1)>
    """
    return CURRENT.get(_NOWHERE)


def progress(done: float, total: float | None = None, note: str = "") -> None:
    """Reports how far the running task is, for `status` to show. Outside a task it does nothing.

    Args:
        done: How much is done, in the task's own unit.
        total: How much there is to do, in the same unit; None if that is unknown.
        note: What the task is doing, for people.

    Example:
        >>> from onward import progress
        >>> progress(3, total=10, note="rows")
    """
    current().report(Progress(done, total, note))
