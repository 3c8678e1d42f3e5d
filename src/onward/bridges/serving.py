"""A worker of each of a bridge's backends, as one worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from msgspec.structs import replace

from onward.backend import Hearing, StopsRemotely, Worker
from onward.backend.support import hearing_of

_TURN = 0.05
"""How long a wait for one of two workers stays with each, in seconds."""


class BothWorkers:
    """Workers that stop together.

    Args:
        workers: The workers, which run.
        is_one_enough: Whether they are worth keeping while one of them hears its engine.
    """

    def __init__(self, workers: Sequence[Worker], *, is_one_enough: bool = False) -> None:
        self._workers = workers
        self._is_one_enough = is_one_enough

    def stop(self, grace: float = 30.0) -> None:
        """See `Worker.stop`."""
        stopping = [threading.Thread(target=each.stop, args=(grace,)) for each in self._workers]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()

    def wait(self, timeout: float | None = None) -> bool:
        """True once one of them has stopped: the other alone is not what was asked for."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            if any(each.wait(0.0) for each in self._workers):
                return True
            left = _TURN if end is None else end - time.monotonic()
            if left <= 0:
                return False
            if self._workers[0].wait(min(_TURN, left)):
                return True

    def hearing(self) -> Hearing | None:
        """See `Hears.hearing`: how the worse of them hears, or the better if that is enough."""
        heard = [each for each in map(hearing_of, self._workers) if each is not None]
        if not heard:
            return None
        choose = min if self._is_one_enough else max
        slots = [each.slots for each in heard if each.slots is not None]
        chosen = choose(heard, key=lambda each: each.silent - each.limit)
        return replace(chosen, slots=sum(slots) if slots else None)

    @property
    def is_stopping(self) -> bool:
        """See `StopsRemotely.is_stopping`."""
        return any(isinstance(each, StopsRemotely) and each.is_stopping for each in self._workers)
