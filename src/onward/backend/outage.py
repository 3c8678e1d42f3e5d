"""Logs when a server cannot be reached, and when it is back."""

from __future__ import annotations

import logging
import threading
import time

CAUSE = "cause"
"""The attribute of a record that names its cause, unless that is the line that logs."""


class Outage:
    """Logs one line when a server is not reached, and one when it is reached again.

    Args:
        logger: The name of the logger.
        what: The server, without secrets, such as `the ledger at redis://localhost:6379`.
        meanwhile: What this means for the worker until then.
    """

    def __init__(self, logger: str, what: str, meanwhile: str) -> None:
        self._logger = logging.getLogger(logger)
        self._what = what
        self._meanwhile = meanwhile
        self._lock = threading.Lock()
        self._since: float | None = None

    def fails(self, problem: object, since: float | None = None) -> None:
        """Notes that the server is not reached, since a time of the monotonic clock or now."""
        with self._lock:
            if self._since is not None:
                return
            self._since = time.monotonic() if since is None else since
        self._logger.warning(
            "%s is not reached (%s): %s",
            self._what,
            problem,
            self._meanwhile,
            extra={CAUSE: f"{self._what} is away"},
        )

    def works(self) -> None:
        """Notes that the server is reached."""
        if self._since is None:  # the usual case, without the lock
            return
        with self._lock:
            since, self._since = self._since, None
        if since is not None:
            away = time.monotonic() - since
            cause = {CAUSE: f"{self._what} is back"}
            self._logger.warning("%s is reached again, after %.0f s", self._what, away, extra=cause)
