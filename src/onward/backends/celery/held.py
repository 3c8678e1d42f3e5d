"""The messages that the ledger holds: how Celery makes them, and how they are encoded."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from typing import Any

import msgspec
from kombu.utils.json import dumps

from onward.backends.celery.submit import RecordingAMQP, TaskMessage

_DECODER = msgspec.msgpack.Decoder(TaskMessage)


def encode(message: TaskMessage) -> bytes:
    """Encodes a message."""
    return msgspec.msgpack.encode(message)


def decode(raw: bytes) -> TaskMessage:
    """Decodes a message; raises MsgspecError if it is not valid."""
    return _DECODER.decode(raw)


class Captured:
    """The message that Celery would have sent."""

    message: TaskMessage


@contextlib.contextmanager
def captured(amqp: RecordingAMQP, renew: Callable[[Any], Any]) -> Generator[Captured]:
    """Captures the message that Celery sends on this thread, instead of sending it.

    Args:
        amqp: The app's AMQP.
        renew: Makes the signatures within a body, decoded from JSON, last long enough.
    """
    taken = Captured()

    def take(message: Any, queue: str, priority: int) -> None:
        headers = {**message.headers, "eta": None}
        body = msgspec.json.encode(renew(msgspec.json.decode(dumps(message.body))))
        taken.message = TaskMessage(queue, priority, headers, body)

    with amqp.capturing(take):
        yield taken
