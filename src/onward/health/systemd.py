"""Tells systemd how a service is: one datagram to the socket that NOTIFY_SOCKET names."""

from __future__ import annotations

import contextlib
import math
import os
import socket
from collections.abc import Mapping

_EVERY = 1.0


class Systemd:
    """What listens to this service.

    Args:
        environment: The environment variables of the process.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the null byte of a socket that is in no folder.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.every: float = min(_EVERY, _watchdog(environment) / 3)
        """How often it should be told that the service is alive, in seconds."""

    def notify(self, *lines: str) -> None:
        """Sends some lines, such as `READY=1`; does nothing where nobody listens."""
        if not self._address.startswith(("/", "\0")):
            return
        with (
            contextlib.suppress(OSError),  # whoever listened is gone
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sending,
        ):
            sending.sendto("\n".join(lines).encode(), self._address)


def _watchdog(environment: Mapping[str, str]) -> float:
    """How long the service may be silent, in seconds."""
    text = environment.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if text.isdecimal() and int(text) > 0 else math.inf
