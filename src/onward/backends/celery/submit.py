"""Sends task messages, in Celery's format (task protocol, version 2).

Celery needs ten times as long for a message, most of it for parts that all messages share.
"""

from __future__ import annotations

import contextlib
import os
import threading
from base64 import b64encode
from collections.abc import Callable, Generator, Mapping, Sequence
from itertools import groupby
from typing import Any

import amqp
import msgspec
from celery import Celery
from celery.app.amqp import AMQP
from celery.canvas import Signature
from kombu import Producer
from kombu.exceptions import OperationalError
from msgspec import Struct

from onward.backends.celery import transport
from onward.backends.celery.client import Timeouts
from onward.backends.celery.ledger import Message

_ENCODER = msgspec.json.Encoder()

_SHOWN = 200
"""How many characters of a task's arguments Celery's tools show."""


class TaskMessage(Struct, frozen=True):
    """A task's message, and the queue that it is sent to."""

    queue: str
    priority: int
    headers: Mapping[str, object]
    body: bytes

    @property
    def message(self) -> Message:
        """Describes the message for the ledger."""
        return Message(
            str(self.headers["root_id"]), str(self.headers["id"]), self.queue, self.priority
        )


def task_message(chain: Sequence[Signature[Any]], call: str) -> TaskMessage:
    """Makes the first message of a chain of tasks. It contains the tasks that follow.

    Args:
        chain: The tasks' signatures, without groups and chords. The first one has its arguments.
        call: The call's id, which every message carries.
    """
    first, *rest = chain
    options = first.options
    headers = _headers(str(first.task), _id(), call, None, repr(first.args), options["kwargsrepr"])
    after = [
        {**each, "options": {**each.options, "task_id": _id(), "root_id": call}}
        for each in reversed(rest)
    ]
    body = _ENCODER.encode((tuple(map(str, first.args)), first.kwargs, {"chain": after or None}))
    return TaskMessage(options["queue"], options["priority"], headers, body)


def next_message(request: Any, state: str) -> TaskMessage | None:
    """Makes the message of the task that follows another one in a chain, as Celery would.

    Args:
        request: Celery's request of the other task.
        state: The call's state after that task.

    Returns:
        The message; None if Celery has to send it, because it is no such task.
    """
    match request.chain:
        case [
            *after,
            {
                "task": str(name),
                "args": [],
                "kwargs": dict(kwargs),
                "options": {
                    "queue": str(queue),
                    "priority": int(priority),
                    "kwargsrepr": str(shown),
                    "task_id": str(id),
                    "root_id": str(call),
                    **others,
                },
                "subtask_type": None,
                "immutable": False,
            },
        ] if not (others or request.chord or request.callbacks):
            headers = _headers(name, id, call, request.id, repr((state,)), shown)
            body = _ENCODER.encode(((str(state),), kwargs, {"chain": after or None}))
            return TaskMessage(queue, priority, headers, body)
        case _:
            return None


def _headers(
    name: str, id: str, call: str, parent: str | None, args: str, kwargs: str
) -> dict[str, object]:
    return {
        "lang": "py",
        "task": name,
        "id": id,
        "root_id": call,
        "parent_id": parent,
        "group": None,
        "eta": None,
        "argsrepr": args[:_SHOWN],
        "kwargsrepr": kwargs,
    }


def send_all(app: Celery, timeouts: Timeouts, messages: Sequence[TaskMessage]) -> None:
    """Sends messages in their order, and returns when the broker has all of them.

    Raises:
        OperationalError: If the broker is not reached, in spite of Celery's retries. The broker may
            have some of the messages.
    """
    with app.producer_or_acquire() as producer:
        connection: Any = producer.connection
        policy = app.conf.task_publish_retry_policy
        connection.ensure(producer, _send, **policy)(app, producer, timeouts, messages)


