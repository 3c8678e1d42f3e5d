"""RabbitMQ, as the system's packages install it."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.engines.server import HOST, Server

SERVER = """
epmd &
until epmd -names >/dev/null 2>&1; do sleep 0.01; done
exec "$0"
"""
"""Starts epmd first. Otherwise Erlang would start it as a daemon that nobody stops."""


class RabbitMQ(Server):
    """A RabbitMQ without plugins, with an epmd of its own."""

    patience = 60.0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._epmd_port = self.reserve_port()
        self._node_port = self.reserve_port()

    @classmethod
    def missing(cls) -> str | None:
        if _script() is None or shutil.which("epmd") is None:
            return "RabbitMQ is not installed: apt-get install rabbitmq-server"
        return None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{HOST}:{self.port}//"

    def command(self) -> Sequence[str | Path]:
        script = _script()
        if script is None:
            raise FileNotFoundError(self.missing())
        return ["/bin/sh", "-c", SERVER, script]

    def environment(self) -> Mapping[str, str]:
        return {
            "HOME": str(self.folder),  # for the cookie
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_AFLAGS": "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_NODENAME": f"onward-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._node_port),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "logs"),
            "RABBITMQ_LOGS": "-",
            # None of these files is there: no setting of the machine's own RabbitMQ counts.
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "rabbitmq-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            # The script then becomes the server, so that its pid is the server's.
            "RUNNING_UNDER_SYSTEMD": "true",
            # It starts twice as fast, for less CPU time, than with the default, which is "none".
            "RABBITMQ_SCHEDULER_BUSY_WAIT_THRESHOLD": "very_short",
        }

    def answers(self) -> bool:
        with socket.create_connection((HOST, self.port), timeout=1) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            with connection.makefile("rb") as frames:
                # A method's frame on channel 0, its size, and "start": number 10 of class 10.
                frame = frames.read(11)
                return frame[:3] == b"\x01\x00\x00" and frame[7:] == b"\x00\x0a\x00\x0a"


def _script() -> Path | str | None:
    """The server's own script: Debian's wrapper on the PATH runs for root or its own user alone."""
    packaged = sorted(Path("/usr/lib/rabbitmq/lib").glob("*/sbin/rabbitmq-server"))
    return packaged[-1] if packaged else shutil.which("rabbitmq-server")
