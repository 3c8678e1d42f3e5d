"""The ledger: a record of each submitted call, because Celery's own results do not have enough."""

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
from onward.backends.celery.client import ConnectionRetry, Timeouts, redis_at
from onward.backends.celery.clock import Clock
from onward.backends.celery.outage import Outage, server_name
from onward.backends.celery.signing import Signer, sign, verify
from onward.backends.celery.wait import Waiters
from onward.fault import Misconfigured
from onward.outcome import Outcome, faulted


class Entry(Struct, frozen=True):
    """The ledger's record of a call."""

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
        """A queue at one priority: its messages are received in the order they were sent."""
        return f"{self.priority}:{self.queue}"


class BeginResult(Struct, frozen=True):
    """The ledger's answer when a worker begins a step.

    Args:
        is_open: Whether the call is known and has no outcome.
        outcome: The step's outcome, if the step has run before.
        is_running: Whether another delivery of the step's message is running now.
    """

    is_open: bool
    outcome: bytes | None
    is_running: bool


class Ledger(Protocol):
    """Keeps a record of each call."""

    def for_worker(self) -> Ledger:
        """The same ledger for a worker, which retries during any outage.

        A client gets a fault instead. A worker's records must not be lost.
        """
        ...

    def add(self, calls: Sequence[tuple[str, bytes, float]]) -> list[bool]:
        """Stores new calls.

        Args:
            calls: The id, the plan, and the delay in seconds of each call.

        Returns:
            Whether each call is new; False for an id that the ledger has already.
        """
        ...

    def delete(self, ids: Collection[str]) -> None:
        """Deletes calls, as if they had never been submitted."""
        ...

    def note_sent(self, messages: Iterable[Message]) -> None:
        """Stores that messages are being sent. Their calls are not lost until a step begins."""
        ...

    def read(self, id: str) -> Entry | None:
        """Returns the record of a call."""
        ...

    def begin_step(self, message: Message, at: str, holder: str, **fields: str) -> BeginResult:
        """Stores that a step begins, and leases it to a delivery of its message.

        Messages that were sent to the same route earlier must have been received already.

        Args:
            message: The step's message.
            at: The step's path within the call.
            holder: The name of the delivery that gets the lease.
            fields: Fields of the call's record to set.
        """
        ...

    def record_outcome(self, id: str, at: str, holder: str, outcome: bytes) -> bytes:
        """Stores a step's outcome, unless it has one; returns the one that is stored."""
        ...

    def postpone(self, id: str, at: str, holder: str, delay: float) -> None:
        """Ends the lease of a step that is retried after `delay` seconds."""
        ...

    def update(self, id: str, **fields: str) -> None:
        """Sets fields of a call's record."""
        ...

    def renew_lease(self, id: str, at: str, holder: str) -> bool:
        """Renews the lease of a step, unless another delivery holds it by now.

        Returns:
            Whether the call is still open.
        """
        ...

    def take_turn(self) -> bool:
        """Whether it is this worker's turn to look for lost calls."""
        ...

    def waiting_routes(self, seconds: float) -> list[str]:
        """Returns the routes with messages that were sent so long ago and have not begun."""
        ...

    def note_empty(self, route: str, seconds: float) -> None:
        """Stores that a route is empty: messages sent so long ago must have been received."""
        ...

    def find_lost(self, seconds: float) -> list[str]:
        """Returns open calls without activity for so many seconds that wait in no queue."""
        ...

    def claim_lost(self, id: str, seconds: float) -> int:
        """Claims a lost call, to send it again.

        Args:
            id: The call's id.
            seconds: How long the call had no activity.

        Returns:
            How often the call has been claimed; 0 if it has had activity meanwhile, for example
            because another worker claimed it.
        """
        ...

    def exclude(self, id: str) -> None:
        """Excludes a call whose record cannot be read from the search for lost calls."""
        ...

    def settle(self, id: str, outcome: Outcome, end: str) -> bool:
        """Stores a call's outcome; False if the call has ended before."""
        ...

    def is_open(self, id: str) -> bool:
        """Whether the call is known and has no outcome."""
        ...

    def now(self) -> float:
        """The ledger's time, in seconds since 1970-01-01 UTC. All due times use this clock."""
        ...

    def wait(self, ids: Collection[str], timeout: float) -> Mapping[str, Outcome | None]:
        """Waiters until at least one call has ended.

        Returns:
            The outcomes by id; None for an id that the ledger does not know.
        """
        ...

    def close(self) -> None:
        """Closes the connections."""
        ...


_LOGGER = logging.getLogger("onward.celery")
_TIMEOUTS = Timeouts()
_UNREADABLE = "call %r in the ledger cannot be read, and will not be sent again"

