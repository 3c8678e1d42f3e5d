"""A ledger in the memory of this process."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from onward import outcome as outcomes
from onward.backends.celery.branches import MemoryBranches, fan_outs
from onward.backends.celery.cells import Cells, MemoryCells
from onward.backends.celery.due import START
from onward.backends.celery.ledger import (
    IN_CLEANUP,
    BeginResult,
    Entry,
    Message,
    NewCall,
    Outgoing,
    Recorded,
    entry,
    kind_of_fault,
)
from onward.backends.celery.memory_cleanups import MemoryCleanups
from onward.backends.celery.memory_due import MemoryDue
from onward.backends.celery.memory_limits import MemoryLimits
from onward.backends.celery.memory_log import log_begun, log_ended, log_failed
from onward.backends.celery.memory_records import MemoryRecords
from onward.backends.celery.memory_unique import MemoryUnique
from onward.backends.celery.outage import Outage
from onward.backends.celery.records import FailedAttempt
from onward.outcome import Outcome
from onward.plan import Args, Past
from onward.scope import in_cleanup

_ENCODER = msgspec.json.Encoder()
_ARGS = msgspec.json.Decoder(Args)


class MemoryLedger:
    """The ledger for `memory://`, where clients and workers are threads of this process."""

    sends = False

    def __init__(self, keep: float) -> None:
        self._keep = keep
        self.cells: Cells = MemoryCells()
        self.outage: Outage = Outage("the ledger", "")
        self._changed = threading.Condition(threading.RLock())
        self._calls: dict[str, dict[str, bytes]] = {}
        self.due: MemoryDue = MemoryDue(self._changed, self._calls)
        self.limits: MemoryLimits = MemoryLimits(self._changed, self._calls, self.due)
        self.unique: MemoryUnique = MemoryUnique(self._changed, self._calls, self.due)
        self.cleanups: MemoryCleanups = MemoryCleanups(
            self._changed, self._calls, self.due, self.settle
        )
        self.branches: MemoryBranches = MemoryBranches(self._changed, self._calls, self.due)
        self.records: MemoryRecords = MemoryRecords(self._changed, self._calls, self.due)
        self._ended: deque[tuple[float, str]] = deque()

    def for_worker(self) -> MemoryLedger:
        return self

    def add(self, calls: Sequence[NewCall]) -> list[bool]:
        with self._changed:
            self._forget_old()
            added: list[bool] = []
            for call in calls:
                added.append(call.id not in self._calls)
                if not added[-1]:
                    continue
                self._calls[call.id] = record = {"plan": call.plan}
                record["about"] = b"%.6f %b" % (self.now(), call.about)
                if call.past is not None:
                    record |= _fields_of(call.past)
                if call.delay > 0:
                    self.due.add(START, call.id, self.now() + call.delay)
            return added

    def delete(self, ids: Collection[str]) -> None:
        with self._changed:
            for id in ids:
                self.limits.forget(id)
                self._calls.pop(id, None)
                self.due.delete(id)

    def _forget_old(self) -> None:
        while self._ended and self._ended[0][0] < time.monotonic() - self._keep:
            self.delete([self._ended.popleft()[1]])

    def read(self, id: str) -> Entry | None:
        with self._changed:
            self._forget_old()
            found = {key.encode(): value for key, value in self._calls.get(id, {}).items()}
        return entry(found)

    def begin_step(
        self, message: Message, at: str, holder: str, attempt: int = 1, task: str = ""
    ) -> BeginResult:
        id, running = message.call, f"b:{at}"
        with self._changed:
            call = self._calls.get(id, {})
            outcome, is_open = call.get(f"o:{at}"), "plan" in call and "end" not in call
            is_cancelled = "cancelling" in call and not in_cleanup(at)
            if outcome is not None or not is_open or is_cancelled or running in call:
                return BeginResult(is_open, outcome, running in call, is_cancelled)
            fields = {"attempt": str(attempt), "task": task, "step": at, "progress": ""}
            self.update(id, **fields, **{running: holder})
            log_begun(call, at, holder, attempt)
            args = call.get(f"a:{at}")
            return BeginResult(
                is_open, None, False, args=None if args is None else _ARGS.decode(args)
            )

    def record_outcome(
        self,
        id: str,
        at: str,
        holder: str,
        outcome: bytes,
        following: Outgoing | None = None,
        tag: str = "",
    ) -> Recorded:
        with self._changed:
            call = self._calls.get(id, {})
            call.pop(f"b:{at}", None)
            log_ended(call, at, holder)
            return Recorded(call.setdefault(f"o:{at}", outcome))

    def postpone(
        self, id: str, at: str, holder: str, delay: float, failed: FailedAttempt | None = None
    ) -> None:
        with self._changed:
            call = self._calls.get(id, {})
            call.pop(f"b:{at}", None)
            if failed is not None:
                log_failed(call, at, holder, failed)

    # Workers cannot die alone here and no message gets lost, so these methods have nothing to do.

    def note_sent(self, messages: Iterable[Message]) -> None:
        pass

    def find_lost(self, seconds: float) -> list[str]:
        return []

    def take_turn(self) -> bool:
        return False

    def waiting_routes(self, seconds: float) -> list[str]:
        return []

    def oldest_sent(self) -> Mapping[str, float]:
        return {}

    def note_empty(self, route: str, seconds: float) -> None:
        pass

    def exclude(self, id: str) -> None:
        pass

    def claim_lost(self, id: str, seconds: float) -> int:
        return 0

    def close(self) -> None:
        pass

    def now(self) -> float:
        return time.time()

    def update(self, id: str, **fields: str) -> None:
        with self._changed:
            if id in self._calls:  # a deleted call must not come back while a step of it runs on
                self._calls[id].update({key: value.encode() for key, value in fields.items()})

    def settle(
        self,
        id: str,
        outcome: Outcome,
        end: str,
        *,
        is_last: bool = False,
        at: str = "",
        holder: str = "",
        tag: str = "",
    ) -> bool:
        with self._changed:
            call = self._calls.get(id)
            if call is None or "end" in call:
                return False
            call["end"], call["outcome"] = end.encode(), outcomes.encode(outcome)
            is_decided = is_last and "cancelling" in call
            if is_decided:
                call["end"], call["outcome"] = call["ends"], call["cancelling"]
            fault = kind_of_fault(outcomes.decode(call["outcome"]))
            call["ended"] = f"{self.now():.6f} {fault}".encode()
            if at and not is_decided:
                call.pop(f"b:{at}", None)
                log_ended(call, at, holder, is_end=True)
            self._ended.append((time.monotonic(), id))
            self.due.forget(id)
            self.limits.forget(id)
            self.unique.advance(call.get("slot", b"").decode())
            self._changed.notify_all()
            return not is_decided

    def renew_lease(self, id: str, at: str, holder: str) -> bool:
        return self.is_open(id, at)

    def is_open(self, id: str, at: str = IN_CLEANUP) -> bool:
        with self._changed:
            call = self._calls.get(id, {})
            is_cancelled = "cancelling" in call and not in_cleanup(at)
            is_cancelled = is_cancelled or any(f"x:{fan}" in call for fan in fan_outs(at))
            return "plan" in call and "end" not in call and not is_cancelled

    def wait(self, ids: Collection[str], timeout: float) -> Mapping[str, Outcome | None]:
        end = time.monotonic() + timeout
        with self._changed:
            self._forget_old()
            while not (found := self._settled(ids)):
                left = end - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            return found

    def _settled(self, ids: Collection[str]) -> dict[str, Outcome | None]:
        looked = {id: self._calls.get(id) for id in ids}
        return {
            id: None if call is None else outcomes.decode(call["outcome"])
            for id, call in looked.items()
            if call is None or "end" in call
        }


def _fields_of(past: Past) -> dict[str, bytes]:
    """The fields of a call's record about what it takes over."""
    known = {f"o:{at}": outcomes.encode(outcome) for at, outcome in past.outcomes.items()}
    args = {f"a:{at}": _ENCODER.encode(args) for at, args in past.args.items()}
    return known | args | {f"d:{at}": repr(due).encode() for at, due in past.due.items()}
