"""Log records that repeat, once a second at most: an outage or a flood shall not fill a disk."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import ExitStack, contextmanager

EVERY = 1.0
"""How long a cause is silent after it was logged, in seconds."""

_MOST = 1_000
"""How many causes are remembered; the oldest is forgotten first."""

CAUSE = "cause"
"""The attribute of a record that names its cause, where it is another than the line that logs."""


class Throttle(logging.Filter):
    r"""Passes one record a second of each cause, and says with the next how many it held back.

    A record's cause is its `cause` (`extra={"cause": ...}`), or else the line of code that logs it.

    Args:
        every: How long a cause is silent after a record of it, in seconds.
        least: The lowest level that is held back; whatever is below always passes.
        clock: The time in seconds, from wherever.

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
        self._held: dict[Hashable, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record passes."""
        if record.levelno < self._least:
            return True
        cause = getattr(record, CAUSE, None) or (record.pathname, record.lineno)
        now = self._clock()
        with self._lock:
            last, held = self._held.pop(cause, (-self._every, 0))
            is_due = now - last >= self._every
            self._held[cause] = (now, 0) if is_due else (last, held + 1)
            if len(self._held) > _MOST:
                del self._held[next(iter(self._held))]
        if is_due and held:
            record.msg = f"{record.getMessage()} (and {held:,} more like it)"
            record.args = ()
        return is_due


@contextmanager
def throttled(loggers: Iterable[str], throttle: Throttle | None = None) -> Iterator[None]:
    """While this lasts, the loggers of these names repeat themselves once a second at most.

    Args:
        loggers: Their names. Those below them in the tree are not meant.
        throttle: What holds records back; a new one if None.
    """
    throttle = throttle or Throttle()
    with ExitStack() as ends:
        for name in loggers:
            logger = logging.getLogger(name)
            logger.addFilter(throttle)
            ends.callback(logger.removeFilter, throttle)
        yield
