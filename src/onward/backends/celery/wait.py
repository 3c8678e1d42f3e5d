"""Waiters for outcomes. All waits of a process share one connection.

In one round trip, a waiting client checks whether the call has ended, and adds its Redis channel to
the call's record. When the call ends, the outcome is published to that channel. A client that waits
for the first of many calls, again and again, need not check the others again. A publication can get
lost, and older workers do not publish, so the client also polls once a second.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from onward.backends.celery.client import BackendClosed, Script
from onward.backends.celery.packed import WHOLE
from onward.fault import BadPayload, Fault
from onward.outcome import Outcome, faulted

_AT_ONCE = 1_000
"""How many calls one script handles, so that it does not block Redis for long."""

_POLL = 1.0
"""The interval of polls, in seconds."""

_IDLE = 10.0
"""How long the connection is kept when nobody waits, in seconds."""

_PAUSE = 0.2
"""The pause before a lost connection is made again, in seconds."""

_GATHERING = 50e-6
"""How long a wait for several calls collects further outcomes, in seconds for each call."""

# Returns the index and the outcome of each call that has ended: false for a call that is not known,
# and a number for a damaged record.
_FIND_ENDED = f"""{WHOLE}
local found, channel = {{}}, ARGV[1]
for index = 2, #ARGV do
    local id = ARGV[index]
    local key = 'onward:' .. id
    local known = redis.pcall('HMGET', key, 'end', 'outcome', 'listeners')
    local outcome
    if known.err then outcome = 1
    elseif known[1] then outcome = whole(key, 'outcome', known[2]) or 1
    elseif redis.call('HEXISTS', key, 'plan') == 0 then outcome = redis.call('EXISTS', key)
    elseif channel ~= '' and not string.find(known[3] or '', channel, 1, true) then
        -- Old channels are not removed; keeping only the newest ones limits the length.
        local listeners = channel .. ' ' .. (known[3] or '')
        redis.call('HSET', key, 'listeners', string.sub(listeners, 1, 1024))
    end
    if outcome then
        found[#found + 1] = index - 2
        if outcome == 0 then outcome = false end
        found[#found + 1] = outcome
    end
end
return found
"""

NOTIFY = """
local listeners = redis.call('HGET', KEYS[1], 'listeners') or ''
local text = ARGV[1] .. ' ' .. (#ARGV[3] < 65536 and ARGV[3] or '')
for channel in string.gmatch(listeners, '%S+') do
    redis.pcall('PUBLISH', 'onward:ended:' .. channel, text)
end
redis.call('HDEL', KEYS[1], 'listeners')
"""
"""The part of the script that ends a call which publishes the outcome: a fragment of Lua."""

_MOST_LISTENED = 100_000
"""How many calls whose end a client may hear of it knows at most. It asks again for the others."""

DecodeOutcome = Callable[[str, bytes], Outcome]
Found = dict[str, Outcome | None]


def damaged(id: str) -> Fault:
    """The fault for a call whose record in the ledger cannot be read."""
    message = "the ledger's record of this call is damaged: another program writes to the ledger"
    advice = "Find out which one, and submit the call again."
    return BadPayload(id, message, advice=advice)


class Waiter:
    """A caller that waits until one of some calls has ended."""

    def __init__(self, ids: Collection[str], notify: Callable[[], object]) -> None:
        self.ids = ids
        self.notify = notify
        self.found: Found = {}


class Waiters:
    """All callers that wait for outcomes on one client of a ledger; thread-safe.

    Args:
        client: A client of the ledger's Redis.
        decode: Decodes the outcome of a call, and checks its signature.
        patience: How long Redis may take to answer, in seconds.
    """

    def __init__(self, client: Any, decode: DecodeOutcome, patience: float) -> None:
        self._client = client
        self._decode = decode
        self._patience = patience
        self._find_ended_script = Script(client, _FIND_ENDED)
        self._is_closed = False
        self._reset()

    def _reset(self) -> None:
        self._process = os.getpid()
        self._channel = secrets.token_hex(8)
        self._changed = threading.Condition()
        self._by_id: dict[str, set[Waiter]] = {}
        self._listened: set[str] = set()
        self._is_running = False
        self._is_listening = False
        self._problem: Exception | None = None
        self._used = 0.0

    def wait(self, ids: Collection[str], timeout: float) -> Mapping[str, Outcome | None]:
        """See `Ledger.wait`; raises redis-py's errors."""
        try:
            return self._wait(ids, timeout)
        except Exception:  # a client that is closed meanwhile may raise any exception
            if self._is_closed:
                raise BackendClosed from None
            raise

    def _wait(self, ids: Collection[str], timeout: float) -> Mapping[str, Outcome | None]:
        if timeout <= 0 or not ids:
            return self.poll(ids)
        woken = threading.Event()
        end = time.monotonic() + timeout
        waiter = self.add(ids, woken.set)
        try:
            if not waiter.found:
                woken.wait(max(0.0, end - time.monotonic()))
                if waiter.found and len(ids) > 1:
                    time.sleep(min(_GATHERING * len(ids), timeout))
            with self._changed:
                if not waiter.found and self._problem is not None:
                    raise self._problem
                return dict(waiter.found)
        finally:
            self.remove(waiter)

    def add(self, ids: Collection[str], notify: Callable[[], object]) -> Waiter:
        """Begins a wait.

        Args:
            ids: The calls to wait for.
            notify: Called, on some thread, when one of them has ended.
        """
        waiter = Waiter(ids, notify)
        self._ensure_listening()
        with self._changed:
            for id in ids:
                self._by_id.setdefault(id, set()).add(waiter)
            new = [id for id in ids if id not in self._listened]
            if len(self._listened) > _MOST_LISTENED:
                self._listened.clear()
            self._listened.update(new)  # before it is asked, for its end may be heard at once
        try:
            self._deliver(self._find_ended(new, self._channel))
        except BaseException:
            self.remove(waiter)
            with self._changed:
                self._listened.difference_update(new)
            raise
        return waiter

    def remove(self, waiter: Waiter) -> None:
        """Ends a wait."""
        with self._changed:
            self._used = time.monotonic()
            for id in waiter.ids:
                waiters = self._by_id.get(id)
                if waiters is not None:
                    waiters.discard(waiter)
                    if not waiters:
                        del self._by_id[id]

    def poll(self, ids: Iterable[str]) -> Found:
        """Returns the outcomes of the calls that have ended or are unknown, without waiting."""
        return dict(self._find_ended(ids, ""))

    def close(self) -> None:
        """Ends all waits."""
        with self._changed:
            self._is_closed = True
            self._fail(BackendClosed())
            self._changed.notify_all()

    def _find_ended(self, ids: Iterable[str], channel: str) -> Iterator[tuple[str, Outcome | None]]:
        left = iter(ids)
        while some := list(islice(left, _AT_ONCE)):
            found = iter(self._find_ended_script([], [channel, *some]))
            for index, raw in zip(found, found, strict=True):
                id = some[index]
                if isinstance(raw, int):
                    yield id, faulted(damaged(id))
                else:
                    yield id, None if raw is None else self._decode(id, raw)

    def _deliver(self, ended: Iterable[tuple[str, Outcome | None]]) -> None:
        for id, outcome in ended:
            with self._changed:
                self._listened.discard(id)  # its end is not published again
                waiters = list(self._by_id.get(id, ()))
                for waiter in waiters:
                    waiter.found[id] = outcome
            for waiter in waiters:
                waiter.notify()

    def _fail(self, problem: Exception) -> None:
        self._problem = problem
        for waiter in {waiter for waiters in self._by_id.values() for waiter in waiters}:
            waiter.notify()

    def _ensure_listening(self) -> None:
        """Starts the listening thread if needed, and waits for it; raises its error."""
        if self._process != os.getpid():  # the thread does not exist in a forked process
            self._reset()
        with self._changed:
            self._used = time.monotonic()
            if self._is_closed:
                raise BackendClosed
            if self._is_listening:
                return
            if not self._is_running:
                self._is_running, self._problem = True, None
                threading.Thread(target=self._run, name="onward-outcomes", daemon=True).start()
            self._changed.wait_for(lambda: self._is_listening or self._problem is not None)
            if not self._is_listening and self._problem is not None:
                raise self._problem

    def _run(self) -> None:
        while True:
            try:
                with self._client.pubsub() as pubsub:
                    if self._listen(pubsub):
                        return
            except Exception as problem:  # a client that is closed meanwhile may raise any
                with self._changed:
                    self._is_listening = False
                    self._listened.clear()
                    if self._must_end():
                        return
                    is_away = isinstance(problem, RedisError | OSError)
                    self._fail(problem if is_away else RedisConnectionError(repr(problem)))
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._is_closed, _PAUSE)

    def _must_end(self) -> bool:
        """Whether the thread is no longer needed; it must end then."""
        is_idle = not self._by_id and time.monotonic() - self._used > _IDLE
        if self._is_closed or is_idle:
            self._is_running = self._is_listening = False
            self._listened.clear()
        return not self._is_running

    def _listen(self, pubsub: Any) -> bool:
        """Listens until the thread is no longer needed; raises redis-py's errors."""
        pubsub.subscribe(f"onward:ended:{self._channel}")
        if pubsub.get_message(timeout=self._patience) is None:
            raise RedisTimeoutError("Timeout reading from socket")
        with self._changed:
            self._is_listening, self._problem = True, None
            self._changed.notify_all()
        polled, pinged, heard, offset = time.monotonic(), 0.0, time.monotonic(), 0
        while True:
            now = time.monotonic()
            if now - pinged >= self._patience:
                if pinged > heard:
                    raise RedisConnectionError("it did not answer a ping")
                pubsub.ping()
                pinged = now
            message = pubsub.get_message(timeout=max(0.0, polled + _POLL - now))
            if message is not None:
                heard = time.monotonic()
                if message["type"] == "message":
                    self._receive(message["data"])
            if time.monotonic() - polled >= _POLL:
                with self._changed:
                    if self._must_end():
                        return True
                    ids = list(self._by_id)
                # Very many calls are polled in slices, one each time.
                offset = offset if offset < len(ids) else 0
                self._deliver(self._find_ended(ids[offset : offset + _AT_ONCE], self._channel))
                offset += _AT_ONCE
                polled = time.monotonic()
                with self._changed:
                    self._problem = None

    def _receive(self, published: bytes) -> None:
        head, _, raw = published.partition(b" ")
        id = head.decode(errors="replace")
        if raw:
            self._deliver([(id, self._decode(id, raw))])
        else:  # the outcome is too large to be published
            self._deliver(self._find_ended([id], self._channel))