def _send(
    app: Celery, producer: Producer, timeouts: Timeouts, messages: Sequence[TaskMessage]
) -> None:
    channel: Any = producer.channel
    if isinstance(channel, transport.Channel):
        for (queue, priority), some in groupby(messages, lambda each: (each.queue, each.priority)):
            channel.put_all(queue, priority, map(list_item, some))
    elif isinstance(channel, amqp.Channel) and len(messages) > 1:
        for queue in {each.queue for each in messages}:
            producer.maybe_declare(app.amqp.queues[queue])
        _send_unconfirmed(producer.connection, timeouts, messages)
    else:
        for each in messages:
            producer.publish(
                each.body,
                exchange="",
                routing_key=each.queue,
                priority=each.priority,
                content_type="application/json",
                content_encoding="utf-8",
                headers={**each.headers},
                correlation_id=each.headers["id"],
                declare=[app.amqp.queues[each.queue]],
                confirm_timeout=timeouts.socket,
            )


def list_item(task_message: TaskMessage) -> bytes:
    """Encodes a message as kombu stores it in a list of Redis."""
    properties = {
        "correlation_id": task_message.headers["id"],
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": task_message.queue},
        "priority": task_message.priority,
        "body_encoding": "base64",
        "delivery_tag": _id(),
    }
    return _ENCODER.encode(
        {
            "body": b64encode(task_message.body).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": task_message.headers,
            "properties": properties,
        }
    )


def _send_unconfirmed(connection: Any, timeouts: Timeouts, messages: Sequence[TaskMessage]) -> None:
    """Sends all messages, and only then waits for RabbitMQ's confirmations."""
    unconfirmed = set(range(1, len(messages) + 1))

    def confirmed(tag: int, are_more: bool) -> None:
        unconfirmed.difference_update(range(1, tag + 1) if are_more else (tag,))

    def refused(*_: object) -> None:
        raise OperationalError("RabbitMQ refused a message")

    with connection.channel() as channel:
        channel.confirm_select()
        channel.events["basic_ack"].add(confirmed)
        channel.events["basic_nack"].add(refused)
        for each in messages:
            message = channel.prepare_message(
                each.body,
                priority=each.priority,
                content_type="application/json",
                content_encoding="utf-8",
                headers=each.headers,
                properties={"correlation_id": each.headers["id"], "delivery_mode": 2},
            )
            # The channel's own `basic_publish` would wait for each confirmation.
            amqp.Channel.basic_publish(channel, message, exchange="", routing_key=each.queue)
        while unconfirmed:
            channel.connection.drain_events(timeout=timeouts.socket)


def _id() -> str:
    return os.urandom(16).hex()


Take = Callable[[Any, str, int], None]
"""Takes a message of Celery's, its queue and its priority."""


class RecordingAMQP(AMQP):
    """Celery's AMQP, which stores in the ledger each message that Celery itself sends."""

    note: Callable[[list[Message]], None] | None = None

    def __init__(self, app: Celery) -> None:
        super().__init__(app)
        self._thread = threading.local()

    @contextlib.contextmanager
    def capturing(self, take: Take) -> Generator[None]:
        """While this is entered, `take` gets the messages of this thread, and none is sent."""
        self._thread.take = take
        try:
            yield
        finally:
            self._thread.take = None

    def _create_task_sender(self) -> Any:
        send = super()._create_task_sender()  # type: ignore[misc]  # not in the stubs

        def send_noted(producer: Any, name: str, message: Any, *args: Any, **options: Any) -> Any:
            queue = options.get("queue")
            where = str(getattr(queue, "name", queue) or options.get("routing_key"))
            priority = options.get("priority") or 0
            take: Take | None = getattr(self._thread, "take", None)
            if take is not None:
                take(message, where, priority)
                return None
            headers = message.headers
            sent = Message(headers["root_id"], headers["id"], where, priority)
            if self.note is not None:
                self.note([sent])
            return send(producer, name, message, *args, **options)

        return send_noted
