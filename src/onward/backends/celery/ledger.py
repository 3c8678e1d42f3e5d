"""What is known of each submitted call, beside the queue: Celery's own records are too vague."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from msgspec import Struct

from onward import outcome as outcomes
from onward.outcome import Outcome


class Entry(Struct, frozen=True):
    """A call, as the ledger has it."""

    plan: bytes
    end: str
    outcome: Outcome | None
    fields: dict[str, str]


class Begun(Struct, frozen=True):
    """What a worker hears when it begins a step.

    Args:
        is_open: Whether the call is known and has no outcome.
        outcome: The outcome that the step had before, if it was run already.
        is_taken: Whether another worker is at this step just now.
    """

    is_open: bool
    outcome: bytes | None
    is_taken: bool


class Ledger(Protocol):
    """Where calls are written down."""

    def open(self, id: str, plan: bytes, delay: float) -> bool:
        """Writes a call down that starts so many seconds from now; False if it was there."""
        ...

    def forget(self, id: str) -> None:
        """Strikes a call out, which then was never submitted."""
        ...

    def look(self, id: str) -> Entry | None:
        """What is known of a call."""
        ...

    def begin(self, id: str, at: str, worker: str, **fields: str) -> Begun:
        """Notes that a worker begins a step, and takes it for a while."""
        ...

    def record(self, id: str, at: str, outcome: bytes) -> None:
        """Notes a step's outcome."""
        ...

    def put_off(self, id: str, at: str, delay: float) -> None:
        """Notes that a step will be tried again, so many seconds from now."""
        ...

    def note(self, id: str, **fields: str) -> None:
        """Notes where a call is."""
        ...

    def beat(self, steps: Collection[tuple[str, str]], worker: str) -> None:
        """Notes that a worker is still at these steps, each a call's id and a place."""
        ...

    def silent(self, seconds: float) -> list[str]:
        """The open calls of which nothing was heard for so long."""
        ...

    def revive(self, id: str) -> int:
        """Notes that a silent call is sent again; how often it has been."""
        ...

    def settle(self, id: str, outcome: Outcome, end: str) -> bool:
        """Ends a call, once; False if it had ended before."""
        ...

    def is_open(self, id: str) -> bool:
        """Whether the call is known and has no outcome."""
        ...

    def wait(self, ids: Collection[str], timeout: float) -> Mapping[str, Entry | None]:
        """Those that have ended or are unknown, as soon as there is one."""
        ...

    def close(self) -> None:
        """Ends its connections."""
        ...


_OPEN = "onward:open"


class RedisLedger:
    """A ledger in Redis: a hash for each call, and a list that those who wait are woken by."""

    def __init__(self, client: Any, keep: float, lease: float) -> None:
        self._client: Any = client  # redis-py's answers are typed for blocking and awaiting alike
        self._keep = int(keep)
        self._lease = int(lease * 1000)

    def open(self, id: str, plan: bytes, delay: float) -> bool:
        pipe = self._client.pipeline(transaction=True)
        pipe.hsetnx(_key(id), "plan", plan)
        pipe.zadd(_OPEN, {id: time.time() + delay}, nx=True)
        return bool(pipe.execute()[0])

    def forget(self, id: str) -> None:
        pipe = self._client.pipeline(transaction=True)
        pipe.delete(_key(id))
        pipe.zrem(_OPEN, id)
        pipe.execute()

    def look(self, id: str) -> Entry | None:
        return _entry(self._client.hgetall(_key(id)))

    def begin(self, id: str, at: str, worker: str, **fields: str) -> Begun:
        pipe = self._client.pipeline(transaction=False)
        pipe.hmget(_key(id), ["plan", "end", f"o:{at}"])
        pipe.set(_lease(id, at), worker, nx=True, px=self._lease, get=True)
        pipe.hset(_key(id), mapping={**fields})
        pipe.zadd(_OPEN, {id: time.time()}, xx=True)
        (plan, end, outcome), holder, *_ = pipe.execute()
        is_taken = holder is not None and holder.decode() != worker
        return Begun(plan is not None and end is None, outcome, is_taken)

    def record(self, id: str, at: str, outcome: bytes) -> None:
        pipe = self._client.pipeline(transaction=False)
        pipe.hset(_key(id), f"o:{at}", outcome)
        pipe.delete(_lease(id, at))
        pipe.zadd(_OPEN, {id: time.time()}, xx=True)
        pipe.execute()

    def put_off(self, id: str, at: str, delay: float) -> None:
        pipe = self._client.pipeline(transaction=False)
        pipe.delete(_lease(id, at))
        pipe.zadd(_OPEN, {id: time.time() + delay}, xx=True)
        pipe.execute()

    def note(self, id: str, **fields: str) -> None:
        self._client.hset(_key(id), mapping={**fields})

    def beat(self, steps: Collection[tuple[str, str]], worker: str) -> None:
        pipe = self._client.pipeline(transaction=False)
        for id, at in steps:
            pipe.set(_lease(id, at), worker, px=self._lease)
            pipe.zadd(_OPEN, {id: time.time()}, xx=True)
        pipe.execute()

    def silent(self, seconds: float) -> list[str]:
        found = self._client.zrangebyscore(_OPEN, 0, time.time() - seconds)
        return [id.decode() for id in found]

    def revive(self, id: str) -> int:
        pipe = self._client.pipeline(transaction=False)
        pipe.hincrby(_key(id), "revived", 1)
        pipe.zadd(_OPEN, {id: time.time()}, xx=True)
        return int(pipe.execute()[0])

    def settle(self, id: str, outcome: Outcome, end: str) -> bool:
        pipe = self._client.pipeline(transaction=True)
        pipe.hsetnx(_key(id), "end", end)
        pipe.hsetnx(_key(id), "outcome", outcomes.encode(outcome))
        pipe.rpush(_bell(id), "1")
        pipe.expire(_bell(id), self._keep)
        pipe.expire(_key(id), self._keep)
        pipe.zrem(_OPEN, id)
        return bool(pipe.execute()[0])

    def is_open(self, id: str) -> bool:
        plan, end = self._client.hmget(_key(id), ["plan", "end"])
        return plan is not None and end is None

    def wait(self, ids: Collection[str], timeout: float) -> Mapping[str, Entry | None]:
        found = self._settled(ids)
        if found or timeout <= 0:
            return found
        rung = self._client.blpop([_bell(id) for id in ids], timeout=timeout)
        if rung is not None:
            self._client.rpush(rung[0], "1")  # for whoever else waits
        return self._settled(ids)

    def close(self) -> None:
        self._client.close()

    def _settled(self, ids: Collection[str]) -> dict[str, Entry | None]:
        pipe = self._client.pipeline(transaction=False)
        for id in ids:
            pipe.hmget(_key(id), ["plan", "end", "outcome"])
        found: dict[str, Entry | None] = {}
        for id, (plan, end, outcome) in zip(ids, pipe.execute(), strict=True):
            if plan is None:
                found[id] = None
            elif end is not None and outcome is not None:
                found[id] = Entry(plan, end.decode(), outcomes.decode(outcome), {})
        return found


