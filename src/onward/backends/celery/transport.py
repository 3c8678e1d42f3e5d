"""Kombu's Redis transport, which here keeps the client that it else makes for each command."""

from __future__ import annotations

import time
from collections.abc import Iterable
from queue import Empty
from typing import Any

from kombu.transport import redis, virtual
from redis.connection import BlockingConnectionPool

from onward.backends.celery.connections import CONNECTIONS, Again


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
            raise
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

    QoS = QoS
    heard = 0.0
    """When Redis last answered to the wait for messages, by the monotonic clock."""

    _kept: Any = None

    def _get_pool(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            return super()._get_pool(asynchronous=True)  # type: ignore[misc]  # not in the stubs
        params: dict[str, Any] = self._connparams()  # type: ignore[attr-defined]  # not in the stubs
        self.keyprefix_fanout = self.keyprefix_fanout.format(db=params["db"])
        params["max_connections"] = CONNECTIONS  # the threads of a worker share them
        connect, answer = params.get("socket_connect_timeout"), params.get("socket_timeout")
        pool: Any = BlockingConnectionPool
        return pool(
            timeout=2 * ((connect or 0) + (answer or 0)) or None,
            retry=Again(connect or 0),
            **params,
        )

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            return super()._create_client(asynchronous=True)  # type: ignore[misc]  # not in the stubs
        # After a fork, and after a lost connection, there is another pool.
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()  # type: ignore[misc]  # not in the stubs
        return self._kept

    def _brpop_read(self, **options: Any) -> Any:
        try:
            came = super()._brpop_read(**options)  # type: ignore[misc]  # not in the stubs
        except Empty:  # which is an answer as well
            self.heard = time.monotonic()
            raise
        self.heard = time.monotonic()
        return came

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
    """Kombu's, with such channels."""

    Channel = Channel
