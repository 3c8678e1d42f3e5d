"""Has the ledger hold the messages of a worker that are due later."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from celery.app.task import Task as CeleryTask
from celery.exceptions import Ignore
from celery.worker import state as running
from msgspec import Raw

from onward import outcome as outcomes
from onward.backends.celery.core import Core
from onward.backends.celery.due import Hold, Wait
from onward.backends.celery.held import Captured, captured, encode
from onward.backends.celery.ledger import Ledger, Message, distrusted
from onward.backends.celery.message import StepMessage, discreet, shown_of
from onward.backends.celery.reader import task_name
from onward.backends.celery.records import FailedAttempt
from onward.backends.celery.request import Request, step_failed
from onward.outcome import Outcome, Value, faulted
from onward.plan import AwaitsNode, SleepNode
from onward.unanswered import unanswered

_NOTHING = Value(Raw(b"null"))

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
        message: StepMessage,
        seconds: float,
        outcome: Outcome,
        holder: str,
    ) -> None:
        """Sends a task's next attempt; raises Celery's `Retry`.

        Args:
            task: The Celery task.
            message: Its message.
            seconds: The delay before the next attempt, in seconds.
            outcome: How the last attempt failed.
            holder: The name of the delivery that holds the step's lease.
        """
        attempt, problem = (task.request.retries or 0) + 1, step_failed(outcome)
        failed = FailedAttempt(attempt, outcomes.encode(outcome))
        request = running.requests.get(str(task.request.id))
        if isinstance(request, Request):
            request.show_retry(problem)
        again = self._again(task, message, seconds)
        again |= {"countdown": seconds, "exc": problem}
        if seconds <= LONGEST_ETA:
            self._ledger.postpone(message.call, message.at, holder, seconds, failed)
            raise task.retry(**again)
        renew = partial(self._core.canvas.renewed, delay=seconds)
        with captured(self._core.amqp, renew) as taken:
            retry = task.retry(throw=False, **again)
        hold = _hold(message, seconds, taken)
        self._ledger.due.hold_retry(hold, holder, failed)
        raise retry

    def held(self, task: CeleryTask[Any, Any], message: StepMessage) -> Hold:
        """Makes of a task's message one that the ledger can hold for as long as it must."""
        again = self._again(task, message, math.inf)
        renew = partial(self._core.canvas.renewed, delay=math.inf)
        with captured(self._core.amqp, renew) as taken:
            task.signature_from_request(**again).apply_async()
        return _hold(message, math.inf, taken)

    def wait(
        self,
        task: CeleryTask[Any, Any],
        message: StepMessage,
        node: SleepNode | AwaitsNode,
        received: Message,
    ) -> Outcome | None:
        """Returns the outcome of a wait, or has the ledger hold the task's message.

        Args:
            task: The Celery task.
            message: Its message.
            node: What it waits for.
            received: The message as the ledger knows it.

        Returns:
            The signal's value, or null after a sleep; None if the call has ended.

        Raises:
            Ignore: If the ledger holds the message.
        """
        seconds = node.seconds if isinstance(node, SleepNode) else node.timeout
        wait = Wait(
            call=message.call,
            at=message.at,
            seconds=math.inf if seconds is None else seconds,
            signal="" if isinstance(node, SleepNode) else node.signal,
            message=received.id,
            route=received.route,
        )
        due = self._ledger.due
        answer = due.begin_wait(wait)
        if answer.kind == "hold":
            again = self._again(task, message, answer.seconds)
            renew = partial(self._core.canvas.renewed, delay=answer.seconds)
            with captured(self._core.amqp, renew) as taken:
                task.signature_from_request(**again).apply_async()
            answer = due.begin_wait(wait, _hold(message, answer.seconds, taken))
        match answer.kind:
            case "ended":
                return None
            case "signal":
                if answer.value is None:
                    return faulted(distrusted(f"the signal {wait.signal!r}"))
                return Value(Raw(answer.value))
            case "known":
                if answer.value is None:
                    return faulted(distrusted(f"the outcome of {message.at!r}"))
                return outcomes.decode(answer.value)
            case "over":
                return _NOTHING if isinstance(node, SleepNode) else unanswered(node)
            case _:
                raise Ignore("the ledger holds the message until it is due")

    def _again(
        self, task: CeleryTask[Any, Any], message: StepMessage, seconds: float
    ) -> dict[str, Any]:
        return {
            "kwargs": self._core.canvas.kwargs(task_name(task), message, seconds),
            # Celery's tools show these two.
            "args": tuple(map(discreet, task.request.args or ())),
            "kwargsrepr": shown_of(message),
        }


def _hold(message: StepMessage, seconds: float, taken: Captured) -> Hold:
    return Hold(
        call=message.call,
        at=message.at,
        seconds=seconds,
        message=encode(taken.message),
        is_top=message.is_top,
        deadline=message.deadline,
    )
