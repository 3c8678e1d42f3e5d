"""The ledger's clock. It decides when calls are due, because the clocks of machines differ."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from redis.exceptions import RedisError

_EVERY = 60.0
"""How often the server is asked, in seconds. In between, this machine's clock counts on."""

_AWAY = 1.0
"""The pause before a server that did not answer is asked again, in seconds."""


class Clock:
    """A server's clock, in seconds since 1970-01-01 UTC.

    Args:
        look: Asks the server for its time.
    """

    def __init__(self, look: Callable[[], float]) -> None:
        self._look = look
        self._ahead: float | None = None
        self._next = 0.0

    def now(self) -> float:
        """The server's time; this machine's if the server was never reached."""
        before = time.monotonic()
        if self._ahead is None or before >= self._next:
            try:
                there, after = self._look(), time.monotonic()
            except (RedisError, OSError):
                self._next = time.monotonic() + _AWAY
            else:
                self._ahead, self._next = there - (before + after) / 2, after + _EVERY
        return time.time() if self._ahead is None else time.monotonic() + self._ahead


def to_remote(local: float, now: float) -> float:
    """Converts a time of this machine's clock to a server's clock.

    Args:
        local: The time by this machine's clock.
        now: The current time by the server's clock.
    """
    return local + now - time.time()


def to_local(remote: float, now: float) -> float:
    """Converts a time of a server's clock to this machine's clock.

    Args:
        remote: The time by the server's clock.
        now: The current time by the server's clock.
    """
    return remote - now + time.time()


def eta_to_local(eta: str, now: float) -> str:
    """Like `to_local`, for a time in ISO 8601, as in Celery's messages."""
    return (datetime.fromisoformat(eta) + timedelta(seconds=time.time() - now)).isoformat()