def _key(id: str) -> str:
    return f"onward:{id}"


def _bell(id: str) -> str:
    return f"onward:{id}:bell"


def _lease(id: str, at: str) -> str:
    return f"onward:{id}:at:{at}"


def _entry(found: Mapping[bytes, bytes]) -> Entry | None:
    if b"plan" not in found:
        return None
    raw = found.get(b"outcome")
    return Entry(
        found[b"plan"],
        found.get(b"end", b"").decode(),
        None if raw is None else outcomes.decode(raw),
        {
            key.decode(): value.decode()
            for key, value in found.items()
            if not key.startswith(b"o:") and key not in (b"plan", b"outcome")
        },
    )


class MemoryLedger:
    """A ledger in this process, for `memory://`, where clients and workers are threads of it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls: dict[str, dict[str, bytes]] = {}

    def open(self, id: str, plan: bytes, delay: float) -> bool:
        with self._changed:
            if id in self._calls:
                return False
            self._calls[id] = {"plan": plan}
            return True

    def forget(self, id: str) -> None:
        with self._changed:
            self._calls.pop(id, None)

    def look(self, id: str) -> Entry | None:
        with self._changed:
            found = {key.encode(): value for key, value in self._calls.get(id, {}).items()}
        return _entry(found)

    def begin(self, id: str, at: str, worker: str, **fields: str) -> Begun:
        self.note(id, **fields)
        with self._changed:
            call = self._calls.get(id, {})
            return Begun("plan" in call and "end" not in call, call.get(f"o:{at}"), False)

    def record(self, id: str, at: str, outcome: bytes) -> None:
        with self._changed:
            self._calls[id][f"o:{at}"] = outcome

    # Nobody else can die, and nothing gets lost on the way: there is nothing to watch over.

    def put_off(self, id: str, at: str, delay: float) -> None:
        pass

    def beat(self, steps: Collection[tuple[str, str]], worker: str) -> None:
        pass

    def silent(self, seconds: float) -> list[str]:
        return []

    def revive(self, id: str) -> int:
        return 0

    def close(self) -> None:
        pass

    def note(self, id: str, **fields: str) -> None:
        with self._changed:
            self._calls.setdefault(id, {}).update(
                {key: value.encode() for key, value in fields.items()}
            )

    def settle(self, id: str, outcome: Outcome, end: str) -> bool:
        with self._changed:
            call = self._calls.setdefault(id, {})
            if "end" in call:
                return False
            call["end"], call["outcome"] = end.encode(), outcomes.encode(outcome)
            self._changed.notify_all()
            return True

    def is_open(self, id: str) -> bool:
        with self._changed:
            call = self._calls.get(id, {})
            return "plan" in call and "end" not in call

    def wait(self, ids: Collection[str], timeout: float) -> Mapping[str, Entry | None]:
        end = time.monotonic() + timeout
        with self._changed:
            while not (found := self._settled(ids)):
                left = end - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            return found

    def _settled(self, ids: Collection[str]) -> dict[str, Entry | None]:
        looked = {id: self._calls.get(id) for id in ids}
        return {
            id: None if call is None else _entry({k.encode(): v for k, v in call.items()})
            for id, call in looked.items()
            if call is None or "end" in call
        }
