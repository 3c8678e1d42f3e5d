"""Finds lost calls and sends them again.

A message can get lost: kombu takes it out of Redis before it records that a worker has it, and a
worker can die with it. So workers renew the leases of their running steps every few seconds. A call
that is open, waits in no queue and has no running step is lost, and is sent again. Its steps that
have an outcome do not run again.

Queues are not read, because they may be very long. Instead, the ledger has each message from when
it is sent until its step begins. Queues are in order: when a step begins, all messages that were
sent before its own have been received. If no step begins for a while, the reconciler asks the
broker whether the queue is empty.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Collection
from typing import Any

from kombu import Connection
from returns.result import Failure

from onward import plan as plans
from onward.backend import Hearing, Submission
from onward.backends.celery.core import Core
from onward.backends.celery.dead_letters import RefusalLog
from onward.backends.celery.errors import NOT_REACHED
from onward.backends.celery.ledger import Entry, Ledger, distrusted
from onward.backends.celery.limits import Enter
from onward.backends.celery.outage import Outage
from onward.backends.celery.records import decode_about
from onward.catalog import Tasks
from onward.context import Context
from onward.execute import report_outcome
from onward.fault import BadPayload, Fault, Lost
from onward.outcome import faulted, unreadable
from onward.plan import Plan

_LOGGER = logging.getLogger("onward.celery")

PATIENCE = 1.5
"""How long a call may have no activity before it counts as lost, in leases."""

MAX_SENDS = 50
"""How often a call is sent again before it fails as `Lost`."""

_SLACK = 5.0
"""How long a search may take that is not slow, in seconds."""

_DAMAGED = ("WRONGTYPE", "not an integer")
"""Redis' errors for a record that Onward did not write."""

_AT_ONCE = 500
"""The most calls that one search sends again."""


class Reconciler:
    """Looks for lost calls at intervals, on a thread of a worker.

    Args:
        backend: The worker's backend.
        tasks: The tasks that it serves.
        refusals: Why it has refused messages.
        outage: Logs when the ledger is not reached.
    """

    def __init__(self, backend: Core, tasks: Tasks, refusals: RefusalLog, outage: Outage) -> None:
        self._outage = outage
        self._backend = backend
        self._tasks = tasks
        self._refusals = refusals
        self._heard = time.monotonic()
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="onward-reconcile", daemon=True).start()

    def close(self) -> None:
        """Stops looking."""
        self._ended.set()

    def hearing(self) -> Hearing:
        """Says how long the ledger has not answered."""
        return Hearing(time.monotonic() - self._heard, 2 * self._backend.lease + _SLACK)

    def _run(self) -> None:
        ledger = self._backend.ledger
        while not self._ended.wait(self._backend.lease / 4):
            try:
                has_turn = ledger.take_turn()  # one worker at a time looks
            except Exception as problem:
                self._outage.fails(problem)
                continue
            self._heard = time.monotonic()
            self._outage.works()
            with contextlib.suppress(Exception):  # the next search is soon
                for id, why in self._refusals.take_reasons().items():
                    ledger.update(id, refused=why)
                if has_turn:
                    reconcile(self._backend, tasks=self._tasks)
                    ledger.records.sweep()


def reconcile(
    backend: Core, *, patience: float | None = None, tasks: Tasks | None = None
) -> list[str]:
    """Sends lost calls again: those that are open, wait in no queue and have no running step.

    Args:
        backend: The backend of the calls.
        patience: How long a lost call has had no activity, in seconds; None for 1.5 leases.
        tasks: Tasks whose observers are notified of calls that fail as `Lost`.

    Returns:
        The ids of the calls that were sent again.
    """
    patience = PATIENCE * backend.lease if patience is None else patience
    ledger = backend.ledger
    if routes := ledger.waiting_routes(patience):
        for route in _empty(backend, routes):
            ledger.note_empty(route, patience)
    sent: list[str] = []
    for id in ledger.find_lost(patience)[:_AT_ONCE]:
        try:
            if _sent_again(backend, id, patience, tasks or {}):
                sent.append(id)
        except NOT_REACHED as problem:
            if not any(word in str(problem) for word in _DAMAGED):
                raise
            _give_up(ledger, id, problem)
        except Exception as problem:  # the record is damaged; the search must go on
            _give_up(ledger, id, problem)
    return sent


def _give_up(ledger: Ledger, id: str, problem: Exception) -> None:
    """Ends a call whose record is damaged as a dead letter, if that can still be written there."""
    why = BadPayload(id, f"another program writes to the ledger: {problem!r}")
    try:
        if ledger.settle(id, unreadable("", "its record", why), "failed"):
            return
    except Exception:  # not even that can be stored in it
        _LOGGER.debug("call %r cannot be ended", id, exc_info=True)
    ledger.exclude(id)


def _sent_again(backend: Core, id: str, patience: float, tasks: Tasks) -> bool:
    ledger = backend.ledger
    plan = plan_to_send(backend, id)
    if plan is None:
        return False
    times = ledger.claim_lost(id, patience)
    if times == 0:
        return False  # it was active meanwhile, or another worker has sent it
    if times > MAX_SENDS:
        entry = ledger.read(id)
        why = "" if entry is None else entry.fields.get("refused", "")
        what = f"workers refused its messages: {why}" if why else "its workers died each time"
        lost = faulted(Lost(plan.flow, f"it was sent {MAX_SENDS} times, and {what}", MAX_SENDS))
        ledger.settle(id, lost, "failed")
        report_outcome(tasks, Context(plan.origin, plan.flow, trace=plan.trace), lost)
        return False
    is_cancelled = ledger.cleanups.cancelled(id) is not None
    if not is_cancelled and not may_start(backend, plan):
        return False  # whoever should have it wait for its place died before
    backend.publish([Submission(plan)], is_again=True, is_cancelled=is_cancelled)
    return True


def may_start(core: Core, plan: Plan) -> bool:
    """Whether a call starts now. If not, it is due again when its limit has a place."""
    limit = plan.call_limit
    if limit is None:
        return True
    enter = Enter(call=plan.id, limit=limit, key=plan.limit_key, deadline=plan.deadline)
    return core.ledger.limits.enter(enter)


def plan_to_send(backend: Core, id: str) -> Plan | None:
    """Returns the plan of a call that is to be sent, or ends the call if the plan is not valid."""
    entry = backend.ledger.read(id)
    if entry is None:
        backend.ledger.delete([id])  # its record has expired
        return None
    if not entry.plan:  # its signature is not valid, and sending it would sign it anew
        _end_unread(backend, id, entry, distrusted("its plan"))
        return None
    read = plans.decode(entry.plan)
    if isinstance(read, Failure):
        _end_unread(backend, id, entry, read.failure())
        return None
    return read.unwrap()


def _end_unread(backend: Core, id: str, entry: Entry, why: Fault) -> None:
    about = decode_about(entry.fields.get("about", "").partition(" ")[2].encode())
    backend.ledger.settle(id, unreadable(about.flow, "its plan", why), "failed")


def _empty(backend: Core, routes: Collection[str]) -> list[str]:
    """Asks the broker which of these routes are empty."""
    found: list[str] = []
    pool: Any = backend.app.pool  # a ConnectionPool, although the stubs say otherwise
    with pool.acquire(block=True, timeout=backend.timeouts.pool_timeout) as connection:
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
    new_channel: Any = connection.channel()
    with new_channel as channel:
        try:
            return int(channel.queue_declare(queue, passive=True).message_count)
        except connection.channel_errors:  # the queue does not exist
            return 0
