"""Reads a worker's messages, and refuses those that Onward did not write or sign."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

from celery.app.task import Task as CeleryTask
from msgspec import MsgspecError

from onward.backends.celery import lower
from onward.backends.celery.dead_letters import RefusalLog
from onward.backends.celery.ledger import Ledger, distrusted
from onward.backends.celery.message import CallState, StepMessage, decode_state, decode_step
from onward.backends.celery.request import NotRun
from onward.backends.celery.signing import SIGNATURE_SIZE, Signer, verify
from onward.outcome import unreadable

UNKNOWN_TASK = "onward_asked"
"""The header with the name of a task that this worker does not know."""

_LOGGER = logging.getLogger("onward.celery")


class Reader:
    """Reads messages.

    Args:
        ledger: The worker's ledger.
        signer: Checks signatures; None without keys.
        refusals: Keeps why messages are refused.
    """

    def __init__(self, ledger: Ledger, signer: Signer | None, refusals: RefusalLog) -> None:
        self._ledger = ledger
        self._refusals = refusals
        self._signer = signer

    def decode(
        self, task: CeleryTask[Any, Any], states: list[str], sent: str
    ) -> tuple[list[CallState], StepMessage]:
        """Reads a message; refuses one that Onward did not write."""
        try:
            return self._read(task, states, sent)
        except (MsgspecError, RecursionError):
            raise self._refuse(task, "it is not encoded as a call of Onward") from None

    def _read(
        self, task: CeleryTask[Any, Any], states: list[str], sent: str
    ) -> tuple[list[CallState], StepMessage]:
        """Reads a message. Checks its signature before it decodes anything."""
        signer = self._signer
        signed = _bytes(sent)
        raw = verify(signer, signed, "ticket", task_name(task))
        if signer is None:
            if raw is None:
                self._end_signed(signed)
                raise self._refuse(task, "it is signed, and this worker has no signing keys")
            return [decode_state(_bytes(state)) for state in states], decode_step(raw)
        if raw is None:
            raise self._refuse(task, "it is not signed for this task with a key of this worker")
        message = decode_step(raw)
        call = f"in call {message.call!r}, {message.at!r}"
        if message.until <= self._ledger.now():
            raise self._refuse(task, f"{call}: its signature has expired")
        if not isinstance(states, list) or len(states) != len(message.takes):
            raise self._refuse(task, f"{call}: it does not have the values that it should have")
        values = [
            verify(signer, _bytes(state), "now", message.call, source)
            for state, source in zip(states, message.takes, strict=True)
        ]
        if None in values:
            raise self._refuse(task, f"{call}: a value has no valid signature for this task")
        return [decode_state(value) for value in values if value is not None], message

    def _refuse(self, task: CeleryTask[Any, Any], why: str) -> NotRun:
        """Refuses a message. If its call is open, the reconciler sends the call again."""
        _LOGGER.warning("refused message %r for %r: %s", task.request.id, task_name(task), why)
        self._refusals.note(task.request.root_id, why)
        return NotRun(why)

    def _end_signed(self, sent: bytes) -> None:
        """Ends a call whose messages are signed, because a worker without keys cannot read them.

        Without this, the call might wait forever.
        """
        with contextlib.suppress(MsgspecError):
            message = decode_step(sent[SIGNATURE_SIZE:])
            lost = unreadable(message.flow, "a message of it", distrusted("it"))
            self._ledger.settle(message.call, lost, "failed")


def task_name(task: CeleryTask[Any, Any]) -> str:
    """Returns the name of the message's task, even if this worker does not know the task."""
    unknown = task.request.get(UNKNOWN_TASK)
    if task.name == lower.PASS and isinstance(unknown, str) and unknown not in task.app.tasks:
        return unknown
    return str(task.name)


def _bytes(sent: object) -> bytes:
    """Encodes a text of a message; returns empty bytes if it is not a text."""
    return sent.encode(errors="replace") if isinstance(sent, str) else b""
