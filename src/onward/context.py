"""What a task can learn of the call it runs in, and say of how far it is."""

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
        total: How much there is to do, if that is known.
        note: What it is doing, for a person to read.
    """

    done: float
    total: float | None = None
    note: str = ""


class Context(Struct, frozen=True):
    """The call and the step that a task is run for.

    Args:
        id: The call's id, which its ref carries.
        task: The task's name.
        step: The step's place within the call.
        attempt: Which attempt at this step it is, from 1.
        key: The idempotency key that the call was submitted under.
        deadline: When the call expires.
        report: Takes what `progress` says.
        is_cancelled: What `cancelled` asks.
        trace: What observers of the submission had travel along.
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
        """Whether the call was cancelled meanwhile; a long sync task looks here and returns."""
        return self.is_cancelled()


def moment(seconds: float | None) -> datetime | None:
    """A plan's deadline, in seconds since 1970, as the moment that it is."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


HELD: ContextVar[Callable[[], AbstractContextManager[None]]] = ContextVar("onward_held")
"""What gives the slot of the running step back to its worker, for as long as it waits for a call.

Else the step and the call could wait for each other.
"""


def slot_lent() -> AbstractContextManager[None]:
    """Around a wait for a call; in a step whose worker can, its slot is free meanwhile."""
    return HELD.get(nullcontext)()


CURRENT: ContextVar[Context] = ContextVar("onward_current")
_NOWHERE = Context()


def current() -> Context:
    """The call and the step that the running task is run for.

    Returns:
        The context; outside of a task one with an empty id, so that the plain function of a task
        can be tested by itself.

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
    """Says how far the running task is; `status` shows it.

    Args:
        done: How much is done, in the task's own unit.
        total: How much there is to do, if that is known.
        note: What it is doing, for a person to read.

    Example:
        >>> from onward import progress
        >>> progress(3, total=10, note="rows")
    """
    current().report(Progress(done, total, note))
