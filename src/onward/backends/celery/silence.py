"""Notices when a worker receives nothing from its broker, which Celery does not report."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from kombu.transport.virtual import Channel as VirtualChannel

from onward.backends.celery.client import Timeouts
from onward.backends.celery.outage import Outage
from onward.backends.celery.transport import Channel

_LOOK = 1.0
"""How often it is looked, in seconds."""


class SilenceWatch:
    """Says when a worker hears nothing of its broker, and when it does again.

    Args:
        outage: Says it.
        timeouts: How long the broker may take.
        consumer: Celery's consumer, or None as long as there is none.
    """

    def __init__(self, outage: Outage, timeouts: Timeouts, consumer: Callable[[], Any]) -> None:
        self._outage = outage
        self._timeouts = timeouts
        self._consumer = consumer
        self._ended = threading.Event()
        self._bytes: tuple[int, int] | None = None
        self._last = time.monotonic()
        threading.Thread(target=self._run, name="onward-hearing", daemon=True).start()

    def close(self) -> None:
        """Looks no more."""
        self._ended.set()

    def _run(self) -> None:
        was_silent = False
        while not self._ended.wait(_LOOK):
            silent = time.monotonic() - self._heard()
            problem = getattr(self._consumer(), "problem", None)
            is_silent = silent > self._patience()
            if problem is not None or (is_silent and was_silent):  # a wait may just begin
                why = problem or f"nothing heard for {silent:.0f} s"
                self._outage.fails(why, since=time.monotonic() - silent)
            elif not is_silent:
                self._outage.works()
            was_silent = is_silent

    def _patience(self) -> float:
        """How long there may be nothing to hear."""
        channel = self._channel()
        # Redis answers each second, and RabbitMQ sends heartbeats twice as often as agreed on.
        is_amqp = channel is not None and not isinstance(channel, VirtualChannel)
        return self._timeouts.heartbeat if is_amqp else self._timeouts.socket + _LOOK

    def _channel(self) -> Any:
        consumer = getattr(self._consumer(), "task_consumer", None)
        return getattr(consumer, "channel", None)

    def _heard(self) -> float:
        """When there was a sign of life, by the monotonic clock."""
        channel, now = self._channel(), time.monotonic()
        if getattr(self._consumer(), "connection", None) is None or channel is None:
            return self._last
        if isinstance(channel, Channel):
            qos: Any = channel.qos
            if qos is not None and not qos.can_consume() and self._last > now - 2 * _LOOK:
                self._last = now  # it holds as much as it can, and asks for no more
            # Before it asks it connects, and is answered to.
            self._last = max(self._last, channel.heard, channel.asked or 0.0)
            return self._last
        count: int | None = getattr(channel.connection, "bytes_recv", None)
        received = None if count is None else (id(channel), count)
        if received is None or received != self._bytes:  # it may be in this process
            self._bytes, self._last = received, now
        return self._last
