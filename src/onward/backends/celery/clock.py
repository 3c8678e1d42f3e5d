"""The ledger's clock, which decides when calls are due: the clocks of machines differ."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from redis.exceptions import RedisError

_EVERY = 60.0
"""How often it is looked, in seconds; in between, this machine counts on."""

_AWAY = 1.0
"""How long it is not looked again while the ledger is away, in seconds."""


class Clock:
    """The time of a server, in seconds since 1970-01-01 UTC.

    Args:
        look: Asks the server for it.
    """

    def __init__(self, look: Callable[[], float]) -> None:
        self._look = look
        self._ahead: float | None = None
        self._next = 0.0

    def now(self) -> float:
        """What time it is; by this machine's clock if the server was never reached."""
        before = time.monotonic()
        if self._ahead is None or before >= self._next:
            try:
                there, after = self._look(), time.monotonic()
            except (RedisError, OSError):
                self._next = time.monotonic() + _AWAY
            else:
                self._ahead, self._next = there - (before + after) / 2, after + _EVERY
        return time.time() if self._ahead is None else time.monotonic() + self._ahead


def there(moment: float, now: float) -> float:
    """A moment of this machine's clock, by a clock on which it is `now`."""
    return moment + now - time.time()


def here(moment: float, now: float) -> float:
    """A moment of a clock on which it is `now`, by this machine's clock."""
    return moment - now + time.time()


def eta_here(eta: str, now: float) -> str:
    """The same for a moment in ISO 8601, as Celery's messages have it."""
    return (datetime.fromisoformat(eta) + timedelta(seconds=time.time() - now)).isoformat()
