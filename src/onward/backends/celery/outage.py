"""Logs when a server goes away, and when it is back."""

from __future__ import annotations

import logging
import threading
import time
from urllib.parse import urlsplit

from onward.backends.celery.throttle import CAUSE

_LOGGER = logging.getLogger("onward.celery")


class Outage:
    """One line in the log when a server is not reached, and one when it is again.

    Args:
        what: The server, as in `the ledger at redis://localhost:6379`; no secret is in it.
        meanwhile: What that means for who reads the log.
    """

    def __init__(self, what: str, meanwhile: str) -> None:
        self._what = what
        self._meanwhile = meanwhile
        self._lock = threading.Lock()
        self._since: float | None = None

    def fails(self, problem: object, since: float | None = None) -> None:
        """It is away, since just now or a moment of the monotonic clock."""
        with self._lock:
            if self._since is not None:
                return
            self._since = time.monotonic() if since is None else since
        _LOGGER.warning(
            "%s is not reached (%s): %s",
            self._what,
            problem,
            self._meanwhile,
            extra={CAUSE: f"{self._what} is away"},
        )

    def works(self) -> None:
        """It is there."""
        if self._since is None:  # it nearly always is
            return
        with self._lock:
            since, self._since = self._since, None
        if since is not None:
            away = time.monotonic() - since
            cause = {CAUSE: f"{self._what} is back"}
            _LOGGER.warning("%s is reached again, after %.0f s", self._what, away, extra=cause)


def shown(what: str, url: str) -> str:
    """A server and where it is, without the user and the password of its URL."""
    parts = urlsplit(url)
    if "@" in parts.path + parts.query + parts.fragment:
        return what  # a password that is not percent-encoded may be all over the parts
    return f"{what} at {parts.scheme}://{parts.netloc.rpartition('@')[2]}"
