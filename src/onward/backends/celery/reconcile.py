"""Finds calls that were lost on the way, and sends them again.

Redis hands a message over before it notes that somebody has it, and a worker that dies keeps what
it had. So workers say, every few seconds, which steps they are at; and what is open, in no queue
and at nobody's hands is sent once more. Its steps that have an outcome already are not run again.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from typing import Any, NamedTuple

from kombu import Connection

from onward import plan as plans
from onward.backend import Submission
from onward.backends.celery import native
from onward.backends.celery.backend import CeleryBackend
from onward.backends.celery.ledger import distrusted
from onward.catalog import Tasks
from onward.context import Context
from onward.execute import report
from onward.fault import Lost
from onward.outcome import faulted
from onward.plan import Plan

PATIENCE = 1.5
"""How many leases long nothing is heard of a call before it is looked for."""

MOST = 50
"""How often a call is sent again before it counts as lost."""

_REST = 20
"""How many times as long as a look took it is then left alone."""

_ROOT = re.compile(rb'"root_id": ?"([0-9a-f]{32})"')
_PAGE = 1000


class Reconciler:
    """Looks for lost calls every now and then, in a worker."""

    def __init__(self, backend: CeleryBackend, tasks: Tasks) -> None:
        self._backend = backend
        self._tasks = tasks
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="onward-reconcile", daemon=True).start()

    def close(self) -> None:
        """Looks no more."""
        self._ended.set()

    def _run(self) -> None:
        pause = self._backend.lease / 2
        while not self._ended.wait(pause):
            start = time.monotonic()
            with contextlib.suppress(Exception):  # the broker is away; the next look may find it
                reconcile(self._backend, tasks=self._tasks)
            # A look reads all that waits: the longer that is, the rarer it must be.
            pause = max(self._backend.lease / 2, _REST * (time.monotonic() - start))


def reconcile(
    backend: CeleryBackend, *, patience: float | None = None, tasks: Tasks | None = None
) -> list[str]:
    """Sends those calls again that are open, in no queue, and at no worker's hands.

    Args:
        backend: Whose calls.
        patience: How long nothing was heard of them, in seconds; some more than a lease if None.
        tasks: Whose observers are told of calls that count as lost.

    Returns:
        The ids of the calls that were sent again.
    """
    patience = PATIENCE * backend.lease if patience is None else patience
    silent = backend.ledger.silent(patience)
    if not silent:
        return []
    found = {id: known for id in silent if (known := _known(backend, id)) is not None}
    for known in found.values():
        backend.queues |= native.queues(known.plan)
    queued = _queued(backend)
    waiting = {
        id
        for id, known in found.items()
        if (known.is_sent if queued is None else id.encode() in queued)
    }
    backend.ledger.heard(waiting)  # so that the queues need not be read again at once
    sent: list[str] = []
    for id in found.keys() - waiting:
        plan = found[id].plan
        times = backend.ledger.revive(id, patience)
        if times == 0:
            continue  # another worker has sent it meanwhile
        if times > MOST:
            message = f"it was sent {MOST} times, and its workers died each time"
            lost = faulted(Lost(plan.flow, message, MOST))
            backend.ledger.settle(id, lost, "failed")
            report(tasks or {}, Context(id, plan.flow, trace=plan.trace), lost)
            continue
        backend.publish([Submission(plan)])
        sent.append(id)
    return sent


class _Known(NamedTuple):
    plan: Plan
    is_sent: bool
    """Whether RabbitMQ has confirmed that it has it."""


def _known(backend: CeleryBackend, id: str) -> _Known | None:
    entry = backend.ledger.look(id)
    if entry is None:
        backend.ledger.forget([id])  # it was kept no longer
        return None
    if not entry.plan:  # with keys of its own, a worker would sign whatever is there
        backend.ledger.settle(id, faulted(distrusted("its plan")), "failed")
        return None
    plan = plans.decode(entry.plan).value_or(None)
    return None if plan is None else _Known(plan, "sent" in entry.fields)


def _queued(backend: CeleryBackend) -> set[bytes] | None:
    """The ids of the calls of which a message waits; None if it may be any that the broker has."""
    found: set[bytes] = set()
    with backend.app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        client = getattr(channel, "client", None)
        if client is None:
            # RabbitMQ tells how much waits, and not what.
            return None if any(_count(connection, queue) for queue in backend.queues) else found
        for queue in sorted(backend.queues):
            for priority in channel.priority_steps:
                name = channel._q_for_pri(queue, priority)
                for start in range(0, client.llen(name), _PAGE):
                    for message in client.lrange(name, start, start + _PAGE - 1):
                        found.update(_ROOT.findall(message))
    return found


def _count(connection: Connection, queue: str) -> int:
    opened: Any = connection.channel()
    with opened as channel:
        try:
            return int(channel.queue_declare(queue, passive=True).message_count)
        except connection.channel_errors:  # there is no such queue
            return 0
