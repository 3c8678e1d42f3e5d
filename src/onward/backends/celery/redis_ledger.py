"""The ledger in Redis, with a hash for each call. `scripts` describes its keys."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from onward import outcome as outcomes
from onward.backends.celery import scripts, settle_scripts, step_scripts
from onward.backends.celery.branches import RedisBranches, fan_outs
from onward.backends.celery.cells import Cells, RedisCells
from onward.backends.celery.client import ConnectionRetry, Script, Timeouts, redis_at
from onward.backends.celery.clock import Clock
from onward.backends.celery.due_scripts import LONGEST_OPEN
from onward.backends.celery.ledger import (
    IN_CLEANUP,
    BeginResult,
    Entry,
    Message,
    NewCall,
    Outgoing,
    Recorded,
    distrusted,
    entry,
    kind_of_fault,
)
from onward.backends.celery.outage import Outage, server_name
from onward.backends.celery.packed import joined, restored, restored_outcome
from onward.backends.celery.records import FailedAttempt
from onward.backends.celery.redis_cleanups import RedisCleanups
from onward.backends.celery.redis_due import RedisDue
from onward.backends.celery.redis_limits import RedisLimits
from onward.backends.celery.redis_records import RedisRecords
from onward.backends.celery.redis_unique import RedisUnique
from onward.backends.celery.signing import Signer, sign, verify
from onward.backends.celery.wait import Waiters
from onward.outcome import Outcome, faulted
from onward.plan import LAST_SECOND, Args, Past
from onward.scope import in_cleanup

_LOGGER = logging.getLogger("onward.celery")
_TIMEOUTS = Timeouts()
_UNREADABLE = "call %r in the ledger cannot be read, and will not be sent again"

_AT_ONCE = 1_000
"""How many calls one script handles, so that it does not block Redis for long."""

_ARGS_AT_ONCE = 3_000
"""The most arguments of a script; each message takes three."""

_ENCODER = msgspec.json.Encoder()
_ARGS = msgspec.json.Decoder(Args)


class RedisLedger:
    """The ledger in Redis."""

    def __init__(
        self,
        url: str,
        keep: float,
        lease: float,
        signer: Signer | None = None,
        timeouts: Timeouts = _TIMEOUTS,
        *,
        sends: bool = False,
        is_for_worker: bool = False,
    ) -> None:
        self.sends = sends
        self.outage: Outage = Outage(
            server_name("the ledger", url), "this worker's records wait for it"
        )
        self._retry = (
            ConnectionRetry(math.inf, self.outage)
            if is_for_worker
            else ConnectionRetry(timeouts.connect)
        )
        # Any: redis-py's return types cover its blocking and its async client at once.
        client: Any = redis_at(url, timeouts, self._retry)
        self._client = client
        self._for_worker = partial(
            RedisLedger, url, keep, lease, signer, timeouts, sends=sends, is_for_worker=True
        )
        self.keep: int = int(keep)
        self._lease = int(lease * 1000)
        self._signer = signer
        self.now: Callable[[], float] = Clock(self.clock).now
        self._add_calls = Script(client, scripts.ADD_CALLS)
        self._note_sent = Script(client, scripts.NOTE_SENT)
        self._begin_step = Script(client, step_scripts.BEGIN_STEP)
        self._record_outcome = Script(client, step_scripts.RECORD_OUTCOME)
        self._update = Script(client, step_scripts.UPDATE)
        self._postpone = Script(client, step_scripts.POSTPONE)
        self._renew_lease = Script(client, step_scripts.RENEW_LEASE)
        self._find_lost = Script(client, scripts.FIND_LOST)
        self._take_turn = Script(client, scripts.TAKE_TURN)
        self._find_waiting_routes = Script(client, scripts.FIND_WAITING_ROUTES)
        self._note_received = Script(client, scripts.NOTE_RECEIVED)
        self._claim_lost = Script(client, scripts.CLAIM_LOST)
        self._settle = Script(client, settle_scripts.SETTLE)
        self.branches: RedisBranches = RedisBranches(client, signer)
        self.records: RedisRecords = RedisRecords(client, signer, self.keep)
        self._waiters = Waiters(client, self._outcome, timeouts.check_interval)
        self.cells: Cells = RedisCells(client)
        self.unique: RedisUnique = RedisUnique(client, self._retry, self._sign_plan)
        self.cleanups: RedisCleanups = RedisCleanups(client, signer, self.keep)
        self.due: RedisDue = RedisDue(
            client, self._retry, signer, timeouts.check_interval, self._renewed_plan
        )
        self.limits: RedisLimits = RedisLimits(client, lease, self.due.held_args)

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

    def add(self, calls: Sequence[NewCall]) -> list[bool]:
        args: list[str | bytes | float] = [LONGEST_OPEN]
        for call in calls:
            plan = self._sign_plan(call.id, call.plan, call.delay)
            fields = [] if call.past is None else self._fields_of(call.id, call.past)
            args += [
                call.id,
                plan,
                call.delay,
                call.about,
                *_sent(call.first),
                len(fields),
                *fields,
            ]
        before = self._retry.failures
        added = self._add_calls([scripts.OPEN_CALLS, *(_key(call.id) for call in calls)], args)
        # After a retry, the first attempt may have stored the calls that now are known already.
        was_retried = self._retry.failures > before
        return [is_new == 1 or was_retried for is_new in added]

    def _fields_of(self, id: str, past: Past) -> list[str | bytes]:
        """The fields, with their values, of a call's record about what it takes over."""
        fields: list[str | bytes] = []
        for at, outcome in past.outcomes.items():
            fields += [f"o:{at}", sign(self._signer, outcomes.encode(outcome), "step", id, at)]
        for at, args in past.args.items():
            fields += [f"a:{at}", sign(self._signer, _ENCODER.encode(args), "args", id, at)]
        for at, due in past.due.items():
            fields += [f"d:{at}", f"{due:.6f}"]
        return fields

    def delete(self, ids: Collection[str]) -> None:
        if ids:
            pipe = self._client.pipeline(transaction=True)
            kinds = ("", ":held", ":signals")
            pipe.delete(*(f"{_key(id)}{kind}" for id in ids for kind in kinds))
            pipe.zrem(scripts.OPEN_CALLS, *ids)
            pipe.zrem(scripts.CALLS, *ids)
            pipe.zrem(scripts.DUE, *(f" {id}" for id in ids))
            pipe.execute()

    def note_sent(self, messages: Iterable[Message]) -> None:
        args = [text for each in messages for text in (each.call, each.id, each.route)]
        for start in range(0, len(args), _ARGS_AT_ONCE):
            self._note_sent([], args[start : start + _ARGS_AT_ONCE])

    def read(self, id: str) -> Entry | None:
        found = joined(self._client.hgetall(_key(id)))
        if b"plan" in found:
            found[b"plan"] = self._verify_plan(id, restored(id, found[b"plan"])) or b""
        if b"outcome" in found:
            found[b"outcome"] = outcomes.encode(self._outcome(id, found[b"outcome"]))
        return entry(found)

    def _sign_plan(self, id: str, plan: bytes, delay: float) -> bytes:
        """Signs a plan together with the time until which it may be sent."""
        if self._signer is None:
            return plan
        until = math.ceil(min(self.now() + delay + self._signer.lifetime, LAST_SECOND))
        return self._signer.sign(b"%d %b" % (until, plan), "plan", id)

    def _renewed_plan(self, id: str, delay: float) -> bytes:
        """Signs a call's plan again, so that it may be sent after `delay` seconds."""
        if self._signer is None:
            return b""
        plan = self._verify_plan(id, self._client.hget(_key(id), "plan") or b"")
        return b"" if plan is None else self._sign_plan(id, plan, delay)

    def _verify_plan(self, id: str, raw: bytes) -> bytes | None:
        if self._signer is None:
            return verify(None, raw)
        until, _, plan = (self._signer.verify(raw, "plan", id) or b"").partition(b" ")
        return plan if until.isdigit() and int(until) > self.now() else None

    def begin_step(
        self, message: Message, at: str, holder: str, attempt: int = 1, task: str = ""
    ) -> BeginResult:
        id = message.call
        keys = [_key(id), _lease(id, at), f"{scripts.SENT}{message.route}"]
        sent = f"{message.id} {id}"
        args: list[str | bytes | float] = [id, at, attempt, holder, self._lease, sent, task]
        is_open, outcome, is_running, *more = self._begin_step(keys, args)
        if outcome is not None:
            outcome = verify(self._signer, outcome, "step", id, at)
        is_cancelled, raw_args = (*more, None, None)[:2]
        other_args: Args | None = None
        if raw_args is not None:
            read = verify(self._signer, raw_args, "args", id, at)
            if read is None:
                outcome = outcomes.encode(faulted(distrusted(f"what {at!r} is to be given")))
            else:
                other_args = _ARGS.decode(read)
        return BeginResult(bool(is_open), outcome, bool(is_running), bool(is_cancelled), other_args)

    def record_outcome(
        self,
        id: str,
        at: str,
        holder: str,
        outcome: bytes,
        following: Outgoing | None = None,
        tag: str = "",
    ) -> Recorded:
        raw = sign(self._signer, outcome, "step", id, at)
        keys = [_key(id), _lease(id, at)]
        args = [id, at, raw, holder, tag, *_sent(following)]
        is_sent, other = self._record_outcome(keys, args)
        stored = other and verify(self._signer, other, "step", id, at)
        return Recorded(stored or outcome, bool(is_sent))

    def postpone(
        self, id: str, at: str, holder: str, delay: float, failed: FailedAttempt | None = None
    ) -> None:
        keys = [_lease(id, at), scripts.OPEN_CALLS, _key(id)]
        number, outcome = (0, b"") if failed is None else failed
        if outcome:
            outcome = sign(self._signer, outcome, "attempt", id, at, str(number))
        self._postpone(keys, [id, at, delay, holder, number, outcome])

    def update(self, id: str, **fields: str) -> None:
        self._update([_key(id)], [text for field in fields.items() for text in field])

    def renew_lease(self, id: str, at: str, holder: str) -> bool:
        keys = [_lease(id, at), _key(id), scripts.OPEN_CALLS]
        return bool(self._renew_lease(keys, [id, holder, self._lease, at]))

    def take_turn(self) -> bool:
        return bool(self._take_turn([scripts.SEARCHES], [self._lease / 1000]))

    def waiting_routes(self, seconds: float) -> list[str]:
        found = self._find_waiting_routes([scripts.ROUTES], [seconds])
        return [route.decode(errors="replace") for route in found]

    def oldest_sent(self) -> Mapping[str, float]:
        now = self.clock()
        oldest: dict[str, float] = {}
        for raw in self._client.smembers(scripts.ROUTES):
            route = raw.decode(errors="replace")  # a priority, a colon and a queue
            for _, sent in self._client.zrange(f"{scripts.SENT}{route}", 0, 0, withscores=True):
                queue = route.partition(":")[2]
                oldest[queue] = max(oldest.get(queue, 0.0), now - float(sent))
        return oldest

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
        keys = [_key(id), scripts.OPEN_CALLS, _lease(id, at)]
        raw = sign(self._signer, outcomes.encode(outcome), "outcome", id)
        fault = kind_of_fault(outcome)
        ends: list[str | bytes | float] = [id, end, raw, self.keep, int(is_last)]
        return bool(self._settle(keys, [*ends, fault, at, holder, tag]))

    def is_open(self, id: str, at: str = IN_CLEANUP) -> bool:
        fields = ["plan", "end", "cancelling", *(f"x:{fan}" for fan in fan_outs(at))]
        plan, end, outcome, *failed = self._client.hmget(_key(id), fields)
        is_cancelled = any(failed) or (outcome is not None and not in_cleanup(at))
        return plan is not None and end is None and not is_cancelled

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
        read = verify(self._signer, restored_outcome(raw), "outcome", id)
        return faulted(distrusted("its outcome")) if read is None else outcomes.decode(read)

    def close(self) -> None:
        self._retry.stop()
        self._waiters.close()
        self._client.close()


def _key(id: str) -> str:
    return f"onward:{id}"


def _lease(id: str, at: str) -> str:
    return f"onward:{id}:at:{at}"


def _sent(each: Outgoing | None) -> tuple[str | bytes, ...]:
    """The arguments of a script about a message that is sent."""
    if each is None:
        return ("", "", "", "")
    return (each.message.id, each.message.route, each.list, each.raw)
