"""The part of the backend that workers need too: the app, the ledger, publish and cancel."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import Any

from celery import Celery
from kombu.connection import ConnectionPool
from kombu.exceptions import ConnectionLimitExceeded
from msgspec import Raw
from redis.exceptions import RedisError
from returns.result import Failure, Result, Success

from onward import plan as plans
from onward.backend import State, Submission
from onward.backend.support import ended_already, is_cancelling, sent_already, unknown
from onward.backends.celery import lower
from onward.backends.celery.canvas import Canvas
from onward.backends.celery.client import PublishDeadline, Timeouts
from onward.backends.celery.dead_letters import DeadLetters
from onward.backends.celery.deadlines import Deadlines
from onward.backends.celery.errors import LEDGER, NOT_REACHED, server_of, unavailable
from onward.backends.celery.known import beginning
from onward.backends.celery.ledger import Ledger, Message, Outgoing
from onward.backends.celery.message import CallState
from onward.backends.celery.signing import Signer
from onward.backends.celery.submit import (
    RecordingAMQP,
    TaskMessage,
    list_item,
    send_all,
    task_message,
)
from onward.backends.celery.transport import list_of
from onward.fault import Cancelled, Fault, Moved, Unavailable
from onward.outcome import Faulted, faulted
from onward.plan import Plan

_TIMEOUTS = Timeouts()


class Core:
    """The part of a backend that its workers need too.

    Args:
        app: The Celery app.
        ledger: Keeps a record of each call.
        queue: The default queue, for steps that name none.
        lease: How long a step stays reserved for a worker that does not renew it, in seconds.
        text: The backend's repr.
        signer: Signs messages and records; None without keys.
        timeouts: How long the broker and the ledger may take.
        publish_deadline: Ends kombu's retries of a publish.
    """

    def __init__(
        self,
        app: Celery,
        ledger: Ledger,
        queue: str,
        lease: float,
        text: str,
        signer: Signer | None = None,
        timeouts: Timeouts = _TIMEOUTS,
        publish_deadline: PublishDeadline | None = None,
    ) -> None:
        self.app = app
        self.publish_deadline: PublishDeadline = publish_deadline or PublishDeadline()
        self.timeouts = timeouts
        self.ledger = ledger
        self.queue = queue
        self.queues: set[str] = {queue}
        self.lease = lease
        self.deadlines: Deadlines = Deadlines(ledger, self.end_early)
        self.signer = signer
        self.dead_letters: DeadLetters | None = None
        self.canvas: Canvas = Canvas(app, queue, ledger.now, signer)
        self._text = text
        self.is_in_memory: bool = app.conf.broker_url.startswith("memory:")
        """Whether the broker is in this process, and so is every worker."""
        assert isinstance(app.amqp, RecordingAMQP)
        self.amqp: RecordingAMQP = app.amqp
        self.amqp.note = self._note_sent
        untyped: Any = app
        untyped.now = self._now  # Celery turns a countdown into an eta with it

    def __repr__(self) -> str:
        return self._text

    def publish(
        self,
        submissions: Iterable[Submission],
        *,
        is_again: bool = False,
        is_cancelled: bool = False,
    ) -> None:
        """Sends the first task of each call to the broker now, in the order of the calls.

        Args:
            submissions: The calls.
            is_again: Whether the calls were sent before. They get the highest priority then.
            is_cancelled: Whether the calls are cancelling.
        """
        to_parts = partial(lower.to_parts, is_again=is_again, is_cancelled=is_cancelled)
        plans_sent = [each.plan for each in submissions]
        lowered = [(plan.id, *beginning(to_parts(plan), plan)) for plan in plans_sent]
        for are_single, some in groupby(lowered, lambda each: _are_single(each[1])):
            if are_single:
                self.send_messages([self._task_message(*each) for each in some])
                continue
            for id, parts, state in some:
                # Every message of the call carries the call's id as its root id.
                self.canvas.signature(parts, state).apply_async(root_id=id)

    def first_message(self, plan: Plan) -> TaskMessage | None:
        """Makes the first message of a call; None if the call has fan-outs, which Celery sends."""
        parts, state = beginning(lower.to_parts(plan), plan)
        return self._task_message(plan.id, parts, state) if _are_single(parts) else None

    def outgoing(self, message: TaskMessage) -> Outgoing:
        """Describes a message that the ledger stores as sent, and sends if it can."""
        if not self.ledger.sends:
            return Outgoing(message.message)
        at = list_of(message.queue, message.priority)
        return Outgoing(message.message, at, list_item(message))

    def send_messages(self, messages: Sequence[TaskMessage]) -> None:
        """Sends messages to the broker, in their order."""
        if messages:
            self._note_sent([each.message for each in messages])
            send_all(self.app, self.timeouts, messages)

    def _now(self) -> datetime:
        zone: Any = self.app.timezone
        return datetime.fromtimestamp(self.ledger.now(), zone)

    def _note_sent(self, messages: Sequence[Message]) -> None:
        # If this fails, the reconciler may send the call once more than needed, which is harmless.
        with contextlib.suppress(RedisError, OSError):
            self.ledger.note_sent(messages)

    def _task_message(self, id: str, parts: Sequence[lower.Part], state: CallState) -> TaskMessage:
        return task_message(self.canvas.signatures(parts, state), id)

    def unavailable(self, problem: Exception) -> Unavailable:
        """The fault for an exception of either the broker's or the ledger's client."""
        return unavailable(server_of(self.app, problem), problem)

    def cancel(self, id: str, /) -> Result[None, Fault]:
        """See `Cancels.cancel`."""
        try:
            entry = self.ledger.read(id)
            if entry is None:
                return Failure(unknown(id, "the ledger"))
            flow = plans.decode(entry.plan).map(lambda plan: plan.flow).value_or("")
            self.end_early(id, faulted(Cancelled(flow, "it was cancelled")), "cancelled")
        except (RedisError, OSError) as problem:
            return Failure(unavailable(LEDGER, problem))
        return Success(None)

    def give_up(self, id: str, moved: Moved, /) -> Result[None, Fault]:
        """See `Moves.give_up`."""
        try:
            self.ledger.cleanups.end_early(id, faulted(moved), "moved", at_once=True)
            entry = self.ledger.read(id)
        except (RedisError, OSError) as problem:
            return Failure(unavailable(LEDGER, problem))
        if entry is None:
            return Failure(unknown(id, "the ledger"))
        return Success(None) if entry.end else Failure(is_cancelling(moved.task))

    def end_early(self, id: str, outcome: Faulted, end: State) -> None:
        """Ends a call: at once, or after its cleanups if it has any to run.

        In the second case it is sent again, because its messages may be held, wait in long queues,
        or be lost. Those that are not go on to the cleanups too; each step of these runs once.

        Args:
            id: The call's id.
            outcome: Its outcome, unless it has one, or is cancelling, already.
            end: Its state then.
        """
        if not self.ledger.cleanups.end_early(id, outcome, end):
            return
        entry = self.ledger.read(id)
        plan = None if entry is None else plans.decode(entry.plan).value_or(None)
        # If the broker is away, the call counts as lost, and a worker sends it later.
        with contextlib.suppress(*NOT_REACHED):
            if plan is not None:
                self.publish([Submission(plan)], is_again=True, is_cancelled=True)

    def send(self, id: str, name: str, raw: Raw, /) -> Result[None, Fault]:
        """See `Signals.send`."""
        try:
            sent = self.ledger.due.send(id, name, bytes(raw))
            if sent == "sent":
                return Success(None)
            entry = self.ledger.read(id)
        except (RedisError, OSError) as problem:
            return Failure(unavailable(LEDGER, problem))
        if sent == "unknown" or entry is None:
            return Failure(unknown(id, "the ledger"))
        flow = plans.decode(entry.plan).map(lambda plan: plan.flow).value_or("")
        return Failure((ended_already if sent == "ended" else sent_already)(flow, name))

    def close(self) -> None:
        """Closes the connections. Submitted calls stay with the broker and the ledger."""
        results: Any = self.app.backend
        client = vars(results).get("client")  # a cached property, which may not be set
        if hasattr(client, "close"):
            client.close()
        pool: Any = self.app.pool  # a ConnectionPool, although the stubs say otherwise
        _close_idle(pool)
        self.app.close()
        self.ledger.close()


def _close_idle(pool: ConnectionPool) -> None:
    """Closes the idle connections to the broker.

    kombu shares the pool between all apps of the process that use the same broker, so the
    connections in use stay open.
    """
    idle: list[Any] = []
    with contextlib.suppress(ConnectionLimitExceeded):  # the other connections are in use
        while len(idle) < (pool.limit or 0):
            idle.append(pool.acquire())
    for connection in idle:
        connection.collect()  # does not wait for an answer of the broker, as `close` would
        connection.release()


def _are_single(parts: Iterable[lower.Part]) -> bool:
    return all(isinstance(part, lower.SingleTask) for part in parts)
