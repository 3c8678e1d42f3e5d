"""Connections to a Redis behind Sentinel. Each one asks the Sentinels for the current primary."""

from __future__ import annotations

import contextlib
from typing import Any

from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelManagedConnection

from onward.backends.celery.urls import Sentinels


class PrimaryFinder:
    """Finds the primary's address for redis-py's connections, as their connection pool.

    Args:
        sentinels: The Sentinels to ask.
        bounds: The timeouts of connections to them, as options of redis-py.
    """

    is_master = True
    check_connection = False

    def __init__(self, sentinels: Sentinels, bounds: dict[str, Any]) -> None:
        self.service_name: str = sentinels.primary
        self._hosts = sentinels.hosts
        # No retries here: the caller retries, and then asks all Sentinels again.
        self._options = {**sentinels.login, **bounds, "retry": Retry(NoBackoff(), 0)}
        self._at = sentinels

    def __deepcopy__(self, _: object) -> PrimaryFinder:
        return self  # Celery copies its settings

    @property
    def options(self) -> dict[str, Any]:
        """The options with which a connection pool connects to the primary."""
        return {
            "connection_class": SentinelManagedConnection,
            "connection_pool": self,
            "username": self._at.username,
            "password": self._at.password,
            "db": self._at.database,
        }

    def get_master_address(self) -> tuple[str, int]:
        """See `redis.sentinel.SentinelConnectionPool.get_master_address`."""
        # redis-py reorders its list of Sentinels, so threads must not share the object.
        sentinels: Any = Sentinel  # redis-py has no types for it
        with contextlib.closing(sentinels(self._hosts, sentinel_kwargs=self._options)) as client:
            host, port = client.discover_master(self.service_name)
            known = [each.connection_pool.connection_kwargs for each in client.sentinels]
        self._hosts = tuple((each["host"], each["port"]) for each in known)
        return str(host), int(port)
