"""Kombu's transports, hardened so that no message and no other thread can stop a worker."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterable
from functools import partial
from queue import Empty, Queue
from typing import Any

import amqp
import kombu.message
import msgspec
from amqp.method_framing import frame_handler
from kombu.exceptions import ContentDisallowed
from kombu.transport import memory, pyamqp, redis, virtual
from kombu.utils.encoding import bytes_to_str
from redis.backoff import NoBackoff
from redis.connection import BlockingConnectionPool
from redis.retry import Retry

from onward.backends.celery.client import WORKER_CONNECTIONS, ConnectionRetry
from onward.backends.celery.dead_letters import RefusalLog
from onward.backends.celery.envelope import PLAIN, Refusal, envelope_error
from onward.backends.celery.sentinel import PrimaryFinder

COMPRESSED = "it is compressed, and compressed messages are not accepted"

_ENCODER = msgspec.json.Encoder()

_NO_RETRY = Retry(NoBackoff(), 0)

ACKNOWLEDGED = "onward_acknowledged"
"""The property of a message that says that the ledger has acknowledged it."""

_NAMING = (
    "global_keyprefix",
    "priority_steps",
    "sep",
    "unacked_index_key",
    "unacked_key",
)

_RECENTLY = 3.0
"""How long ago a BRPOP was sent if Redis is not silent, in seconds: it answers within one."""

_HEADER = 2
"""The type of the AMQP frames that have a message's properties."""

_NO_PROPERTIES = b"\0\0"
_PROPERTIES_AT = 12


def names_keys(transport_options: Collection[str]) -> bool:
    """Whether the options of a Redis transport change the names of its keys."""
    return any(name in transport_options for name in _NAMING)


def list_of(queue: str, priority: int) -> str:
    """The list that has the messages of a queue at one priority, from 0 to 9."""
    return f"{queue}{redis.Channel.sep}{priority}" if priority else queue


class _RawMessage(kombu.message.Message):
    """A message that is not decompressed, and decoded only as UTF-8.

    Kombu decompresses each message as soon as it arrives, and decodes with any codec of Python.
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
            raise ContentDisallowed("only UTF-8 is accepted")
        return super()._decode()


class _RedisMessage(virtual.Message, _RawMessage):
    pass


class _AmqpMessage(pyamqp.Message, _RawMessage):
    pass


class QoS(redis.QoS):
    """The messages that a channel has delivered and that are not acknowledged.

    If an acknowledgement fails, the worker's slot is free all the same. The acknowledgement stays
    pending, and is sent again with the next one.
    """

    channel: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unsent_acks: set[str] = set()

    def append(self, message: Any, delivery_tag: str) -> None:
        """Like kombu's, with an encoder of JSON that takes less time."""
        where = message.delivery_info
        raw = _ENCODER.encode((message._raw, where["exchange"], where["routing_key"]))
        with self.pipe_or_acquire() as pipe:
            pipe.zadd(self.unacked_index_key, {delivery_tag: time.time()})
            pipe.hset(self.unacked_key, delivery_tag, raw)
            pipe.execute()
        virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Like kombu's, but frees the slot even if the acknowledgement fails."""
        delivered: Any = self._delivered  # the messages, by their tags
        message = delivered.get(delivery_tag)
        if message is not None and message.properties.get(ACKNOWLEDGED):
            virtual.QoS.ack(self, delivery_tag)
            return
        try:
            super().ack(delivery_tag)
        except self.channel.connection_errors:
            self._unsent_acks.add(delivery_tag)
            virtual.QoS.ack(self, delivery_tag)
        else:
            self._send_acks()

    def restore_visible(self, *args: Any, **kwargs: Any) -> Any:
        """Like kombu's, which is called once a second."""
        self._send_acks()
        return super().restore_visible(*args, **kwargs)

    def _send_acks(self) -> None:
        while True:
            try:
                tag = self._unsent_acks.pop()
            except KeyError:
                return
            try:
                self._remove_from_indices(tag).execute()  # type: ignore[attr-defined]  # not in the stubs
            except self.channel.connection_errors:
                self._unsent_acks.add(tag)
                raise


