"""Logs when a worker cannot use its file, and when it can again."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from onward.backend.loop import Closed
from onward.backends.sqlite.errors import fault_of

_AGAIN = 60.0
"""How often it is logged that an outage goes on, or that there is another one, in seconds."""

_LOGGER = logging.getLogger("onward.sqlite")


class Outage:
    """One line in the log when a file cannot be used, then one a minute, and one when it can again.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._since: float | None = None
        self._is_known = False
        self._logged = -_AGAIN

    def fails(self, problem: BaseException) -> None:
        """It cannot be used, as one of `PROBLEMS` or a `Refused` says."""
        if isinstance(problem, Closed):
            return  # whoever closed it knows
        now = time.monotonic()
        with self._lock:
            self._since = now if self._since is None else self._since
            if now - self._logged < _AGAIN:
                return
            self._logged, self._is_known = now, True
        fault = fault_of(problem, str(self._path))
        _LOGGER.warning(
            "until it can use its file, this worker takes up and ends no call: %s", fault
        )

    def works(self) -> None:
        """Something was written to it."""
        if self._since is None:  # it nearly always is
            return
        with self._lock:
            since, self._since = self._since, None
            is_known, self._is_known = self._is_known, False
        if since is not None and is_known:
            away = time.monotonic() - since
            _LOGGER.warning("%s can be used again, after %.0f s", self._path, away)
