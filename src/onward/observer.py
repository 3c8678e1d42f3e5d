"""What an observer is, and what it is told."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from onward.context import Context
from onward.fault import Fault


@dataclass(slots=True)
class Sending:
    """A call that is being submitted.

    Args:
        id: The id that its plan carries; once it is submitted, the one that its ref does.
        flow: The flow's name.
        trace: What travels with the plan; an observer may add to it before the call is sent.
        fault: Why it was not submitted, once that is known.
    """

    id: str
    flow: str
    trace: dict[str, str]
    fault: Fault | None = None


@dataclass(slots=True)
class Attempt:
    """An attempt at a task, from before its arguments are read until its value can travel.

    Args:
        context: The call and the step that it is for, with the plan's `trace`.
        queued: How long a call waited for its first attempt, in seconds; None for all others.
        error: The domain error that the task answered with, or the fault that the attempt ended
            as where the function did not raise, once it has ended. Of one that was cut short, that
            is `TimedOut`, `Expired` or `Cancelled`.
        exception: What the function raised.
    """

    context: Context
    queued: float | None = None
    error: object | None = None
    exception: BaseException | None = field(default=None, repr=False)


class Observer(Protocol):
    """Is told of submissions and attempts, each as a context manager around it.

    When one is left, the `Sending` or `Attempt` has what came of it. Whatever an observer raises is
    logged, and does not touch the call.
    """

    def sending(self, sending: Sending, /) -> AbstractContextManager[object]:
        """Around the submission of a call."""
        ...

    def attempt(self, attempt: Attempt, /) -> AbstractContextManager[object]:
        """Around an attempt at a task, on the thread or in the asyncio task that runs it."""
        ...
