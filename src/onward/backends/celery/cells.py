"""Where the ledger keeps schedules: records that change only as expected, and one leader.

Clients change a record if nobody else has changed it meanwhile. The workers agree on a leader,
which alone looks at the clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

RECORDS = "onward:schedules"
"""A hash with the record of each schedule."""

PLANS = "onward:schedules:plans"
"""A hash with the plan of each schedule."""

VERSION = "onward:schedules:version"
"""How often clients have changed a schedule."""

LEADER = "onward:schedules:leader"
"""The leader's name. The key expires unless the leader renews it."""

# The record before and after, and the plan, are empty where there is none. An empty plan leaves the
# one that is kept.
_SWAP = """
local name, before, after, plan, is_client = unpack(ARGV)
if (redis.call('HGET', KEYS[1], name) or '') ~= before then return 0 end
if after == '' then
    redis.call('HDEL', KEYS[1], name)
    redis.call('HDEL', KEYS[2], name)
else
    redis.call('HSET', KEYS[1], name, after)
    if plan ~= '' then redis.call('HSET', KEYS[2], name, plan) end
end
if is_client == '1' then redis.call('INCR', KEYS[3]) end
return 1
"""

_LEAD = """
local leader = redis.call('GET', KEYS[1])
if leader and leader ~= ARGV[1] then return {0, redis.call('PTTL', KEYS[1])} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {1, tonumber(redis.call('GET', KEYS[2]) or 0)}
"""

_STEP_DOWN = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""


class Leadership(NamedTuple):
    """Whether a worker leads.

    Args:
        is_leader: Whether it does, for the time that it asked for.
        version: How often clients have changed a record; for the leader.
        left: How long another worker leads at least, in seconds.
    """

    is_leader: bool
    version: int = 0
    left: float = 0.0


class Cells(Protocol):
    """Keeps a record and a plan by name."""

    def records(self) -> Mapping[str, bytes]:
        """Returns all records."""
        ...

    def record(self, name: str) -> bytes:
        """Returns a record; empty if there is none."""
        ...

    def plan(self, name: str) -> bytes:
        """Returns a plan; empty if there is none."""
        ...

    def swap(
        self, name: str, before: bytes, after: bytes, plan: bytes = b"", *, is_client: bool = True
    ) -> bool:
        """Replaces a record, if it is still the one before.

        Args:
            name: The record's name.
            before: The record that is expected; empty for none.
            after: The new record; empty deletes it and its plan.
            plan: The new plan; empty keeps the plan.
            is_client: Whether the leader must hear of it.

        Returns:
            Whether the record was the one before.
        """
        ...

    def lead(self, holder: str, seconds: float) -> Leadership:
        """Makes a worker the leader for some seconds, unless another one is."""
        ...

    def step_down(self, holder: str) -> None:
        """Ends the leadership of a worker, if it is the leader."""
        ...


class RedisCells:
    """Cells in the ledger's Redis.

    Args:
        client: A client of it. (Any: redis-py's types cover two kinds of client at once.)
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._swap = client.register_script(_SWAP)
        self._lead = client.register_script(_LEAD)
        self._step_down = client.register_script(_STEP_DOWN)

    def records(self) -> Mapping[str, bytes]:
        found = self._client.hgetall(RECORDS)
        return {name.decode(errors="replace"): record for name, record in found.items()}

    def record(self, name: str) -> bytes:
        return self._client.hget(RECORDS, name) or b""

    def plan(self, name: str) -> bytes:
        return self._client.hget(PLANS, name) or b""

    def swap(
        self, name: str, before: bytes, after: bytes, plan: bytes = b"", *, is_client: bool = True
    ) -> bool:
        args = [name, before, after, plan, int(is_client)]
        return bool(self._swap([RECORDS, PLANS, VERSION], args))

    def lead(self, holder: str, seconds: float) -> Leadership:
        is_leader, number = self._lead([LEADER, VERSION], [holder, int(seconds * 1000)])
        return Leadership(True, number) if is_leader else Leadership(False, left=number / 1000)

    def step_down(self, holder: str) -> None:
        self._step_down([LEADER], [holder])


class MemoryCells:
    """Cells in the memory of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: dict[str, bytes] = {}
        self._plans: dict[str, bytes] = {}
        self._version = 0
        self._leader, self._until = "", 0.0

    def records(self) -> Mapping[str, bytes]:
        with self._lock:
            return dict(self._records)

    def record(self, name: str) -> bytes:
        return self._records.get(name, b"")

    def plan(self, name: str) -> bytes:
        return self._plans.get(name, b"")

    def swap(
        self, name: str, before: bytes, after: bytes, plan: bytes = b"", *, is_client: bool = True
    ) -> bool:
        with self._lock:
            if self._records.get(name, b"") != before:
                return False
            if after:
                self._records[name] = after
                self._plans[name] = plan or self._plans.get(name, b"")
            else:
                self._records.pop(name, None)
                self._plans.pop(name, None)
            self._version += is_client
            return True

    def lead(self, holder: str, seconds: float) -> Leadership:
        with self._lock:
            now = time.monotonic()
            if self._leader != holder and now < self._until:
                return Leadership(False, left=self._until - now)
            self._leader, self._until = holder, now + seconds
            return Leadership(True, self._version)

    def step_down(self, holder: str) -> None:
        with self._lock:
            if self._leader == holder:
                self._leader, self._until = "", 0.0
