"""Kombu's transports, which decompress nothing, and which no message can stop."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from functools import partial
from queue import Empty
from typing import Any

import amqp
import kombu.message
from amqp.method_framing import frame_handler
from kombu.exceptions import ContentDisallowed
from kombu.transport import pyamqp, redis, virtual
from kombu.utils.encoding import bytes_to_str
from redis.backoff import NoBackoff
from redis.connection import BlockingConnectionPool
from redis.retry import Retry

from onward.backends.celery.client import OF_WORKER, Again
from onward.backends.celery.envelope import PLAIN, Refusal, wrong_envelope
from onward.backends.celery.primary import Primary
from onward.backends.celery.refused import Refusals

COMPRESSED = "it is compressed, and nothing is decompressed"

_NEVER = Retry(NoBackoff(), 0)

_HEADER = 2
"""The type of AMQP's frames with a message's properties."""

_NO_PROPERTIES = b"\0\0"
_PROPERTIES_AT = 12


class _Packed(kombu.message.Message):
    """A message that stays as it came.

    Kombu decompresses as soon as there is a message, and decodes by any codec that Python has.
    """

    is_compressed: bool = False

    def __init__(self, body: Any = None, *, headers: Any = None, **kwargs: Any) -> None:
        plain = dict(headers) if isinstance(headers, dict) else {}
        self.is_compressed = plain.pop("compression", None) is not None
        super().__init__(body, headers=plain, **kwargs)

    def _decode(self) -> Any:
        encoding = self.content_encoding
        if self.is_compressed:
            raise ContentDisallowed(COMPRESSED)
        if not isinstance(encoding, str) or encoding.lower() not in PLAIN:
            raise ContentDisallowed("only UTF-8 is taken")
        return super()._decode()


class _RedisMessage(virtual.Message, _Packed):
    pass


class _AmqpMessage(pyamqp.Message, _Packed):
    pass


class QoS(redis.QoS):
    """What a channel has delivered and nobody has acknowledged.

    An acknowledgement that does not come through must not cost the worker a slot for good: it is
    owed, and paid with the next one.
    """

    channel: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._owed: set[str] = set()

    def ack(self, delivery_tag: str) -> None:
        """Kombu's own; of what fails, the slot is free all the same."""
        try:
            super().ack(delivery_tag)
        except self.channel.connection_errors:
            self._owed.add(delivery_tag)
            virtual.QoS.ack(self, delivery_tag)
        else:
            self._pay()

    def restore_visible(self, *args: Any, **kwargs: Any) -> Any:
        """Kombu's own, once a second."""
        self._pay()
        return super().restore_visible(*args, **kwargs)

    def _pay(self) -> None:
        while True:
            try:
                tag = self._owed.pop()
            except KeyError:
                return
            try:
                self._remove_from_indices(tag).execute()  # type: ignore[attr-defined]  # not in the stubs
            except self.channel.connection_errors:
                self._owed.add(tag)
                raise


