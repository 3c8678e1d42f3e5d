"""Kombu's Redis transport, which here keeps the client that it else makes for each command."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kombu.transport import redis


class Channel(redis.Channel):
    """A channel with one client to publish, to note and to acknowledge by."""

    _kept: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            return super()._create_client(asynchronous=True)  # type: ignore[misc]  # not in the stubs
        # After a fork, and after a lost connection, there is another pool.
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()  # type: ignore[misc]  # not in the stubs
        return self._kept

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
