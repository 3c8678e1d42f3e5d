"""Notices when a worker's broker goes silent, which Celery does not report."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from kombu.transport.virtual import Channel as VirtualChannel

from onward.backend import Hearing
from onward.backends.celery.client import Timeouts
from onward.backends.celery.outage import Outage
from onward.backends.celery.transport import Channel

_INTERVAL = 1.0
"""The interval of the checks, in seconds."""


class BrokerWatch:
    """Logs when a worker's broker goes silent, and when it is heard again.

    Args:
        outage: Logs the outage.
        timeouts: How long the broker may take.
        consumer: Returns Celery's consumer; None if there is none yet.
    """

    def __init__(self, outage: Outage, timeouts: Timeouts, consumer: Callable[[], Any]) -> None:
        self._outage = outage
        self._timeouts = timeouts
        self._consumer = consumer
        self._ended = threading.Event()
        self._bytes: tuple[int, int] | None = None
        self._last = self._heard = time.monotonic()
        threading.Thread(target=self._run, name="onward-broker-watch", daemon=True).start()

    def hearing(self) -> Hearing:
        """Says how long the worker has heard nothing, or was not subscribed to its queues."""
        # The checks come at intervals, and silence counts on the second one.
        return Hearing(time.monotonic() - self._heard, self._patience() + 2 * _INTERVAL)

    def close(self) -> None:
        """Stops watching."""
        self._ended.set()

    def _run(self) -> None:
        was_silent = False
        while not self._ended.wait(_INTERVAL):
            heard = self._last_heard()
            silent = time.monotonic() - heard
            if self._is_subscribed():
                self._heard = heard
            problem = getattr(self._consumer(), "problem", None)
            is_silent = silent > self._patience()
            # Silence counts on the second check, because a wait for messages may just have begun.
            if problem is not None or (is_silent and was_silent):
                why = problem or f"nothing heard for {silent:.0f} s"
                self._outage.fails(why, since=time.monotonic() - silent)
            elif not is_silent:
                self._outage.works()
            was_silent = is_silent

    def _patience(self) -> float:
        """How long the broker may be silent, in seconds."""
        channel = self._channel()
        # Redis answers each second. RabbitMQ sends two heartbeats in the agreed interval.
        is_amqp = channel is not None and not isinstance(channel, VirtualChannel)
        return self._timeouts.heartbeat if is_amqp else self._timeouts.socket + _INTERVAL

    def _channel(self) -> Any:
        consumer = getattr(self._consumer(), "task_consumer", None)
        return getattr(consumer, "channel", None)

    def _is_subscribed(self) -> bool:
        """Whether the broker is to send messages of all queues on the open channel."""
        consumer: Any = getattr(self._consumer(), "task_consumer", None)
        channel = self._channel()
        if channel is None or not getattr(channel, "is_open", True):
            return False
        return all(consumer.consuming_from(queue) for queue in consumer.queues)

    def _last_heard(self) -> float:
        """When the broker was last heard, by the monotonic clock."""
        channel, now = self._channel(), time.monotonic()
        if getattr(self._consumer(), "connection", None) is None or channel is None:
            return self._last
        if isinstance(channel, Channel):
            qos: Any = channel.qos
            if qos is not None and not qos.can_consume() and self._last > now - 2 * _INTERVAL:
                self._last = now  # all slots are busy, so the worker does not ask for messages
            # A request for messages counts too: connecting for it got an answer.
            self._last = max(self._last, channel.last_heard, channel.last_asked or 0.0)
            return self._last
        count: int | None = getattr(channel.connection, "bytes_recv", None)
        received = None if count is None else (id(channel), count)
        if received is None or received != self._bytes:  # None: the broker is in this process
            self._bytes, self._last = received, now
        return self._last
