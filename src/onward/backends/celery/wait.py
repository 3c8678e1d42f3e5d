"""Waits for outcomes: however many there are in a process, they share one connection.

Who waits for a call notes in the ledger where it listens, and looks whether the call has ended, in
one round trip. Whoever ends the call then says so there, with the outcome. What is said can be
lost, and older workers say nothing; so those who wait are looked up once a second as well.
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

from onward.backends.celery.client import BackendClosed
from onward.fault import BadPayload, Fault
from onward.outcome import Outcome, faulted

_AT_ONCE = 1_000
"""How many calls are looked for in one go, so that Redis has time for others in between."""

_POLL = 1.0
"""How often calls are looked up of which nothing was heard, in seconds."""

_IDLE = 10.0
"""How long the connection is kept when nobody waits, in seconds."""

_PAUSE = 0.2
"""How long it is until a lost connection is tried again, in seconds."""

_GATHERING = 50e-6
"""How long it is left to others to end, for each call that is waited for, in seconds."""

# Gives, for each that has ended, its number and its outcome; nothing for one that is not known, and
# a number for an entry that is not as we write it. A broken one harms no other.
_TO_LOOK = """
local heard, channel = {}, ARGV[1]
for index = 2, #ARGV do
    local id = ARGV[index]
    local key = 'onward:' .. id
    local known = redis.pcall('HMGET', key, 'end', 'outcome', 'listeners')
    local outcome
    if known.err then outcome = 1
    elseif known[1] then outcome = known[2] or 1
    elseif redis.call('HEXISTS', key, 'plan') == 0 then outcome = redis.call('EXISTS', key)
    elseif channel ~= '' and not string.find(known[3] or '', channel, 1, true) then
        -- Who has stopped listening is not taken out; the last ones are enough.
        local listeners = channel .. ' ' .. (known[3] or '')
        redis.call('HSET', key, 'listeners', string.sub(listeners, 1, 1024))
    end
    if outcome then
        heard[#heard + 1] = index - 2
        if outcome == 0 then outcome = false end
        heard[#heard + 1] = outcome
    end
end
return heard
"""

TO_NOTIFY = """
local listeners = redis.call('HGET', KEYS[1], 'listeners') or ''
local said = ARGV[1] .. ' ' .. (#ARGV[3] < 65536 and ARGV[3] or '')
for channel in string.gmatch(listeners, '%S+') do
    redis.pcall('PUBLISH', 'onward:ended:' .. channel, said)
end
redis.call('HDEL', KEYS[1], 'listeners')
"""
"""The part of the script that ends a call which says so to all who listen: a fragment of Lua."""

Read = Callable[[str, bytes], Outcome]
Found = dict[str, Outcome | None]


def damaged(id: str) -> Fault:
    """The fault of a call whose entry in the ledger cannot be read."""
    message = "what the ledger has of this call is damaged: somebody else writes to it"
    advice = "Find out who does, and submit the call again."
    return BadPayload(id, message, advice=advice)


class Wait:
    """Somebody who waits for the first of some calls to end."""

    def __init__(self, ids: Collection[str], notify: Callable[[], object]) -> None:
        self.ids = ids
        self.notify = notify
        self.found: Found = {}


class Waits:
    """All waits for outcomes of one client of a ledger; threads share it.

    Args:
        client: A client of the ledger's Redis.
        read: Reads the outcome of a call, and checks its signature.
        patience: How long Redis may take to answer, in seconds.
    """

    def __init__(self, client: Any, read: Read, patience: float) -> None:
        self._client = client
        self._read = read
        self._patience = patience
        self._to_look = client.register_script(_TO_LOOK)
        self._is_closed = False
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._channel = secrets.token_hex(8)
        self._changed = threading.Condition()
        self._waits: dict[str, set[Wait]] = {}
        self._is_running = False
        self._is_listening = False
        self._problem: Exception | None = None
        self._used = 0.0

    def wait(self, ids: Collection[str], timeout: float) -> Mapping[str, Outcome | None]:
        """Those that have ended or are unknown, as soon as there is one; raises as redis-py."""
        try:
            return self._waited(ids, timeout)
        except Exception:  # a client that is closed meanwhile raises anything
            if self._is_closed:
                raise BackendClosed from None
            raise

    def _waited(self, ids: Collection[str], timeout: float) -> Mapping[str, Outcome | None]:
        if timeout <= 0 or not ids:
            return self.look(ids)
        woken = threading.Event()
        end = time.monotonic() + timeout
        wait = self.begin(ids, woken.set)
        try:
            if not wait.found:
                woken.wait(max(0.0, end - time.monotonic()))
                if wait.found and len(ids) > 1:
                    time.sleep(min(_GATHERING * len(ids), timeout))
            with self._changed:
                if not wait.found and self._problem is not None:
                    raise self._problem
                return dict(wait.found)
        finally:
            self.end(wait)

    def begin(self, ids: Collection[str], notify: Callable[[], object]) -> Wait:
        """Begins a wait.

        Args:
            ids: The calls.
            notify: Is called, on some thread, when one of them has ended.
        """
        wait = Wait(ids, notify)
        self._listen()
        with self._changed:
            for id in ids:
                self._waits.setdefault(id, set()).add(wait)
        try:
            self._deliver(self._look_up(ids, self._channel))
        except BaseException:
            self.end(wait)
            raise
        return wait

    def end(self, wait: Wait) -> None:
        """Ends a wait."""
        with self._changed:
            self._used = time.monotonic()
            for id in wait.ids:
                waits = self._waits.get(id)
                if waits is not None:
                    waits.discard(wait)
                    if not waits:
                        del self._waits[id]

    def look(self, ids: Iterable[str]) -> Found:
        """Those that have ended or are unknown by now."""
        return dict(self._look_up(ids, ""))

    def close(self) -> None:
        """Ends all waits."""
        with self._changed:
            self._is_closed = True
            self._fail(BackendClosed())
            self._changed.notify_all()

    def _look_up(self, ids: Iterable[str], channel: str) -> Iterator[tuple[str, Outcome | None]]:
        left = iter(ids)
        while some := list(islice(left, _AT_ONCE)):
            found = iter(self._to_look([], [channel, *some]))
            for index, raw in zip(found, found, strict=True):
                id = some[index]
                if isinstance(raw, int):
                    yield id, faulted(damaged(id))
                else:
                    yield id, None if raw is None else self._read(id, raw)

    def _deliver(self, ended: Iterable[tuple[str, Outcome | None]]) -> None:
        for id, outcome in ended:
            with self._changed:
                waits = list(self._waits.get(id, ()))
                for wait in waits:
                    wait.found[id] = outcome
            for wait in waits:
                wait.notify()

    def _fail(self, problem: Exception) -> None:
        self._problem = problem
        for wait in {wait for waits in self._waits.values() for wait in waits}:
            wait.notify()

    def _listen(self) -> None:
        """Returns once it is listened for what ends; raises what is in the way."""
        if self._process != os.getpid():  # a fork has not the thread
            self._begin()
        with self._changed:
            self._used = time.monotonic()
            if self._is_closed:
                raise BackendClosed
            if self._is_listening:
                return
            if not self._is_running:
                self._is_running, self._problem = True, None
                threading.Thread(target=self._run, name="onward-waits", daemon=True).start()
            self._changed.wait_for(lambda: self._is_listening or self._problem is not None)
            if not self._is_listening and self._problem is not None:
                raise self._problem

    def _run(self) -> None:
        while True:
            try:
                with self._client.pubsub() as pubsub:
                    if self._listens(pubsub):
                        return
            except Exception as problem:  # a client that is closed meanwhile raises anything
                with self._changed:
                    self._is_listening = False
                    if self._is_over():
                        return
                    is_away = isinstance(problem, RedisError | OSError)
                    self._fail(problem if is_away else RedisConnectionError(repr(problem)))
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._is_closed, _PAUSE)

    def _is_over(self) -> bool:
        """Whether nobody needs the thread any more, which then has to end."""
        is_idle = not self._waits and time.monotonic() - self._used > _IDLE
        if self._is_closed or is_idle:
            self._is_running = self._is_listening = False
        return not self._is_running

    def _listens(self, pubsub: Any) -> bool:
        """Listens until that is over; raises as redis-py."""
        pubsub.subscribe(f"onward:ended:{self._channel}")
        if pubsub.get_message(timeout=self._patience) is None:
            raise RedisTimeoutError("Timeout reading from socket")
        with self._changed:
            self._is_listening, self._problem = True, None
            self._changed.notify_all()
        polled, asked, answered, turn = time.monotonic(), 0.0, time.monotonic(), 0
        while True:
            now = time.monotonic()
            if now - asked >= self._patience:
                if asked > answered:
                    raise RedisConnectionError("it does not answer who listens")
                pubsub.ping()
                asked = now
            message = pubsub.get_message(timeout=max(0.0, polled + _POLL - now))
            if message is not None:
                answered = time.monotonic()
                if message["type"] == "message":
                    self._receive(message["data"])
            if time.monotonic() - polled >= _POLL:
                with self._changed:
                    if self._is_over():
                        return True
                    ids = list(self._waits)
                # Where they are very many, they take turns.
                turn = turn if turn < len(ids) else 0
                self._deliver(self._look_up(ids[turn : turn + _AT_ONCE], self._channel))
                turn += _AT_ONCE
                polled = time.monotonic()
                with self._changed:
                    self._problem = None

    def _receive(self, said: bytes) -> None:
        head, _, raw = said.partition(b" ")
        id = head.decode(errors="replace")
        if raw:
            self._deliver([(id, self._read(id, raw))])
        else:  # it is too long to be said
            self._deliver(self._look_up([id], self._channel))
