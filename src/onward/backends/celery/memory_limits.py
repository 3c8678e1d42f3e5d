"""The places of limits, in the memory of this process."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping

from onward.backend.limiter import Limiter
from onward.backends.celery.due import EXPIRY, START, Hold
from onward.backends.celery.limits import Ask, Enter, Place
from onward.backends.celery.memory_due import MemoryDue
from onward.scope import in_cleanup


class MemoryLimits:
    """The places of limits, in a ledger in memory.

    Args:
        changed: Guards the ledger.
        calls: The records of all calls.
        due: Holds the messages of steps that wait.
    """

    def __init__(
        self,
        changed: threading.Condition,
        calls: Mapping[str, dict[str, bytes]],
        due: MemoryDue,
    ) -> None:
        self._changed = changed
        self._calls = calls
        self._due = due
        self._limiter = Limiter()
        self._steps: dict[str, dict[str, str]] = {}
        """The pools of the steps that wait or have a place, by call and path."""

        self._opens: dict[str, float] = {}
        """When pools have a place again for what waits."""

        self._entering = ""
        """The call that asks just now, which needs no other start."""

        due.look = self._look

    def ask(self, ask: Ask, hold: Hold | None = None) -> Place:
        holder = f"{ask.at} {ask.call}"
        with self._changed:
            record = self._calls.get(ask.call, {})
            is_cancelled = "cancelling" in record and not in_cleanup(ask.at)
            is_over = "plan" not in record or "end" in record or f"o:{ask.at}" in record
            is_running = f"b:{ask.at}" in record and not self._limiter.has_place(holder)
            if is_over or is_cancelled or is_running:
                return "pass"
            now = time.time()
            pool = self._limiter.request(holder, ask.limit, ask.key, now)
            self._steps.setdefault(ask.call, {})[ask.at] = pool
            record[f"q:{ask.at}"] = f"{ask.limit.name}\t{pool}".encode()
            self._hand_out(pool)
            if self._limiter.has_place(holder):
                self._limiter.begin(holder, time.time())
                return "begun"
            if hold is None:
                return "hold"
            self._due.hold(hold, math.inf)
            return "held"

    def enter(self, enter: Enter) -> bool:
        holder = f" {enter.call}"
        with self._changed:
            record = self._calls.get(enter.call, {})
            if "plan" not in record or "end" in record:
                return False
            pool = self._limiter.request(holder, enter.limit, enter.key, time.time())
            if START not in self._steps.setdefault(enter.call, {}):
                self._steps[enter.call][START] = pool
                record["q:"] = f"{enter.limit.name}\t{pool}".encode()
                if enter.deadline is not None:
                    self._due.add(EXPIRY, enter.call, enter.deadline)
            self._entering = enter.call
            self._hand_out(pool)
            self._entering = ""
            if not self._limiter.has_place(holder):
                record["held_back"] = b"1"
                return False
            if record.pop("held_back", None) is not None or "entered" not in record:
                record["entered"] = b"1"
                self._limiter.begin(holder, time.time())
            return True

    def leave(self, call: str, at: str) -> None:
        with self._changed:
            pool = self._steps.get(call, {}).pop(at, None)
            if not self._steps.get(call):
                self._steps.pop(call, None)
            self._calls.get(call, {}).pop(f"q:{at}", None)
            self._limiter.leave(f"{at} {call}")
            if pool is not None:
                self._hand_out(pool)

    def forget(self, call: str) -> None:
        """Takes the steps of a call that has ended out of all limits, but for those that run."""
        with self._changed:
            for at in list(self._steps.get(call, {})):
                if f"b:{at}" not in self._calls.get(call, {}):
                    self.leave(call, at)

    def _hand_out(self, pool: str) -> None:
        for holder in self._limiter.hand_out(pool, time.time()):
            at, _, call = holder.partition(" ")
            if at == START and call != self._entering:
                self._due.add(START, call, time.time())
            elif at != START:
                self._due.send_now(at, call)
        opens = self._limiter.opens_at(pool, time.time())
        if opens is None:
            self._opens.pop(pool, None)
        elif self._opens.get(pool) != opens:
            self._opens[pool] = opens
            self._due.wake()

    def _look(self, now: float) -> float | None:
        """Hands out what time has freed; returns when there is more."""
        for pool in [pool for pool, opens in self._opens.items() if opens <= now]:
            self._hand_out(pool)
        return min(self._opens.values(), default=None)
