"""A worker in this process, and how it stops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from onward.backend import Hearing
from onward.backend.support import BLOCKED, Echo, loop_echo, stop_on


@dataclass(slots=True)
class LocalWorker:
    """Serves a catalog until it is stopped."""

    loop: asyncio.AbstractEventLoop
    leave: Callable[[float], Coroutine[Any, Any, None]]
    stopped: threading.Event = field(default_factory=threading.Event)
    echo: Echo = field(init=False)

    def __post_init__(self) -> None:
        self.echo = loop_echo(self.loop)

    def stop(self, grace: float = 30.0) -> None:
        """See `Worker.stop`."""
        if not self.stopped.is_set():
            self.stopped.set()
            stop_on(self.loop, lambda: self.leave(grace))

    def wait(self, timeout: float | None = None) -> bool:
        """See `Worker.wait`."""
        return self.stopped.wait(timeout)

    def hearing(self) -> Hearing:
        """See `Hears.hearing`."""
        return Hearing(self.echo.silent(), BLOCKED)
