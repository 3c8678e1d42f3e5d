"""What clients and workers share: the app, the ledger, and how calls are sent and ended."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from celery import Celery
from kombu.connection import ConnectionPool
from kombu.exceptions import ConnectionLimitExceeded
from redis.exceptions import RedisError
from returns.result import Failure, Result, Success

from onward import plan as plans
from onward.backend import Submission
from onward.backend.support import unknown
from onward.backends.celery import lower
from onward.backends.celery.canvas import Canvas
from onward.backends.celery.client import PublishDeadline, Timeouts
from onward.backends.celery.deadlines import Deadlines
from onward.backends.celery.errors import LEDGER, reached_for, unavailable
from onward.backends.celery.ledger import Ledger, Message
from onward.backends.celery.message import Started
from onward.backends.celery.refused import DeadLetters
from onward.backends.celery.signing import Signer
from onward.backends.celery.submit import TaskMessage, send_all, task_message
from onward.fault import Cancelled, Fault, Unavailable
from onward.outcome import faulted

_TIMEOUTS = Timeouts()


class Core:
    """The parts of a backend that its workers need too.

    Args:
        app: The Celery app.
        ledger: Has what is known of each call.
        queue: The queue of steps that name none.
        lease: How long a step belongs to a worker that says nothing, in seconds.
        text: The backend's repr.
        signer: Signs what travels, where there are keys.
        timeouts: How long the broker and the ledger may take.
        publish_deadline: Ends tries to publish.
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
        self._deadlines = Deadlines(ledger)
        self.signer = signer
        self.dead_letters: DeadLetters | None = None
        self.canvas: Canvas = Canvas(app, queue, ledger.now, signer)
        self._text = text
        self.is_in_memory: bool = app.conf.broker_url.startswith("memory:")
        """Whether the broker is in this process, and so is every worker."""
        sending: Any = app.amqp
        sending.note = self._note_sent
        clocked: Any = app
        clocked.now = self._now  # by which Celery makes a moment of a countdown

    def __repr__(self) -> str:
        return self._text

    def publish(self, submissions: Iterable[Submission], *, is_again: bool = False) -> None:
        """Sends the first tasks of calls to the broker, in the order of the calls.

        Args:
            submissions: The calls.
            is_again: Whether they had been sent, and now go before all others.
        """
        lines = [(each, lower.compiled(each.plan, is_again=is_again)) for each in submissions]
        for is_plain, some in groupby(lines, lambda line: all(map(_is_plain, line[1]))):
            if is_plain:
                messages = [self._task_message(each, parts) for each, parts in some]
                self._note_sent([each.message for each in messages])
                send_all(self.app, self.timeouts, messages)
                continue
            for each, parts in some:
                state = Started(each.plan.args)
                signature = self.canvas.signature(parts, state, delay=each.delay)
                # The call's id stands in every message of it.
                signature.apply_async(countdown=each.delay, root_id=each.plan.id)

    def _now(self) -> datetime:
        zone: Any = self.app.timezone
        return datetime.fromtimestamp(self.ledger.now(), zone)

    def _note_sent(self, messages: Sequence[Message]) -> None:
        # Of what is not noted, one more may be sent once nothing is heard of it.
        with contextlib.suppress(RedisError, OSError):
            self.ledger.sent(messages)

    def _task_message(self, submission: Submission, parts: Sequence[lower.Part]) -> TaskMessage:
        plan, delay = submission.plan, submission.delay
        line = self.canvas.line(parts, Started(plan.args), delay=delay)
        return task_message(line, plan.id, self.ledger.now() + delay if delay else None)

    def unavailable(self, problem: Exception) -> Unavailable:
        """The fault that this is, where both the broker and the ledger were asked."""
        return unavailable(reached_for(self.app, problem), problem)

    def cancel(self, id: str, /) -> Result[None, Fault]:
        """See `Cancels.cancel`."""
        try:
            entry = self.ledger.look(id)
            if entry is None:
                return Failure(unknown(id, "the ledger"))
            flow = plans.decode(entry.plan).map(lambda plan: plan.flow).value_or("")
            self.ledger.settle(id, faulted(Cancelled(flow, "it was cancelled")), "cancelled")
        except (RedisError, OSError) as problem:
            return Failure(unavailable(LEDGER, problem))
        return Success(None)

    def close(self) -> None:
        """Ends the connections. What was submitted stays with the broker."""
        results: Any = self.app.backend
        client = vars(results).get("client")  # where one was made
        if hasattr(client, "close"):
            client.close()
        pool: Any = self.app.pool  # of connections, and not of what its type says
        _hang_up(pool)
        self.app.close()
        self.ledger.close()


def _hang_up(pool: ConnectionPool) -> None:
    """Ends the connections to the broker that nobody uses just now.

    The pool is kombu's, and shared by all in the process who have the same broker.
    """
    idle: list[Any] = []
    with contextlib.suppress(ConnectionLimitExceeded):  # the others are in use
        while len(idle) < (pool.limit or 0):
            idle.append(pool.acquire())
    for connection in idle:
        connection.collect()  # at once, where a broker that is away would not answer a goodbye
        connection.release()


def _is_plain(part: lower.Part) -> bool:
    return isinstance(part, lower.One)
