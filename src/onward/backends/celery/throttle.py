"""Limits repeated log records to one a second, so that an outage cannot fill a disk."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Generator, Hashable, Iterable
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from onward.backend.outage import CAUSE

EVERY = 1.0
"""The time between two records of one cause, in seconds."""

_TRACEBACK_EVERY = 60.0
"""The time between two tracebacks of one cause, in seconds."""

_MAX_CAUSES = 1_000
"""How many causes are remembered; the oldest is forgotten first."""


class _Held(NamedTuple):
    last: float
    shown: float
    more: int = 0

    def one_more(self) -> _Held:
        return self._replace(more=self.more + 1)


_NEVER = _Held(-math.inf, -math.inf)


class Throttle(logging.Filter):
    r"""Passes one record a second of each cause, with the number of records that it held back.

    A record's cause is its `cause` (`extra={"cause": ...}`), or the line of code that logs it. One
    record a minute keeps its traceback, which may have a hundred lines.

    Args:
        every: The time between two records of one cause, in seconds.
        least: The lowest level that is held back; lower levels always pass.
        clock: Gives the time, in seconds.

    Example:
        >>> import io
        >>> log = logging.getLogger("doctest.throttle")
        >>> log.propagate, shown = False, io.StringIO()
        >>> log.addHandler(logging.StreamHandler(shown))
        >>> log.addFilter(Throttle())
        >>> for number in range(1000):
        ...     log.warning("cannot reach it")
        >>> shown.getvalue()
        'cannot reach it\n'
    """

    def __init__(
        self,
        every: float = EVERY,
        *,
        least: int = logging.WARNING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._every = every
        self._least = least
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[Hashable, _Held] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record passes."""
        if record.levelno < self._least:
            return True
        cause = getattr(record, CAUSE, None) or (record.pathname, record.lineno)
        now = self._clock()
        with self._lock:
            held = self._held.pop(cause, _NEVER)
            is_due = now - held.last >= self._every
            shows = is_due and record.exc_info and now - held.shown >= _TRACEBACK_EVERY
            shown = now if shows else held.shown
            self._held[cause] = _Held(now, shown) if is_due else held.one_more()
            if len(self._held) > _MAX_CAUSES:
                del self._held[next(iter(self._held))]
        if is_due and held.more:
            record.msg = f"{record.getMessage()} (and {held.more:,} more like it)"
            record.args = ()
        if not shows:
            record.exc_info = record.exc_text = None
        return is_due


@contextmanager
def throttled(loggers: Iterable[str], throttle: Throttle | None = None) -> Generator[None]:
    """Limits the repeated records of loggers to one a second, for the time of the context.

    Args:
        loggers: The names of the loggers. Their children are not included.
        throttle: The filter; a new one if None.
    """
    throttle = throttle or Throttle()
    with ExitStack() as ends:
        for name in loggers:
            logger = logging.getLogger(name)
            logger.addFilter(throttle)
            ends.callback(logger.removeFilter, throttle)
        yield