class Channel(redis.Channel):
    """A Redis channel that keeps one client; kombu's makes a client for each operation."""

    Message: type[virtual.Message] = _RedisMessage
    QoS: type[redis.QoS] = QoS
    from_transport_options: tuple[str, ...] = (
        *redis.Channel.from_transport_options,
        "connection_retry",
        "pool_timeout",
        "primary_finder",
    )
    connection_retry: ConnectionRetry | None = None
    """Retries failed commands, for all channels of a backend."""
    pool_timeout: float | None = None
    """How long a thread waits for a free connection of the pool, in seconds."""
    primary_finder: PrimaryFinder | None = None
    """Finds the address of a Redis behind Sentinels."""
    last_heard: float = 0.0
    """When Redis last answered a BRPOP, by the monotonic clock."""

    connection_errors: tuple[type[Exception], ...]
    connection_class: type[Any] | None
    keyprefix_fanout: str

    @property
    def last_asked(self) -> float | None:
        """When the last BRPOP was sent, by the monotonic clock."""
        sent: float | None = getattr(self, "_brpop_sent_at", None)  # kombu 5.7
        return sent

    _cached_client: Any = None
    _popped: Any = None
    _is_stopping: bool = False

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        if self.primary_finder is not None:
            self.connection_class = self.primary_finder.options["connection_class"]
        found = super()._connparams(asynchronous)  # type: ignore[misc]  # not in the stubs
        params: dict[str, Any] = found
        if self.primary_finder is not None:
            # The connection class must be kombu's subclass of the Sentinel connection.
            params |= self.primary_finder.options | {"connection_class": params["connection_class"]}
        return params

    def _get_pool(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            pool: Any = super()._get_pool(asynchronous=True)  # type: ignore[misc]  # not in the stubs
            pool.connection_kwargs["retry"] = self.connection_retry
            return pool
        params = self._connparams()
        self.keyprefix_fanout = self.keyprefix_fanout.format(db=params["db"])
        params["max_connections"] = WORKER_CONNECTIONS  # a worker's threads share them
        blocking: Any = BlockingConnectionPool
        return blocking(timeout=self.pool_timeout, retry=self.connection_retry, **params)

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            client = super()._create_client(asynchronous=True)  # type: ignore[misc]  # not in the stubs
            client.parse_response = partial(self._parse, client.parse_response)
            return client
        # After a fork, and after a lost connection, the pool is another one.
        if self._cached_client is None or self._cached_client.connection_pool is not self.pool:
            self._cached_client = super()._create_client()  # type: ignore[misc]  # not in the stubs
        return self._cached_client

    def _parse(self, parse: Callable[..., Any], connection: Any, name: str, **options: Any) -> Any:
        answer = parse(connection, name, **options)
        if name == "BRPOP":
            self._popped, self.last_heard = answer, time.monotonic()
        return answer

    @property
    def _transport(self) -> Transport:
        transport: Any = self.connection
        assert isinstance(transport, Transport)
        return transport

    @property
    def _connection_problems(self) -> tuple[type[Exception], ...]:
        """The exceptions that are not the fault of a message."""
        if getattr(self, "connection", None) is None:  # it was closed meanwhile
            return (Exception,)
        return (Empty, *self.connection_errors, *self._transport.channel_errors)

    def unblock(self) -> None:
        """Has Redis answer the BRPOP that waits for a message, if there is one and it can.

        Any thread may call it, once the worker stops. The answer may be a message all the same.
        """
        self._is_stopping = True
        self._ask_to_answer()

    def close(self) -> None:
        """Like kombu's, which waits for the answer; while the worker stops, not for long."""
        if self._is_stopping:
            self._ask_to_answer()
        super().close()

    def _ask_to_answer(self) -> None:
        asked = self.last_asked
        is_silent = asked is None or time.monotonic() - asked > _RECENTLY
        waiting: Any = getattr(self, "_in_poll", None)
        known: Any = getattr(waiting, "handshake_metadata", None)
        client = known.get("id", known.get(b"id")) if isinstance(known, dict) else None
        if client is not None and not is_silent:
            # The worker's own thread may close the connection in the midst of this, and the client
            # then raises whatever it comes upon. Without an answer, Celery only waits longer.
            with contextlib.suppress(Exception):
                self._create_client().execute_command("CLIENT UNBLOCK", int(client))

    def _brpop_read(self, **options: Any) -> Any:
        """Like kombu's, but refuses a message that cannot be read."""
        self._popped = None
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]  # not in the stubs
        except self._connection_problems:
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
        """Like kombu's, for messages to all workers; refuses what cannot be read too."""
        pubsub: Any = self.subclient
        if pubsub.connection is not None:
            # A retry would reconnect, and then wait for the next message without a timeout.
            pubsub.connection.retry = _NO_RETRY
        try:
            return super()._receive()  # type: ignore[misc]  # not in the stubs
        except self._connection_problems:
            raise
        except Exception as problem:
            why = f"it cannot be read ({type(problem).__name__})"
            self._transport.refusals.add(Refusal(why), "remote control", b"")
            return True

    def decode_body(self, body: Any, encoding: Any = None) -> Any:
        """Like kombu's, but returns an empty body, which the worker refuses, on an error."""
        try:
            return super().decode_body(body, encoding)
        except (AttributeError, TypeError, ValueError):
            return b""

    def put_all(self, queue: str, priority: int, messages: Iterable[bytes]) -> None:
        """Appends messages to a queue, in their order."""
        name = self._q_for_pri(queue, priority)  # type: ignore[attr-defined]  # not in the stubs
        self._create_client().lpush(name, *messages)


