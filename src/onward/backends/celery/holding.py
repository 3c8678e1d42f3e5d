"""Has the ledger hold the messages of a worker that are due later."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery.app.task import Task as CeleryTask
from celery.worker import state as running

from onward.backends.celery.core import Core
from onward.backends.celery.due import Hold
from onward.backends.celery.held import captured, encode
from onward.backends.celery.ledger import Ledger
from onward.backends.celery.message import StepMessage, discreet, shown_of
from onward.backends.celery.request import Request, StepFailed

LONGEST_ETA = 1.0
"""The longest delay for which a worker holds a message itself, in seconds."""


class Holding:
    """Sends a task again later.

    A worker that holds a message for long would keep it from the others when it is stopped, and on
    Redis the message would be delivered again after the visibility timeout.

    Args:
        core: The worker's backend.
        ledger: The worker's ledger.
    """

    def __init__(self, core: Core, ledger: Ledger) -> None:
        self._core = core
        self._ledger = ledger

    def retry(
        self,
        task: CeleryTask[Any, Any],
        name: str,
        message: StepMessage,
        seconds: float,
        problem: StepFailed,
        holder: str,
    ) -> None:
        """Sends a task's next attempt; raises Celery's `Retry`.

        Args:
            task: The Celery task.
            name: The task's name.
            message: Its message.
            seconds: The delay before the next attempt, in seconds.
            problem: Why the last attempt failed.
            holder: The name of the delivery that holds the step's lease.
        """
        request = running.requests.get(str(task.request.id))
        if isinstance(request, Request):
            request.show_retry(problem)
        again = self._again(task, name, message, seconds)
        again |= {"countdown": seconds, "exc": problem}
        if seconds <= LONGEST_ETA:
            self._ledger.postpone(message.call, message.at, holder, seconds)
            raise task.retry(**again)
        renew = partial(self._core.canvas.renewed, delay=seconds)
        with captured(self._core.amqp, renew) as taken:
            retry = task.retry(throw=False, **again)
        hold = Hold(
            call=message.call,
            at=message.at,
            seconds=seconds,
            message=encode(taken.message),
            is_top=message.is_top,
            deadline=message.deadline,
        )
        self._ledger.due.hold_retry(hold, holder, (task.request.retries or 0) + 2)
        raise retry

    def _again(
        self, task: CeleryTask[Any, Any], name: str, message: StepMessage, seconds: float
    ) -> dict[str, Any]:
        return {
            "kwargs": self._core.canvas.kwargs(name, message, seconds),
            # Celery's tools show these two.
            "args": tuple(map(discreet, task.request.args or ())),
            "kwargsrepr": shown_of(message),
        }
