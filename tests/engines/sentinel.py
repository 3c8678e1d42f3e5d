"""A Valkey with a replica, and the Sentinels that fail over to it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from redis import Redis

from tests.engines.process import until
from tests.engines.server import HOST
from tests.engines.valkey import Valkey

NAME = "ours"
"""The Sentinels' name of the primary."""


class Replica(Valkey):
    """A Valkey that replicates another one."""

    primary: Valkey

    @classmethod
    def of(cls, primary: Valkey, folder: Path) -> Replica:
        replica = cls(folder)
        replica.primary = primary
        return replica.restart()

    def command(self) -> Sequence[str | Path]:
        return [*super().command(), "--replicaof", HOST, str(self.primary.port)]


class Sentinel(Valkey):
    """One of the Sentinels, which decide together which Valkey is the primary."""

    @classmethod
    def over(cls, primary: Valkey, folder: Path) -> Sentinel:
        sentinel = cls(folder)
        (folder / "sentinel.conf").write_text(
            f"sentinel monitor {NAME} {HOST} {primary.port} 1\n"
            f"sentinel down-after-milliseconds {NAME} 1000\n"
            f"sentinel failover-timeout {NAME} 5000\n"
        )
        return sentinel.restart()

    def command(self) -> Sequence[str | Path]:
        binary, *_ = super().command()
        where = ["--bind", HOST, "--port", str(self.port), "--dir", str(self.folder)]
        return [binary, self.folder / "sentinel.conf", "--sentinel", *where]


class Watched:
    """A primary, its replica, and two Sentinels."""

    def __init__(self, primary: Valkey, replica: Replica, sentinels: Sequence[Sentinel]) -> None:
        self.primary = primary
        self.replica = replica
        self.sentinels = sentinels

    @property
    def url(self) -> str:
        hosts = ";".join(f"sentinel://{HOST}:{each.port}" for each in self.sentinels)
        return f"{hosts}/0?master_name={NAME}"

    def is_replicated(self) -> bool:
        """Whether the Sentinels know the replica, and the replica has caught up."""
        known = [_sentinel(each, "replicas") for each in self.sentinels]
        with contextlib.closing(Redis(port=self.replica.port)) as client:
            status: dict[str, object] = client.info("replication")
        return all(known) and status.get("master_link_status") == "up"


def _sentinel(sentinel: Sentinel, what: str) -> object:
    with contextlib.closing(Redis(port=sentinel.port)) as client:
        return client.execute_command("SENTINEL", what, NAME)  # type: ignore[no-untyped-call]  # of redis-py


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[Watched]:
    """Servers that are ready to fail over."""
    with ExitStack() as stack:
        primary = stack.enter_context(Valkey.start(folder / "primary"))
        replica = stack.enter_context(Replica.of(primary, folder / "replica"))
        sentinels = [
            stack.enter_context(Sentinel.over(primary, folder / f"sentinel{number}"))
            for number in range(2)
        ]
        found = Watched(primary, replica, sentinels)
        until(found.is_replicated, within=120, otherwise=lambda: "the replica does not come up")
        yield found
