"""What is known of each submitted call, beside the queue: Celery's own records are too vague."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from msgspec import Struct

from onward import outcome as outcomes
from onward.backends.celery.connections import Again, Timeouts, redis_at
from onward.backends.celery.outage import Outage, shown
from onward.backends.celery.signing import Signer, opened, sealed
from onward.backends.celery.waits import TO_TELL, Waits
from onward.fault import Misconfigured
from onward.outcome import Outcome, faulted


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
        is_taken: Whether another delivery of its message is being worked at just now.
    """

    is_open: bool
    outcome: bytes | None
    is_taken: bool


class Ledger(Protocol):
    """Where calls are written down."""

    def of_worker(self) -> Ledger:
        """The same for a worker, which waits for it as long as it is away.

        A client can be told that it is; but what a worker has to say must not be lost.
        """
        ...

    def open(self, calls: Sequence[tuple[str, bytes, float]]) -> list[bool]:
        """Writes calls down: id, plan, and in how many seconds it starts. False for known ones."""
        ...

    def forget(self, ids: Collection[str]) -> None:
        """Strikes calls out, which then were never submitted."""
        ...

    def sent(self, ids: Collection[str]) -> None:
        """Notes that the broker has taken these calls over."""
        ...

    def look(self, id: str) -> Entry | None:
        """What is known of a call."""
        ...

    def begin(self, id: str, at: str, holder: str, **fields: str) -> Begun:
        """Notes that a step begins, and leases it to a delivery of its message for a while."""
        ...

    def record(self, id: str, at: str, holder: str, outcome: bytes) -> bytes:
        """Notes a step's outcome; gives the one that counts, which is the first."""
        ...

    def put_off(self, id: str, at: str, holder: str, delay: float) -> None:
        """Notes that a step will be tried again, so many seconds from now."""
        ...

    def note(self, id: str, **fields: str) -> None:
        """Notes where a call is."""
        ...

    def beat(self, id: str, at: str, holder: str) -> None:
        """Notes that a delivery is still being worked at, unless its lease is another's by now."""
        ...

    def silent(self, seconds: float) -> list[str]:
        """The open calls of which nothing was heard for so long."""
        ...

    def heard(self, ids: Collection[str]) -> None:
        """Notes that these calls were seen just now."""
        ...

    def revive(self, id: str, seconds: float) -> int:
        """Notes that a call that was silent for so long is sent again; how often it has been.

        That is 0 if it was heard of meanwhile: of those who ask at once, one is to send it.
        """
        ...

    def settle(self, id: str, outcome: Outcome, end: str) -> bool:
        """Ends a call, once; False if it had ended before."""
        ...

    def is_open(self, id: str) -> bool:
        """Whether the call is known and has no outcome."""
        ...

    def wait(self, ids: Collection[str], timeout: float) -> Mapping[str, Outcome | None]:
        """Those that have ended or are unknown, as soon as there is one."""
        ...

    def close(self) -> None:
        """Ends its connections."""
        ...


_TIMEOUTS = Timeouts()

_OPEN = "onward:open"
_LONGEST_OPEN = 30 * 24 * 3600
"""How long a call that nobody runs is kept, in seconds."""

# A script is one round trip, of which nobody sees a half; and all of them go by the server's clock.
# When a call is next to be heard of never comes nearer: a step of it may be put off until then.

_TO_OPEN = """
local now, opened = redis.call('TIME')[1], {}
for index = 2, #KEYS do
    local id, plan, delay = unpack(ARGV, 3 * index - 4, 3 * index - 2)
    opened[index - 1] = redis.call('HSETNX', KEYS[index], 'plan', plan)
    if opened[index - 1] == 1 then
        redis.call('EXPIRE', KEYS[index], delay + ARGV[1])
        redis.call('ZADD', KEYS[1], now + delay, id)
    end
end
return opened
"""

_TO_BEGIN = """
local known = redis.call('HMGET', KEYS[1], 'end', ARGV[2])
if known[1] or redis.call('HEXISTS', KEYS[1], 'plan') == 0 then return {0, known[2], 0} end
if known[2] then return {1, known[2], 0} end
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[3] then
    redis.call('HDEL', KEYS[1], 'sent')
    return {1, false, 1}
end
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4])
redis.call('HSET', KEYS[1], unpack(ARGV, 5))
redis.call('ZADD', KEYS[3], 'XX', 'GT', redis.call('TIME')[1], ARGV[1])
return {1, false, 0}
"""

