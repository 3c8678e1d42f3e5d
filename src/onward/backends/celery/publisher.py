"""Sends what is due: delayed calls, and the messages that the ledger holds.

Every worker does this. An entry that is due is claimed under a lease and removed after it was sent,
so if the worker dies in between, another one sends it. A message that is sent twice runs its step
once, as with every message.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence

from msgspec import MsgspecError

from onward.backend import Submission
from onward.backends.celery.core import Core
from onward.backends.celery.due import EXPIRY, START, DueEntry
from onward.backends.celery.held import decode
from onward.backends.celery.reconciler import may_start, plan_to_send
from onward.backends.celery.submit import TaskMessage

_IDLE = 60.0
"""How long a worker waits if nothing is due, in seconds."""

_PAUSE = 0.5
"""The pause after the ledger or the broker was not reached, in seconds."""


class Publisher:
    """Sends what is due, on a thread of a worker.

    Args:
        core: The worker's backend.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="onward-due", daemon=True).start()

    def close(self) -> None:
        """Stops sending."""
        self._ended.set()

    def _run(self) -> None:
        due = self._core.ledger.due
        while not self._ended.is_set():
            try:
                if not (next_in := send_due(self._core)):
                    continue
                due.pause(min(next_in, _IDLE))
            except Exception:  # others log that the ledger or the broker is away; the claims end
                self._ended.wait(_PAUSE)
        with contextlib.suppress(Exception):  # the ledger is away or closed; the others look too
            due.wake()  # this worker may have been woken up since it was told to stop


def send_due(core: Core) -> float:
    """Sends some of what is due.

    Args:
        core: The backend whose ledger has it.

    Returns:
        In how many seconds more is due; infinity if nothing is left, and 0 if something was sent.
    """
    entries, next_in = core.ledger.due.claim(core.lease)
    if not entries:
        return float("inf") if next_in is None else max(next_in, 0.0)
    core.send_messages(list(_messages(entries)))
    core.publish(_starts(core, entries))
    for each in entries:
        if each.at == EXPIRY:
            core.deadlines.read_entry(each.call)
    core.ledger.due.release([each for each in entries if each.at != EXPIRY])
    return 0.0


def _messages(entries: Sequence[DueEntry]) -> Iterator[TaskMessage]:
    for each in entries:
        if each.at not in (START, EXPIRY):
            # If a message is damaged, its call counts as lost, and is sent again.
            with contextlib.suppress(MsgspecError):
                yield decode(each.message)


def _starts(core: Core, entries: Sequence[DueEntry]) -> Iterator[Submission]:
    for each in entries:
        if each.at == START:
            entry = core.deadlines.read_entry(each.call)
            plan = None if entry is None or entry.end else plan_to_send(core, each.call)
            if plan is not None and may_start(core, plan):
                yield Submission(plan)
