"""The health of a worker, for those that watch it: Kubernetes, systemd, Prometheus.

`Health` says what `work` reports. Its module imports no server and no metrics; `watching` does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Health"]

_PORTS = 65_535


@dataclass(frozen=True, slots=True)
class Health:
    """What a worker reports of its health, given to `work`.

    On a port it answers HTTP: `/live`, `/ready` and `/metrics`. If the environment variable
    NOTIFY_SOCKET is set, it also tells systemd when it is ready, alive and stopping.

    A worker is *deaf* if it hears nothing from its engine, although its process runs: the engine is
    frozen or away, or the connection is dead and the worker has not noticed.

    Args:
        port: The port to answer on; 0 for a free one, None for none.
        host: The address to answer on. The default is reached from this machine only; in a
            container, `0.0.0.0` or `::`.
        deaf: How long a worker may be deaf, in seconds, before `/live` fails and systemd's watchdog
            is no longer served, so that it is restarted. `/ready` fails at once.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.

    Example:
        >>> import threading
        >>> from onward import Catalog, Health, local, task, work
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> stop = threading.Event()
        >>> stop.set()
        >>> work(Catalog(double), on=local(), health=Health(port=0), stop=stop)
        <Success: None>
    """

    port: int | None = None
    host: str = "127.0.0.1"
    deaf: float = 120.0

    def __post_init__(self) -> None:
        if self.port is not None:
            if isinstance(self.port, bool) or not isinstance(self.port, int):
                raise TypeError(f"port is a whole number, not {self.port!r}")
            if not 0 <= self.port <= _PORTS:
                raise ValueError(f"port is between 0 and {_PORTS}, not {self.port}")
        if not isinstance(self.host, str):
            raise TypeError(f"host is a str, not {self.host!r}")
        if not self.host:
            raise ValueError("host is empty: write 0.0.0.0 or :: for all addresses")
        if isinstance(self.deaf, bool) or not isinstance(self.deaf, int | float):
            raise TypeError(f"deaf is a number of seconds, not {self.deaf!r}")
        if not (math.isfinite(self.deaf) and self.deaf > 0):
            raise ValueError(f"deaf is a number of seconds above 0, not {self.deaf!r}")