# What is kept no longer must not come back, for it would then be there for ever.

_TO_RECORD = """
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSETNX', KEYS[1], ARGV[2], ARGV[3]) end
if redis.call('GET', KEYS[2]) == ARGV[4] then redis.call('DEL', KEYS[2]) end
redis.call('ZADD', KEYS[3], 'XX', 'GT', redis.call('TIME')[1], ARGV[1])
return redis.call('HGET', KEYS[1], ARGV[2])
"""

_TO_NOTE = """
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], unpack(ARGV)) end
"""

_TO_NOTE_SENT = """
for _, key in ipairs(KEYS) do
    if redis.call('EXISTS', key) == 1 then redis.call('HSET', key, 'sent', 1) end
end
"""

_TO_PUT_OFF = """
if redis.call('GET', KEYS[1]) == ARGV[3] then redis.call('DEL', KEYS[1]) end
redis.call('ZADD', KEYS[2], 'XX', 'GT', redis.call('TIME')[1] + ARGV[2], ARGV[1])
"""

_TO_BEAT = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[2] then return end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[2], 'XX', 'GT', redis.call('TIME')[1], ARGV[1])
"""

_TO_FIND_SILENT = """
return redis.call('ZRANGE', KEYS[1], 0, redis.call('TIME')[1] - ARGV[1], 'BYSCORE')
"""

_TO_NOTE_HEARD = """
for _, id in ipairs(ARGV) do
    redis.call('ZADD', KEYS[1], 'XX', 'GT', redis.call('TIME')[1], id)