class Transport(redis.Transport):
    """Kombu's transport for Redis, with these channels."""

    Channel: type[redis.Channel] = Channel
    refusals: RefusalLog = RefusalLog()
    channel_errors: tuple[type[Exception], ...]

    def _deliver(self, message: Any, queue: Any) -> None:
        """Like kombu's, but refuses what is not a message."""
        error = envelope_error(message)
        if error is not None:
            raw = repr(message)[:1000].encode(errors="replace")
            refusal = Refusal(f"it is not a message: {error}", is_foreign=True)
            self.refusals.add(refusal, queue, raw)
            return
        properties = message["properties"]
        # Acknowledgement and redelivery use these properties, so the sender must not choose them.
        properties["delivery_tag"] = os.urandom(16).hex()
        properties["delivery_info"] = {"exchange": "", "routing_key": queue}
        properties[ACKNOWLEDGED] = False
        super()._deliver(message, queue)


class _AmqpChannel(pyamqp.Channel):
    Message: type[pyamqp.Message] = _AmqpMessage


class _AmqpConnection(pyamqp.Connection):
    Channel: type[pyamqp.Channel] = _AmqpChannel

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, frame_handler=_frame_handler)


def _frame_handler(connection: Any, callback: Callable[..., Any]) -> Callable[[Any], Any]:
    """Like the client's frame handler, but drops properties that cannot be read."""
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
    """Kombu's transport for RabbitMQ, with these messages."""

    Connection: type[amqp.Connection] = _AmqpConnection


class AmqpsTransport(pyamqp.SSLTransport):
    """Kombu's transport for RabbitMQ over TLS, with these messages."""

    Connection: type[amqp.Connection] = _AmqpConnection


class _MemoryChannel(memory.Channel):
    """A channel in memory whose queues several threads may declare, use and leave at once.

    All channels of a process share the queues. Kombu looks through them when it closes a channel,
    and may replace a queue, with its messages, that another thread has just made.
    """

    queues: dict[str, Queue[Any]]

    def _new_queue(self, queue: str, **kwargs: Any) -> None:
        self._queue_for(queue)

    def _queue_for(self, queue: str) -> Queue[Any]:
        found = self.queues.get(queue)
        return self.queues.setdefault(queue, Queue()) if found is None else found

    def close(self) -> None:
        virtual.Channel.close(self)


class MemoryTransport(memory.Transport):
    """Kombu's transport in memory, with these channels."""

    Channel: type[memory.Channel] = _MemoryChannel
