"""Calls of Onward's flows as a task of somebody's own Celery app."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec
from celery import Celery, Task, signals
from celery.canvas import Signature, signature
from returns.result import Failure, Result

from onward.fault import Fault
from onward.outcome import Failed, Faulted, Outcome

__all__ = ["TASK", "CallFailed", "Celery", "Runs", "Signature", "register", "signature_of"]

TASK = "onward.call"
"""The name of the task."""

_AT_ONCE = 0.25
"""How long an attempt waits for the outcome, in seconds. It holds a slot of the worker for that."""

_LONGEST = 5.0
"""The longest pause between two looks at a call, in seconds. It holds no slot."""


class CallFailed(Exception):
    """A call gave a domain error or a fault, which is the text."""


class Runs(Protocol):
    """Runs calls on a backend, for the Celery task."""

    def begin(self, task: str, plan: bytes, values: Sequence[object], /) -> Result[str, Fault]:
        """Submits a plan as the call of a Celery task, once; returns the call's id.

        Args:
            task: The Celery task's id.
            plan: The plan.
            values: The values of the tasks before it.
        """
        ...

    def outcome(self, id: str, timeout: float | None, /) -> Result[Outcome | None, Fault]:
        """Waits for a call's outcome; None if it has none in time."""
        ...

    def cancel(self, task: str, /) -> None:
        """Cancels the call of a Celery task."""
        ...


def signature_of(plan: bytes, *, takes_value: bool, app: Celery | None) -> Signature[Any]:
    """The signature that runs a plan.

    Args:
        plan: The plan.
        takes_value: Whether it takes the value of the task before it in a canvas.
        app: The Celery app; None for the current one.
    """
    sent = {"plan": msgspec.json.decode(plan)}
    return signature(TASK, kwargs=sent, immutable=not takes_value, app=app)


def register(app: Celery, calls: Runs) -> None:
    """Adds the task to a Celery app.

    While the call runs, the task is due again every few seconds, and holds no slot between that.

    Args:
        app: The app.
        calls: Runs the calls.
    """

    @app.task(name=TASK, bind=True, max_retries=None, acks_late=True, shared=False)
    def call(self: Task[..., Any], *values: object, plan: Mapping[str, object]) -> object:
        request = self.request
        begun = calls.begin(str(request.id), msgspec.json.encode(plan), values)
        # Without a worker nothing can be due again.
        patience = None if request.is_eager else _AT_ONCE
        found = begun.bind(lambda id: calls.outcome(id, patience))
        if isinstance(found, Failure):
            raise CallFailed(str(found.failure()))
        outcome = found.unwrap()
        if outcome is None:
            raise self.retry(countdown=min(_LONGEST, _AT_ONCE * 2.0 ** (request.retries or 0)))
        return _value(outcome)

    def revoked(request: Any = None, **_: object) -> None:
        calls.cancel(str(request.id))

    signals.task_revoked.connect(revoked, sender=app.tasks[TASK], weak=False)


def _value(outcome: Outcome) -> object:
    match outcome:
        case Faulted():
            raise CallFailed(str(outcome.fault))
        case Failed(raw):
            raise CallFailed(bytes(raw).decode())
        case _:
            return msgspec.json.decode(outcome.raw)