class Channel(redis.Channel):
    """A channel with one client to publish, to note and to acknowledge by."""

    Message: type[virtual.Message] = _RedisMessage
    QoS: type[redis.QoS] = QoS
    from_transport_options: tuple[str, ...] = (
        *redis.Channel.from_transport_options,
        "again",
        "turn",
        "primary",
    )
    again: Again | None = None
    """How what fails is tried again, for all channels of a backend."""
    turn: float | None = None
    """How long a thread waits for a connection that others use, in seconds."""
    primary: Primary | None = None
    """What knows where the Redis is, if Sentinels watch over it."""
    heard: float = 0.0
    """When Redis last answered to the wait for messages, by the monotonic clock."""

    connection_errors: tuple[type[Exception], ...]
    connection_class: type[Any] | None
    keyprefix_fanout: str

    @property
    def asked(self) -> float | None:
        """When Redis was last asked for messages, by the monotonic clock."""
        sent: float | None = getattr(self, "_brpop_sent_at", None)  # kombu 5.7
        return sent

    _kept: Any = None
    _popped: Any = None

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        if self.primary is not None:
            self.connection_class = self.primary.options["connection_class"]
        found = super()._connparams(asynchronous)  # type: ignore[misc]  # not in the stubs
        params: dict[str, Any] = found
        if self.primary is not None:
            # The class is kombu's own, made of that one.
            params |= self.primary.options | {"connection_class": params["connection_class"]}
        return params

    def _get_pool(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            pool: Any = super()._get_pool(asynchronous=True)  # type: ignore[misc]  # not in the stubs
            pool.connection_kwargs["retry"] = self.again
            return pool
        params = self._connparams()
        self.keyprefix_fanout = self.keyprefix_fanout.format(db=params["db"])
        params["max_connections"] = OF_WORKER  # the threads of a worker share them
        blocking: Any = BlockingConnectionPool
        return blocking(timeout=self.turn, retry=self.again, **params)

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            client = super()._create_client(asynchronous=True)  # type: ignore[misc]  # not in the stubs
            client.parse_response = partial(self._parsed, client.parse_response)
            return client
        # After a fork, and after a lost connection, there is another pool.
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()  # type: ignore[misc]  # not in the stubs
        return self._kept

    def _parsed(self, parse: Callable[..., Any], connection: Any, name: str, **options: Any) -> Any:
        answer = parse(connection, name, **options)
        if name == "BRPOP":
            self._popped, self.heard = answer, time.monotonic()
        return answer

    @property
    def _transport(self) -> Transport:
        transport: Any = self.connection
        assert isinstance(transport, Transport)
        return transport

    @property
    def _passing(self) -> tuple[type[Exception], ...]:
        """What says nothing of a message."""
        return (Empty, *self.connection_errors, *self._transport.channel_errors)

    def _brpop_read(self, **options: Any) -> Any:
        """Kombu's own, but what cannot be read is refused, and ends nothing."""
        self._popped = None
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]  # not in the stubs
        except self._passing:
            raise
        except Exception as problem:
            popped: Any = self._popped
            if popped is None:
                raise
            key, raw = popped
            where = bytes_to_str(key).rsplit(self.sep, 1)[0]
            why = f"it cannot be read ({type(problem).__name__})"
            self._transport.refusals.add(Refusal(why, is_foreign=True), where, raw)
            return True
        finally:
            self._popped = None

    def _receive(self) -> Any:
        """Kombu's own, of what is for all workers; the same."""
        listening: Any = self.subclient
        if listening.connection is not None:
            # It would connect anew by itself, and wait for what it hears next: without an end.
            listening.connection.retry = _NEVER
        try:
            return super()._receive()  # type: ignore[misc]  # not in the stubs
        except self._passing:
            raise
        except Exception as problem:
            why = f"it cannot be read ({type(problem).__name__})"
            self._transport.refusals.add(Refusal(why), "remote control", b"")
            return True

    def decode_body(self, body: Any, encoding: Any = None) -> Any:
        """Kombu's own, but what cannot be decoded is left to the worker, which drops it."""
        try:
            return super().decode_body(body, encoding)
        except (AttributeError, TypeError, ValueError):
            return b""

    def put_all(self, queue: str, priority: int, messages: Iterable[bytes]) -> None:
        """Puts messages into a queue, in their order."""
        name = self._q_for_pri(queue, priority)  # type: ignore[attr-defined]  # not in the stubs
        self._create_client().lpush(name, *messages)


class Transport(redis.Transport):
    """Kombu's for Redis, with such channels."""

    Channel: type[redis.Channel] = Channel
    refusals: Refusals = Refusals()
    channel_errors: tuple[type[Exception], ...]

    def _deliver(self, message: Any, queue: Any) -> None:
        """Kombu's own, for what is a message."""
        wrong = wrong_envelope(message)
        if wrong is not None:
            raw = repr(message)[:1000].encode(errors="replace")
            refusal = Refusal(f"it is no message: {wrong}", is_foreign=True)
            self.refusals.add(refusal, queue, raw)
            return
        properties = message["properties"]
        # By these it is acknowledged, and goes back if we do not: they are not the sender's to say.
        properties["delivery_tag"] = os.urandom(16).hex()
        properties["delivery_info"] = {"exchange": "", "routing_key": queue}
        super()._deliver(message, queue)


class _AmqpChannel(pyamqp.Channel):
    Message: type[pyamqp.Message] = _AmqpMessage


class _AmqpConnection(pyamqp.Connection):
    Channel: type[pyamqp.Channel] = _AmqpChannel

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, frame_handler=_frames)


def _frames(connection: Any, callback: Callable[..., Any]) -> Callable[[Any], Any]:
    """The client's own, but properties that it cannot read are as if they were not there."""
    take = frame_handler(connection, callback)

    def on_frame(frame: Any) -> Any:
        try:
            return take(frame)
        except Exception:
            kind, channel, raw = frame
            if kind != _HEADER or raw[_PROPERTIES_AT:] == _NO_PROPERTIES:
                raise
            return take((kind, channel, bytes(raw[:_PROPERTIES_AT]) + _NO_PROPERTIES))

    return on_frame


class AmqpTransport(pyamqp.Transport):
    """Kombu's for RabbitMQ, with such messages."""

    Connection: type[amqp.Connection] = _AmqpConnection


class AmqpsTransport(pyamqp.SSLTransport):
    """The same over TLS."""

    Connection: type[amqp.Connection] = _AmqpConnection
