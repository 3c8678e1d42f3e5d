"""The ledger: what is known of each submitted call. Celery's own records say too little."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

from msgspec import Struct

from onward import outcome as outcomes
from onward.backends.celery import scripts
from onward.backends.celery.client import Again, Timeouts, redis_at
from onward.backends.celery.clock import Clock
from onward.backends.celery.outage import Outage, shown
from onward.backends.celery.signing import Signer, opened, sealed
from onward.backends.celery.wait import Waits
from onward.fault import Misconfigured
from onward.outcome import Outcome, faulted


class Entry(Struct, frozen=True):
    """A call, as the ledger has it."""

    plan: bytes
    end: str
    outcome: Outcome | None
    fields: dict[str, str]


class Message(NamedTuple):
    """A message of a call, and the queue that it was sent to."""

    call: str
    id: str
    queue: str
    priority: int

    @property
    def route(self) -> str:
        """A line of messages that are taken out in the order in which they were sent."""
        return f"{self.priority}:{self.queue}"


class Begun(Struct, frozen=True):
    """What the ledger answers when a worker begins a step.

    Args:
        is_open: Whether the call is known and has no outcome.
        outcome: The outcome that the step had before, if it was run already.
        is_taken: Whether another delivery of its message is running at the moment.
    """

    is_open: bool
    outcome: bytes | None
    is_taken: bool


class Ledger(Protocol):
    """Keeps a record of each call."""

    def of_worker(self) -> Ledger:
        """The same ledger for a worker, which waits out any outage.

        A client gets a fault instead; but what a worker records must not be lost.
        """
        ...

    def open(self, calls: Sequence[tuple[str, bytes, float]]) -> list[bool]:
        """Writes calls down: id, plan, and in how many seconds it starts. False for known ones."""
        ...

    def forget(self, ids: Collection[str]) -> None:
        """Deletes calls, as if they had never been submitted."""
        ...

    def sent(self, messages: Iterable[Message]) -> None:
        """Notes that messages are being sent: until they are begun, their calls wait for them."""
        ...

    def look(self, id: str) -> Entry | None:
        """What is known of a call."""
        ...

    def begin(self, message: Message, at: str, holder: str, **fields: str) -> Begun:
        """Notes that a step begins, and leases it to a delivery of its message for a while.

        What was sent to the same queue before the message was taken out before it.
        """
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

    def renew(self, id: str, at: str, holder: str) -> bool:
        """Renews the lease of a running delivery, unless another has it by now.

        False if its call has ended.
        """
        ...

    def is_turn(self) -> bool:
        """Whether it is this worker's turn to look for lost calls."""
        ...

    def routes(self, seconds: float) -> list[str]:
        """The routes with messages that no worker has begun for so many seconds."""
        ...

    def taken(self, route: str, seconds: float) -> None:
        """Notes that a queue is empty, so messages sent that long ago are no longer in it."""
        ...

    def silent(self, seconds: float) -> list[str]:
        """Open calls that had no activity for so many seconds and wait in no queue."""
        ...

    def revive(self, id: str, seconds: float) -> int:
        """Notes that a call that was silent for so long is sent again; how often it has been.

        That is 0 if it was heard of meanwhile: of those who ask at once, one is to send it.
        """
        ...

    def drop(self, id: str) -> None:
        """Stops the search for a call whose entry cannot be read."""
        ...

    def settle(self, id: str, outcome: Outcome, end: str) -> bool:
        """Ends a call, once; False if it had ended before."""
        ...

    def is_open(self, id: str) -> bool:
        """Whether the call is known and has no outcome."""
        ...

    def now(self) -> float:
        """What time it is there, in seconds since 1970-01-01 UTC: all due times are by this."""
        ...

    def wait(self, ids: Collection[str], timeout: float) -> Mapping[str, Outcome | None]:
        """Those that have ended or are unknown, as soon as there is one."""
        ...

    def close(self) -> None:
        """Ends its connections."""
        ...


_LOGGER = logging.getLogger("onward.celery")
_TIMEOUTS = Timeouts()

_LONGEST_OPEN = 30 * 24 * 3600
"""How long a call that nobody runs is kept, in seconds."""

_AT_ONCE = 1_000
"""How many calls are looked for in one go, so that Redis has time for others in between."""