_LONGEST_OPEN = 30 * 24 * 3600
"""How long a call without an outcome is kept, in seconds."""

_AT_ONCE = 1_000
"""How many calls one script handles, so that it does not block Redis for long."""

_ARGS_AT_ONCE = 3_000
"""The most arguments of a script; each message takes three."""


class RedisLedger:
    """A ledger in Redis, with a hash for each call. `scripts` describes its keys."""

    def __init__(
        self,
        url: str,
        keep: float,
        lease: float,
        signer: Signer | None = None,
        timeouts: Timeouts = _TIMEOUTS,
        *,
        is_for_worker: bool = False,
    ) -> None:
        outage = Outage(server_name("the ledger", url), "this worker's records wait for it")
        self._retry = (
            ConnectionRetry(math.inf, outage)
            if is_for_worker
            else ConnectionRetry(timeouts.connect)
        )
        # Any: redis-py's return types cover its blocking and its async client at once.
        client: Any = redis_at(url, timeouts, self._retry)
        self._client = client
        self._for_worker = partial(
            RedisLedger, url, keep, lease, signer, timeouts, is_for_worker=True
        )
        self._keep = int(keep)
        self._lease = int(lease * 1000)
        self._signer = signer
        self.now: Callable[[], float] = Clock(self.clock).now
        self._add_calls = client.register_script(scripts.ADD_CALLS)
        self._note_sent = client.register_script(scripts.NOTE_SENT)
        self._begin_step = client.register_script(scripts.BEGIN_STEP)
        self._record_outcome = client.register_script(scripts.RECORD_OUTCOME)
        self._update = client.register_script(scripts.UPDATE)
        self._postpone = client.register_script(scripts.POSTPONE)
        self._renew_lease = client.register_script(scripts.RENEW_LEASE)
        self._find_lost = client.register_script(scripts.FIND_LOST)
        self._take_turn = client.register_script(scripts.TAKE_TURN)
        self._find_waiting_routes = client.register_script(scripts.FIND_WAITING_ROUTES)
        self._note_received = client.register_script(scripts.NOTE_RECEIVED)
        self._claim_lost = client.register_script(scripts.CLAIM_LOST)
        self._settle = client.register_script(scripts.SETTLE)
        self._waiters = Waiters(client, self._outcome, timeouts.check_interval)

    def for_worker(self) -> RedisLedger:
        return self._for_worker()

    def server(self) -> Mapping[str, object]:
        """Returns the server's INFO."""
        info: Mapping[str, object] = self._client.info()
        return info

    def clock(self) -> float:
        """Asks the server for its time, in seconds since 1970."""
        seconds, micros = self._client.time()
        return float(seconds) + float(micros) / 1e6

    def add(self, calls: Sequence[tuple[str, bytes, float]]) -> list[bool]:
        args: list[str | bytes | int] = [_LONGEST_OPEN]
        for id, plan, delay in calls:
            args += [id, self._sign_plan(id, plan, delay), math.ceil(delay)]
        added = self._add_calls([scripts.OPEN_CALLS, *(_key(id) for id, _, _ in calls)], args)
        # After a retry, the first attempt may have stored the calls that now are known already.
        was_retried = self._retry.was_retried
        return [is_new == 1 or was_retried for is_new in added]

    def delete(self, ids: Collection[str]) -> None:
        if ids:
            pipe = self._client.pipeline(transaction=True)
            pipe.delete(*map(_key, ids))
            pipe.zrem(scripts.OPEN_CALLS, *ids)
            pipe.execute()

    def note_sent(self, messages: Iterable[Message]) -> None:
        args = [text for each in messages for text in (each.call, each.id, each.route)]
        for start in range(0, len(args), _ARGS_AT_ONCE):
            self._note_sent([], args[start : start + _ARGS_AT_ONCE])

    def read(self, id: str) -> Entry | None:
        found = self._client.hgetall(_key(id))
        if b"plan" in found:
            found[b"plan"] = self._verify_plan(id, found[b"plan"]) or b""
        if b"outcome" in found:
            found[b"outcome"] = outcomes.encode(self._outcome(id, found[b"outcome"]))
        return entry(found)

    def _sign_plan(self, id: str, plan: bytes, delay: float) -> bytes:
        """Signs a plan together with the time until which it may be sent."""
        if self._signer is None:
            return plan
        until = math.ceil(self.now() + delay + self._signer.lifetime)
        return self._signer.sign(b"%d %b" % (until, plan), "plan", id)

    def _verify_plan(self, id: str, raw: bytes) -> bytes | None:
        if self._signer is None:
            return verify(None, raw)
        until, _, plan = (self._signer.verify(raw, "plan", id) or b"").partition(b" ")
        return plan if until.isdigit() and int(until) > self.now() else None

    def begin_step(self, message: Message, at: str, holder: str, **fields: str) -> BeginResult:
        id = message.call
        keys = [_key(id), _lease(id, at), scripts.OPEN_CALLS, f"{scripts.SENT}{message.route}"]
        noted = [text for field in fields.items() for text in field]
        args = [id, f"o:{at}", holder, self._lease, f"{message.id} {id}", *noted]
        is_open, outcome, is_running = self._begin_step(keys, args)
        if outcome is not None:
            outcome = verify(self._signer, outcome, "step", id, at)
        return BeginResult(bool(is_open), outcome, bool(is_running))

    def record_outcome(self, id: str, at: str, holder: str, outcome: bytes) -> bytes:
        raw = sign(self._signer, outcome, "step", id, at)
        counts = self._record_outcome(
            [_key(id), _lease(id, at), scripts.OPEN_CALLS], [id, f"o:{at}", raw, holder]
        )
        return (counts and verify(self._signer, counts, "step", id, at)) or outcome

    def postpone(self, id: str, at: str, holder: str, delay: float) -> None:
        self._postpone([_lease(id, at), scripts.OPEN_CALLS], [id, delay, holder])

    def update(self, id: str, **fields: str) -> None:
        self._update([_key(id)], [text for field in fields.items() for text in field])

    def renew_lease(self, id: str, at: str, holder: str) -> bool:
        keys = [_lease(id, at), _key(id), scripts.OPEN_CALLS]
        return bool(self._renew_lease(keys, [id, holder, self._lease]))

    def take_turn(self) -> bool:
        return bool(self._take_turn([scripts.SEARCHES], [self._lease / 1000]))

    def waiting_routes(self, seconds: float) -> list[str]:
        found = self._find_waiting_routes([scripts.ROUTES], [seconds])
        return [route.decode(errors="replace") for route in found]

    def note_empty(self, route: str, seconds: float) -> None:
        while self._note_received([f"{scripts.SENT}{route}"], [seconds]) == _AT_ONCE:
            pass

    def find_lost(self, seconds: float) -> list[str]:
        lost: list[str] = []
        count = _AT_ONCE
        while count == _AT_ONCE and len(lost) < _AT_ONCE:
            count, some, bad = self._find_lost([scripts.OPEN_CALLS], [seconds, len(lost)])
            for raw in some:
                try:
                    lost.append(raw.decode())
                except UnicodeDecodeError:
                    self._client.zrem(scripts.OPEN_CALLS, raw)
                    bad.append(raw)
            for raw in bad:
                _LOGGER.error(_UNREADABLE, raw)
        return lost

    def claim_lost(self, id: str, seconds: float) -> int:
        return int(self._claim_lost([_key(id), scripts.OPEN_CALLS], [id, seconds]))

    def exclude(self, id: str) -> None:
        self._client.zrem(scripts.OPEN_CALLS, id)
        _LOGGER.error(_UNREADABLE, id)

    def settle(self, id: str, outcome: Outcome, end: str) -> bool:
        keys = [_key(id), scripts.OPEN_CALLS]
        raw = sign(self._signer, outcomes.encode(outcome), "outcome", id)
        return bool(self._settle(keys, [id, end, raw, self._keep]))

    def is_open(self, id: str) -> bool:
        plan, end = self._client.hmget(_key(id), ["plan", "end"])
        return plan is not None and end is None

    def wait(self, ids: Collection[str], timeout: float) -> Mapping[str, Outcome | None]:
        return self._waiters.wait(ids, timeout)

    @contextlib.contextmanager
    def watched(self, ids: Collection[str], notify: Callable[[], object]) -> Generator[None]:
        """Calls `notify`, on some thread, when one of these calls ends while this is entered."""
        waiter = self._waiters.add(ids, notify)
        try:
            yield
        finally:
            self._waiters.remove(waiter)

    def _outcome(self, id: str, raw: bytes) -> Outcome:
        read = verify(self._signer, raw, "outcome", id)
        return faulted(distrusted("its outcome")) if read is None else outcomes.decode(read)

    def close(self) -> None:
        self._retry.stop()
        self._waiters.close()
        self._client.close()


def distrusted(what: str) -> Misconfigured:
    """The fault for a call with a part whose signature is missing, wrong or expired."""
    message = (
        f"{what} has no valid signature, or its signature has expired: give clients and workers "
        "the same keys; if they have them, find out who else writes to the broker or the ledger"
    )
    return Misconfigured("signing_keys", message)


def _key(id: str) -> str:
    return f"onward:{id}"


def _lease(id: str, at: str) -> str:
    return f"onward:{id}:at:{at}"


def entry(found: Mapping[bytes, bytes]) -> Entry | None:
    """Makes the record of a call from its fields."""
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