end
"""

_TO_REVIVE = """
local heard, now = redis.call('ZSCORE', KEYS[2], ARGV[1]), redis.call('TIME')[1]
if not heard or tonumber(heard) > now - ARGV[2] then return 0 end
redis.call('ZADD', KEYS[2], now, ARGV[1])
return redis.call('HINCRBY', KEYS[1], 'revived', 1)
"""

_TO_SETTLE = """
if redis.call('HEXISTS', KEYS[1], 'plan') == 0 then return 0 end
if redis.call('HSETNX', KEYS[1], 'end', ARGV[2]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'outcome', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('ZREM', KEYS[2], ARGV[1])
--TELL
return 1
""".replace("--TELL", TO_TELL)


class RedisLedger:
    """A ledger in Redis: a hash for each call, and one of the open ones."""

    def __init__(
        self,
        url: str,
        keep: float,
        lease: float,
        signer: Signer | None = None,
        timeouts: Timeouts = _TIMEOUTS,
        *,
        is_of_worker: bool = False,
    ) -> None:
        outage = Outage(shown("the ledger", url), "what this worker has to say waits")
        self._again = (
            Again(math.inf, outage) if is_of_worker else Again(timeouts.connect)
        )  # a client can be told that it is away
        # redis-py's answers are typed for blocking and awaiting alike
        client: Any = redis_at(url, timeouts, self._again)
        self._client = client
        self._of_worker = partial(
            RedisLedger, url, keep, lease, signer, timeouts, is_of_worker=True
        )
        self._keep = int(keep)
        self._lease = int(lease * 1000)
        self._signer = signer
        self._to_open = client.register_script(_TO_OPEN)
        self._to_note_sent = client.register_script(_TO_NOTE_SENT)
        self._to_begin = client.register_script(_TO_BEGIN)
        self._to_record = client.register_script(_TO_RECORD)
        self._to_note = client.register_script(_TO_NOTE)
        self._to_put_off = client.register_script(_TO_PUT_OFF)
        self._to_beat = client.register_script(_TO_BEAT)
        self._to_find_silent = client.register_script(_TO_FIND_SILENT)
        self._to_note_heard = client.register_script(_TO_NOTE_HEARD)
        self._to_revive = client.register_script(_TO_REVIVE)
        self._to_settle = client.register_script(_TO_SETTLE)
        self._waits = Waits(client, self._outcome, timeouts.check)

    def of_worker(self) -> RedisLedger:
        return self._of_worker()

    def server(self) -> Mapping[str, object]:
        """What its server says of itself."""
        said: Mapping[str, object] = self._client.info()
        return said

    def clock(self) -> float:
        """What time it is there, in seconds since 1970."""
        seconds, micros = self._client.time()
        return float(seconds) + float(micros) / 1e6

    def open(self, calls: Sequence[tuple[str, bytes, float]]) -> list[bool]:
        args: list[str | bytes | int] = [_LONGEST_OPEN]
        for id, plan, delay in calls:
            args += [id, sealed(self._signer, plan, "plan", id), math.ceil(delay)]
        opened = self._to_open([_OPEN, *(_key(id) for id, _, _ in calls)], args)
        # Where it had to be said twice, what is known may be so from the first time.
        is_twice = self._again.was_again
        return [is_new == 1 or is_twice for is_new in opened]

    def forget(self, ids: Collection[str]) -> None:
        if ids:
            pipe = self._client.pipeline(transaction=True)
            pipe.delete(*map(_key, ids))
            pipe.zrem(_OPEN, *ids)
            pipe.execute()

    def sent(self, ids: Collection[str]) -> None:
        self._to_note_sent(list(map(_key, ids)))

    def look(self, id: str) -> Entry | None:
        found = self._client.hgetall(_key(id))
        if b"plan" in found:
            found[b"plan"] = opened(self._signer, found[b"plan"], "plan", id) or b""
        if b"outcome" in found:
            found[b"outcome"] = outcomes.encode(self._outcome(id, found[b"outcome"]))
        return _entry(found)

    def begin(self, id: str, at: str, holder: str, **fields: str) -> Begun:
        keys = [_key(id), _lease(id, at), _OPEN]
        noted = [text for field in fields.items() for text in field]
        args = [id, f"o:{at}", holder, self._lease, *noted]
        is_open, outcome, is_taken = self._to_begin(keys, args)
        if outcome is not None:
            outcome = opened(self._signer, outcome, "step", id, at)
        return Begun(bool(is_open), outcome, bool(is_taken))

    def record(self, id: str, at: str, holder: str, outcome: bytes) -> bytes:
        raw = sealed(self._signer, outcome, "step", id, at)
        counts = self._to_record([_key(id), _lease(id, at), _OPEN], [id, f"o:{at}", raw, holder])
        return (counts and opened(self._signer, counts, "step", id, at)) or outcome

    def put_off(self, id: str, at: str, holder: str, delay: float) -> None:
        self._to_put_off([_lease(id, at), _OPEN], [id, delay, holder])

    def note(self, id: str, **fields: str) -> None:
        self._to_note([_key(id)], [text for field in fields.items() for text in field])

    def beat(self, id: str, at: str, holder: str) -> None:
        self._to_beat([_lease(id, at), _OPEN], [id, holder, self._lease])

    def silent(self, seconds: float) -> list[str]:
        return [id.decode() for id in self._to_find_silent([_OPEN], [seconds])]

    def heard(self, ids: Collection[str]) -> None:
        self._to_note_heard([_OPEN], list(ids))

    def revive(self, id: str, seconds: float) -> int:
        return int(self._to_revive([_key(id), _OPEN], [id, seconds]))

    def settle(self, id: str, outcome: Outcome, end: str) -> bool:
        keys = [_key(id), _OPEN]
        raw = sealed(self._signer, outcomes.encode(outcome), "outcome", id)
        return bool(self._to_settle(keys, [id, end, raw, self._keep]))

    def is_open(self, id: str) -> bool:
        plan, end = self._client.hmget(_key(id), ["plan", "end"])
        return plan is not None and end is None

    def wait(self, ids: Collection[str], timeout: float) -> Mapping[str, Outcome | None]:
        return self._waits.wait(ids, timeout)

    @contextlib.contextmanager
    def watched(self, ids: Collection[str], notify: Callable[[], object]) -> Generator[None]:
        """While this lasts, somebody is notified, on some thread, when one of these has ended."""
        wait = self._waits.begin(ids, notify)
        try:
            yield
        finally:
            self._waits.end(wait)

    def _outcome(self, id: str, raw: bytes) -> Outcome:
        read = opened(self._signer, raw, "outcome", id)
        return faulted(distrusted("its outcome")) if read is None else outcomes.decode(read)

    def close(self) -> None:
        self._again.give_up()
        self._waits.close()
        self._client.close()


def distrusted(what: str) -> Misconfigured:
    """The fault of a call of which something cannot be trusted."""
    message = (
        f"{what} is not signed as it should be here: clients and workers need the same keys; "
        "if they have them, somebody else writes to the broker or the ledger"
    )
    return Misconfigured("signing_keys", message)


def _key(id: str) -> str:
    return f"onward:{id}"


def _lease(id: str, at: str) -> str:
    return f"onward:{id}:at:{at}"


def _entry(found: Mapping[bytes, bytes]) -> Entry | None:
    if b"plan" not in found:
        return None
    raw = found.get(b"outcome")
    return Entry(
        found[b"plan"],
        found.get(b"end", b"").decode(errors="replace"),
        None if raw is None else outcomes.decode(raw),
        {
            key.decode(errors="replace"): value.decode(errors="replace")
            for key, value in found.items()
            if not key.startswith(b"o:") and key not in (b"plan", b"outcome")
        },
    )


class MemoryLedger:
    """A ledger in this process, for `memory://`, where clients and workers are threads of it."""

    def __init__(self, keep: float) -> None:
        self._keep = keep
        self._changed = threading.Condition()
        self._calls: dict[str, dict[str, bytes]] = {}
        self._ended: deque[tuple[float, str]] = deque()

    def of_worker(self) -> MemoryLedger:
        return self

    def open(self, calls: Sequence[tuple[str, bytes, float]]) -> list[bool]:
        with self._changed:
            self._forget_old()
            opened: list[bool] = []
            for id, plan, _ in calls:
                opened.append(id not in self._calls)
                self._calls.setdefault(id, {"plan": plan})
            return opened

    def forget(self, ids: Collection[str]) -> None:
        with self._changed:
            for id in ids:
                self._calls.pop(id, None)

    def _forget_old(self) -> None:
        while self._ended and self._ended[0][0] < time.monotonic() - self._keep:
            self._calls.pop(self._ended.popleft()[1], None)

    def look(self, id: str) -> Entry | None:
        with self._changed:
            self._forget_old()
            found = {key.encode(): value for key, value in self._calls.get(id, {}).items()}
        return _entry(found)

    def begin(self, id: str, at: str, holder: str, **fields: str) -> Begun:
        self.note(id, **fields)
        with self._changed:
            call = self._calls.get(id, {})
            return Begun("plan" in call and "end" not in call, call.get(f"o:{at}"), False)

    def record(self, id: str, at: str, holder: str, outcome: bytes) -> bytes:
        with self._changed:
            return self._calls.get(id, {}).setdefault(f"o:{at}", outcome)

    # Nobody else can die, and nothing gets lost on the way: there is nothing to watch over.

    def sent(self, ids: Collection[str]) -> None:
        pass

    def put_off(self, id: str, at: str, holder: str, delay: float) -> None:
        pass

    def beat(self, id: str, at: str, holder: str) -> None:
        pass

    def silent(self, seconds: float) -> list[str]:
        return []

    def heard(self, ids: Collection[str]) -> None:
        pass

    def revive(self, id: str, seconds: float) -> int:
        return 0

    def close(self) -> None:
        pass

    def note(self, id: str, **fields: str) -> None:
        with self._changed:
            if id in self._calls:  # what is forgotten stays so, whoever is still at it
                self._calls[id].update({key: value.encode() for key, value in fields.items()})

    def settle(self, id: str, outcome: Outcome, end: str) -> bool:
        with self._changed:
            call = self._calls.get(id)
            if call is None or "end" in call:
                return False
            call["end"], call["outcome"] = end.encode(), outcomes.encode(outcome)
            self._ended.append((time.monotonic(), id))
            self._changed.notify_all()
            return True

    def is_open(self, id: str) -> bool:
        with self._changed:
            call = self._calls.get(id, {})
            return "plan" in call and "end" not in call

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
