"""`Observer`, and what observers get: `Sending` and `Attempt`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from onward.context import Context
from onward.fault import Fault
from onward.plan import Plan


@dataclass(slots=True)
class Sending:
    """A call that is being submitted.

    Args:
        id: The id of its plan, and after the submission the id of its ref.
        flow: The flow's name.
        trace: What travels with the plan. An observer may add to it before the call is sent.
        fault: Why the call was not submitted, if it was not.
        plan: What is submitted, without what the observers add to it.
        delay: The delay before it starts, in seconds.
    """

    id: str
    flow: str
    trace: dict[str, str]
    fault: Fault | None = None
    plan: Plan | None = field(default=None, repr=False)
    delay: float = 0.0


@dataclass(slots=True)
class Attempt:
    """An attempt at a task.

    It begins before its arguments are decoded, and ends after its value is encoded.

    Args:
        context: The call and the step of the attempt, with the plan's `trace`.
        queued: How long the call waited for its first attempt, in seconds; None for other attempts.
        error: The domain error that the task returned, or the fault of an attempt whose function
            did not raise. An interrupted attempt has `TimedOut`, `Expired` or `Cancelled`.
        exception: The exception that the function raised.
    """

    context: Context
    queued: float | None = None
    error: object | None = None
    exception: BaseException | None = field(default=None, repr=False)


class Observer(Protocol):
    """Follows submissions and attempts, with a context manager around each.

    When the context manager exits, the `Sending` or `Attempt` has the result. An exception that an
    observer raises is logged, and does not affect the call.
    """

    def sending(self, sending: Sending, /) -> AbstractContextManager[object]:
        """Around the submission of a call."""
        ...

    def attempt(self, attempt: Attempt, /) -> AbstractContextManager[object]:
        """Around an attempt at a task, on the thread or in the asyncio task that runs it."""
        ...
