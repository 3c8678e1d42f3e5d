"""How a task of a call ends: with the call's outcome, or because the call has ended."""

from __future__ import annotations

from typing import Any

from celery.app.task import Task as CeleryTask

from onward import outcome as outcomes
from onward.backend import state_of
from onward.backend.support import expired
from onward.backends.celery.core import Core
from onward.backends.celery.ledger import Ledger, Outgoing
from onward.backends.celery.lower import output_path_of
from onward.backends.celery.message import (
    CallState,
    Failing,
    StepMessage,
    ends_with,
    outcome_of,
    state_after,
    state_after_cancel,
)
from onward.backends.celery.submit import next_message
from onward.backends.celery.transport import ACKNOWLEDGED
from onward.fault import Cancelled
from onward.outcome import Outcome, faulted
from onward.scope import in_cleanup


class Ends:
    """Ends calls and tasks.

    Args:
        core: The worker's backend.
        ledger: The worker's ledger.
    """

    def __init__(self, core: Core, ledger: Ledger) -> None:
        self._core = core
        self._ledger = ledger

    def end_if_last(
        self, task: CeleryTask[Any, Any], state: CallState, message: StepMessage, holder: str = ""
    ) -> CallState:
        """Ends the call if this task is its last one; returns the state.

        Args:
            task: The Celery task.
            state: The call's state after it.
            message: Its message.
            holder: If the task was a step, the name of the delivery that has run it.
        """
        if not ends_with(state, message):
            return state
        outcome, is_late = outcome_of(state), self._is_late(message)
        ends = faulted(expired(message.flow)) if is_late else outcome
        is_settled = self._ledger.settle(
            message.call,
            ends,
            state_of(ends),
            is_last=True,
            at=message.at if holder and not is_late else "",
            holder=holder,
            tag=self._tag(task) if holder and not is_late else "",
        )
        if holder and (is_late or not is_settled):
            self._record(message, outcome, holder)
        elif holder:
            self._acknowledged(task)
        task.request.chain = None
        return state

    def after_step(
        self, task: CeleryTask[Any, Any], outcome: Outcome, message: StepMessage, holder: str
    ) -> CallState:
        """Stores the outcome of a step that has run; returns the call's state after it."""
        state = state_after(outcome, message)
        if ends_with(state, message):
            return self.end_if_last(task, state, message, holder)
        following = self._following(task, state, message)
        tag = "" if following is None else self._tag(task)
        stored, is_sent = self._record(message, outcome, holder, following, tag)
        if is_sent:
            self._acknowledged(task)
            task.request.chain = None
            return state
        if stored != outcome:  # the lease ran out, and another worker was faster
            state = state_after(stored, message)
        return self.end_if_last(task, state, message, holder)

    def _record(
        self,
        message: StepMessage,
        outcome: Outcome,
        holder: str,
        following: Outgoing | None = None,
        tag: str = "",
    ) -> tuple[Outcome, bool]:
        """Stores the outcome of a step; returns the one that counts, and what else was done."""
        raw = outcomes.encode(outcome)
        stored, is_sent = self._ledger.record_outcome(
            message.call, message.at, holder, raw, following, tag
        )
        return outcome if stored == raw else outcomes.decode(stored), is_sent

    def _following(
        self, task: CeleryTask[Any, Any], state: CallState, message: StepMessage
    ) -> Outgoing | None:
        """The message that follows a step, if the ledger can send it."""
        if not self._ledger.sends or isinstance(state, Failing):
            return None
        text = self._core.canvas.signed_state(state, message.call, output_path_of(message))
        following = next_message(task.request, text)
        return None if following is None else self._core.outgoing(following)

    def _tag(self, task: CeleryTask[Any, Any]) -> str:
        """The broker's name for the delivery of a task's message, if the ledger can use it."""
        request: Any = task.request
        return str(request.properties["delivery_tag"]) if self._ledger.sends else ""

    def _acknowledged(self, task: CeleryTask[Any, Any]) -> None:
        """Notes that the ledger has acknowledged a task's message, if it can."""
        request: Any = task.request
        if self._ledger.sends:
            request.properties[ACKNOWLEDGED] = True

    def expires(self, message: StepMessage) -> bool:
        """Ends a call whose deadline has passed; returns whether it has. A cleanup has none."""
        if not self._is_late(message) or in_cleanup(message.at):
            return False
        self._core.end_early(message.call, faulted(expired(message.flow)), "expired")
        return True

    def _is_late(self, message: StepMessage) -> bool:
        return message.deadline is not None and message.deadline <= self._ledger.now()

    def cancelled(self, task: CeleryTask[Any, Any], message: StepMessage) -> CallState:
        """Returns the state after a cancelled step; sends nothing on if the call has ended."""
        outcome = self._ledger.cleanups.cancelled(message.call)
        if outcome is None:
            return self._stop_chain(task, message)
        return self.end_if_last(task, state_after_cancel(outcome, message), message)

    def _stop_chain(self, task: CeleryTask[Any, Any], message: StepMessage) -> CallState:
        """Sends nothing on, because the call has ended."""
        task.request.chain = None
        return Failing(faulted(Cancelled(message.flow, "the call has ended")))
