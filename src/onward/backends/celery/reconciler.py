"""Finds calls that were lost on the way, and sends them again.

Redis hands a message over before it notes that somebody has it, and a worker that dies keeps what
it had. So workers say, every few seconds, which steps they are at; and what is open, in no queue
and at nobody's hands is sent once more. Its steps that have an outcome already are not run again.

What is in a queue is not read, for there may be very much of it. The ledger has each message from
when it is sent until it is begun; and as queues are in order, whoever begins one knows that all
before it are out. Only where nobody begins anything, the broker is asked whether a queue is empty.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection
from typing import Any

from kombu import Connection

from onward import plan as plans
from onward.backend import Submission
from onward.backends.celery.core import Core
from onward.backends.celery.errors import NOT_REACHED
from onward.backends.celery.ledger import distrusted
from onward.catalog import Tasks
from onward.context import Context
from onward.execute import report_outcome
from onward.fault import Lost
from onward.outcome import faulted
from onward.plan import Plan

PATIENCE = 1.5
"""How many leases long nothing is heard of a call before it is looked for."""

MOST = 50
"""How often a call is sent again before it counts as lost."""

_DAMAGED = ("WRONGTYPE", "not an integer")
"""What Redis says of an entry that is none of ours."""

_AT_ONCE = 500
"""How many calls one look sends again at most."""


class Reconciler:
    """Looks for lost calls every now and then, in a worker."""

    def __init__(self, backend: Core, tasks: Tasks) -> None:
        self._backend = backend
        self._tasks = tasks
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="onward-reconcile", daemon=True).start()

    def close(self) -> None:
        """Looks no more."""
        self._ended.set()

    def _run(self) -> None:
        ledger = self._backend.ledger
        while not self._ended.wait(self._backend.lease / 4):
            # The broker or the ledger is away, of which others tell; the next look may find it.
            with contextlib.suppress(Exception):
                if ledger.is_turn():  # of all the workers, one looks
                    reconcile(self._backend, tasks=self._tasks)


def reconcile(
    backend: Core, *, patience: float | None = None, tasks: Tasks | None = None
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
    ledger = backend.ledger
    if routes := ledger.routes(patience):
        for route in _empty(backend, routes):
            ledger.taken(route, patience)
    sent: list[str] = []
    for id in ledger.silent(patience)[:_AT_ONCE]:
        try:
            if _sent_again(backend, id, patience, tasks or {}):
                sent.append(id)
        except NOT_REACHED as problem:
            if not any(word in str(problem) for word in _DAMAGED):
                raise
            ledger.drop(id)
        except Exception:  # somebody else has written there, and others are not to wait for it
            ledger.drop(id)
    return sent


def _sent_again(backend: Core, id: str, patience: float, tasks: Tasks) -> bool:
    ledger = backend.ledger
    plan = _plan(backend, id)
    if plan is None:
        return False
    times = ledger.revive(id, patience)
    if times == 0:
        return False  # another worker has sent it meanwhile
    if times > MOST:
        message = f"it was sent {MOST} times, and its workers died each time"
        lost = faulted(Lost(plan.flow, message, MOST))
        ledger.settle(id, lost, "failed")
        report_outcome(tasks, Context(id, plan.flow, trace=plan.trace), lost)
        return False
    backend.publish([Submission(plan)], is_again=True)
    return True


def _plan(backend: Core, id: str) -> Plan | None:
    """The plan of a call that is to be sent; a call that has none any more ends here."""
    entry = backend.ledger.look(id)
    if entry is None:
        backend.ledger.forget([id])  # it was kept no longer
        return None
    if not entry.plan:  # with keys of its own, a worker would sign whatever is there
        backend.ledger.settle(id, faulted(distrusted("its plan")), "failed")
        return None
    read = plans.decode(entry.plan)
    plan = read.value_or(None)
    if plan is None:
        backend.ledger.settle(id, faulted(read.failure()), "failed")
    return plan


def _empty(backend: Core, routes: Collection[str]) -> list[str]:
    """Those of these routes in which nothing is, as the broker has it."""
    found: list[str] = []
    pool: Any = backend.app.pool  # of connections, and not of what its type says
    with pool.acquire(block=True, timeout=backend.timeouts.turn) as connection:
        channel: Any = connection.default_channel
        client = getattr(channel, "client", None)
        for route in routes:
            priority, _, queue = route.partition(":")
            if client is None:  # RabbitMQ counts by queue, whatever the priority
                count = _count(connection, queue)
            else:
                count = client.llen(channel._q_for_pri(queue, int(priority)))
            if not count:
                found.append(route)
    return found


def _count(connection: Connection, queue: str) -> int:
    opened: Any = connection.channel()
    with opened as channel:
        try:
            return int(channel.queue_declare(queue, passive=True).message_count)
        except connection.channel_errors:  # there is no such queue
            return 0
