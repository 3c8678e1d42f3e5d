"""Gets a step a place of its limit, or has the ledger hold its message until there is one."""

from __future__ import annotations

import time
from typing import Any

from celery.app.task import Task as CeleryTask
from celery.exceptions import Ignore

from onward.backend.limiter import margin
from onward.backends.celery.holding import Holding
from onward.backends.celery.ledger import Ledger, Message
from onward.backends.celery.limits import Ask
from onward.backends.celery.message import StepMessage
from onward.catalog import Tasks
from onward.execute import limit_key
from onward.limit import StepLimit
from onward.outcome import Faulted
from onward.plan import Args, Runnable


class Place:
    """A step's place.

    Args:
        ledger: The worker's ledger.
        ask: The step that has it.
    """

    def __init__(self, ledger: Ledger, ask: Ask) -> None:
        self._ledger = ledger
        self._ask = ask
        self._asked = time.monotonic()

    def begin(self) -> None:
        """Corrects when the attempt begins, as long as it is later than the ledger has it."""
        limit = self._ask.limit
        if limit.rate is None:
            return
        while time.monotonic() - self._asked > margin(limit.per) / 2:
            self._asked = time.monotonic()
            self._ledger.limits.ask(self._ask)

    def leave(self) -> None:
        """Gives the place back."""
        self._ledger.limits.leave(self._ask.call, self._ask.at)


class Places:
    """Gets the steps of a worker places of their limits.

    Args:
        ledger: The worker's ledger.
        holding: Has the ledger hold messages.
        tasks: The tasks that the worker serves.
    """

    def __init__(self, ledger: Ledger, holding: Holding, tasks: Tasks) -> None:
        self._ledger = ledger
        self._holding = holding
        self._tasks = tasks

    def take(
        self,
        task: CeleryTask[Any, Any],
        message: StepMessage,
        step: Runnable,
        limit: StepLimit,
        args: Args,
        received: Message,
    ) -> Place | Faulted:
        """Takes a place.

        Returns:
            The place, or the fault with which the step ends if its limit has no key.

        Raises:
            Ignore: If the ledger holds the message.
        """
        key = limit_key(step, args, self._tasks)
        if isinstance(key, Faulted):
            return key
        ask = Ask(
            call=message.call,
            at=message.at,
            limit=limit,
            key=key,
            message=received.id,
            route=received.route,
        )
        place = Place(self._ledger, ask)
        answer = self._ledger.limits.ask(ask)
        if answer == "hold":
            hold = self._holding.held(task, message)
            place = Place(self._ledger, ask)
            answer = self._ledger.limits.ask(ask, hold)
        if answer == "held":
            raise Ignore("the ledger holds the message until its limit has a place")
        return place