_ARGS_AT_ONCE = 3_000
"""How many arguments a script gets at most, of which there are three a message."""


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
        outage = Outage(shown("the ledger", url), "this worker's records wait for it")
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
        self.now: Callable[[], float] = Clock(self.clock).now
        self._to_open = client.register_script(scripts.TO_OPEN)
        self._to_note_sent = client.register_script(scripts.TO_NOTE_SENT)
        self._to_begin = client.register_script(scripts.TO_BEGIN)
        self._to_record = client.register_script(scripts.TO_RECORD)
        self._to_note = client.register_script(scripts.TO_NOTE)
        self._to_put_off = client.register_script(scripts.TO_PUT_OFF)
        self._to_renew = client.register_script(scripts.TO_RENEW)
        self._to_find_silent = client.register_script(scripts.TO_FIND_SILENT)
        self._to_take_turn = client.register_script(scripts.TO_TAKE_TURN)
        self._to_find_routes = client.register_script(scripts.TO_FIND_ROUTES)
        self._to_note_taken = client.register_script(scripts.TO_NOTE_TAKEN)
        self._to_revive = client.register_script(scripts.TO_REVIVE)
        self._to_settle = client.register_script(scripts.TO_SETTLE)
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
            args += [id, self._sealed_plan(id, plan, delay), math.ceil(delay)]
        opened = self._to_open([scripts.OPEN, *(_key(id) for id, _, _ in calls)], args)
        # Where it had to be said twice, what is known may be so from the first time.
        is_twice = self._again.was_again
        return [is_new == 1 or is_twice for is_new in opened]

    def forget(self, ids: Collection[str]) -> None:
        if ids:
            pipe = self._client.pipeline(transaction=True)
            pipe.delete(*map(_key, ids))
            pipe.zrem(scripts.OPEN, *ids)
            pipe.execute()

    def sent(self, messages: Iterable[Message]) -> None:
        args = [text for each in messages for text in (each.call, each.id, each.route)]
        for start in range(0, len(args), _ARGS_AT_ONCE):
            self._to_note_sent([], args[start : start + _ARGS_AT_ONCE])

    def look(self, id: str) -> Entry | None:
        found = self._client.hgetall(_key(id))
        if b"plan" in found:
            found[b"plan"] = self._opened_plan(id, found[b"plan"]) or b""
        if b"outcome" in found:
            found[b"outcome"] = outcomes.encode(self._outcome(id, found[b"outcome"]))
        return entry(found)

    def _sealed_plan(self, id: str, plan: bytes, delay: float) -> bytes:
        """A plan, which is signed together with until when it may be sent."""
        if self._signer is None:
            return plan
        until = math.ceil(self.now() + delay + self._signer.lifetime)
        return self._signer.sealed(b"%d %b" % (until, plan), "plan", id)

    def _opened_plan(self, id: str, raw: bytes) -> bytes | None:
        if self._signer is None:
            return opened(None, raw)
        until, _, plan = (self._signer.opened(raw, "plan", id) or b"").partition(b" ")
        return plan if until.isdigit() and int(until) > self.now() else None

    def begin(self, message: Message, at: str, holder: str, **fields: str) -> Begun:
        id = message.call
        keys = [_key(id), _lease(id, at), scripts.OPEN, f"{scripts.SENT}{message.route}"]
        noted = [text for field in fields.items() for text in field]
        args = [id, f"o:{at}", holder, self._lease, f"{message.id} {id}", *noted]
        is_open, outcome, is_taken = self._to_begin(keys, args)
        if outcome is not None:
            outcome = opened(self._signer, outcome, "step", id, at)
        return Begun(bool(is_open), outcome, bool(is_taken))

    def record(self, id: str, at: str, holder: str, outcome: bytes) -> bytes:
        raw = sealed(self._signer, outcome, "step", id, at)
        counts = self._to_record(
            [_key(id), _lease(id, at), scripts.OPEN], [id, f"o:{at}", raw, holder]
        )
        return (counts and opened(self._signer, counts, "step", id, at)) or outcome

    def put_off(self, id: str, at: str, holder: str, delay: float) -> None:
        self._to_put_off([_lease(id, at), scripts.OPEN], [id, delay, holder])

    def note(self, id: str, **fields: str) -> None:
        self._to_note([_key(id)], [text for field in fields.items() for text in field])

    def renew(self, id: str, at: str, holder: str) -> bool:
        keys = [_lease(id, at), _key(id), scripts.OPEN]
        return bool(self._to_renew(keys, [id, holder, self._lease]))

    def is_turn(self) -> bool:
        return bool(self._to_take_turn([scripts.LOOKS], [self._lease / 1000]))

    def routes(self, seconds: float) -> list[str]:
        found = self._to_find_routes([scripts.ROUTES], [seconds])
        return [route.decode(errors="replace") for route in found]

    def taken(self, route: str, seconds: float) -> None:
        while self._to_note_taken([f"{scripts.SENT}{route}"], [seconds]) == _AT_ONCE:
            pass

    def silent(self, seconds: float) -> list[str]:
        lost: list[str] = []
        count = _AT_ONCE
        while count == _AT_ONCE and len(lost) < _AT_ONCE:
            count, some, bad = self._to_find_silent([scripts.OPEN], [seconds, len(lost)])
            for raw in some:
                try:
                    lost.append(raw.decode())
                except UnicodeDecodeError:
                    self._client.zrem(scripts.OPEN, raw)
                    bad.append(raw)
            for raw in bad:
                _LOGGER.error("call %r in the ledger cannot be read and is left alone", raw)
        return lost

    def revive(self, id: str, seconds: float) -> int:
        return int(self._to_revive([_key(id), scripts.OPEN], [id, seconds]))

    def drop(self, id: str) -> None:
        self._client.zrem(scripts.OPEN, id)
        _LOGGER.error("call %r in the ledger cannot be read and is left alone", id)

    def settle(self, id: str, outcome: Outcome, end: str) -> bool:
        keys = [_key(id), scripts.OPEN]
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
        f"{what} is not signed as it should be here, or was signed too long ago: clients and "
        "workers need the same keys; if they have them, see who else writes to the broker or the "
        "ledger"
    )
    return Misconfigured("signing_keys", message)


def _key(id: str) -> str:
    return f"onward:{id}"


def _lease(id: str, at: str) -> str:
    return f"onward:{id}:at:{at}"


def entry(found: Mapping[bytes, bytes]) -> Entry | None:
    """The call that has these fields."""
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
