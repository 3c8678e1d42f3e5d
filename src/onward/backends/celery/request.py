"""Celery's request for a received message, and what Celery's tools show of it."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

from celery.exceptions import Ignore
from celery.worker.request import Request as CeleryRequest
from celery.worker.state import task_ready

from onward.fault import Raised
from onward.outcome import Faulted, Outcome

_RETRIED = "task-retried"

_LOGGER = logging.getLogger("onward.celery")


class StepFailed(Exception):
    """Makes Celery's tools show a step as failed, although its outcome is sent on as data.

    Args:
        shown: The text that the tools show.
        traceback: The traceback of the task's function, as text.
    """

    def __init__(self, shown: str, traceback: str = "") -> None:
        super().__init__(shown, traceback)  # so that it can be pickled
        self.shown = shown
        self.traceback = traceback

    def __repr__(self) -> str:
        return self.shown


class NotRun(Ignore):
    """Makes Celery's tools show a task as revoked: its call has failed or ended before."""


def step_failed(outcome: Outcome) -> StepFailed:
    """Makes the exception by which Celery shows a failure."""
    if not isinstance(outcome, Faulted):
        return StepFailed("a typed error, which the task returned")
    fault = outcome.fault
    if isinstance(fault, Raised):
        return StepFailed(f"{fault.error_type}({fault.message!r})", fault.traceback)
    return StepFailed(f"{type(fault).__name__}({fault.message!r})")


class Request(CeleryRequest):
    """Celery's request, for a message that was validated already.

    Its task has a function `cancel_call`, which cancels a call.
    """

    task: Any
    _already_revoked: bool

    def __init__(self, message: Any, **options: Any) -> None:
        valid = message.validated
        options.update(headers=valid.headers, body=valid.body, decoded=True, utc=True)
        super().__init__(message, **options)
        self._has_shown_retry = False

    def on_failure(
        self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False
    ) -> Any:
        """Like Celery's, but shows a task that was not run as revoked."""
        problem = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(problem, NotRun):
            task_ready(self)
            self.acknowledge()
            self.send_event("task-revoked", terminated=False, signum=None, expired=False)
            return None
        if isinstance(problem, StepFailed):
            exc_info.traceback = problem.traceback
        return super().on_failure(exc_info, send_failed_event, return_ok)

    def info(self, safe: bool = False) -> Any:
        """Celery's own, for `inspect`; as in events, of the arguments only what may be shown."""
        return super().info(safe=True)

    def show_retry(self, problem: StepFailed) -> None:
        """Sends the event of a retry before the next attempt can send its own."""
        self.send_event(_RETRIED, exception=repr(problem), traceback=problem.traceback)
        self._has_shown_retry = True

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Cancels the call. The function runs on, because a thread cannot be killed."""
        if self.time_start:
            self._announce_revoked("terminated", True, signal, False)

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:
        """Does nothing: a thread cannot be killed, and a lease keeps other deliveries out."""

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        super()._announce_revoked(reason, terminated, signum, expired)  # type: ignore[misc]  # not in the stubs
        call: Any = self.root_id
        if call and not expired:
            self.task.cancel_call(call)

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002 - Celery's name
        """Like Celery's, but a revoked task stays revoked, whatever its function does."""
        is_known = type == _RETRIED and self._has_shown_retry
        if not is_known and (not self._already_revoked or type == "task-revoked"):
            super().send_event(type, **fields)

    def give_up(self, problem: Exception) -> None:
        """Frees the slot after an unexpected error. The reconciler sends the call again."""
        where = f"message {self.id!r} of call {self.root_id!r}"
        _LOGGER.error("%s: the worker failed; the call will be sent again", where, exc_info=problem)
        with contextlib.suppress(Exception):
            task_ready(self)
        with contextlib.suppress(Exception):
            self.reject(requeue=False)
