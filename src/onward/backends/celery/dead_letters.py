"""Logs the messages that a worker refuses, and keeps them as dead letters if configured."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import queue
import threading
import time
from base64 import b64encode
from functools import partial
from typing import Any

from redis.exceptions import RedisError

from onward.backends.celery.client import ConnectionRetry, Timeouts, redis_at
from onward.backends.celery.envelope import Refusal

_LOGGER = logging.getLogger("onward.celery")

DEAD_LETTERS = "onward:dead_letters"

_LONGEST = 64_000
"""How much of a message is kept, in bytes."""

_MAX_WAITING = 1_000
"""How many messages may wait to be written; further ones are only logged."""

_LONGEST_REASON = 500
"""How much of the reason is kept in the record of a call, in characters."""

_BATCH = 100
_IDLE = 1.0
"""How long the writing thread waits for another message before it ends, in seconds."""


class DeadLetters:
    """Keeps the newest refused messages in a list of Redis, which a separate thread writes.

    Args:
        url: The URL of the Redis.
        timeouts: How long the Redis may take.
        most: How many messages are kept.
        keep: How long they are kept after the newest one, in seconds.
    """

    def __init__(self, url: str, timeouts: Timeouts, *, most: int, keep: float) -> None:
        self._make = partial(redis_at, url, timeouts, ConnectionRetry(0))
        self._most = most
        self._keep = math.ceil(keep)
        self._waiting: queue.Queue[str] = queue.Queue(_MAX_WAITING)
        self._lock = threading.Lock()
        self._is_writing = False

    def add(self, why: str, where: str, raw: bytes, name: str) -> None:
        """Keeps a message, unless too many others wait to be written."""
        entry = {
            "at": time.time(),
            "queue": where,
            "name": name,
            "why": why,
            "size": len(raw),
            "message": b64encode(raw[:_LONGEST]).decode(),
        }
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(json.dumps(entry))
        with self._lock:
            if not self._is_writing:
                self._is_writing = True
                threading.Thread(target=self._run, name="onward-dead-letters", daemon=True).start()

    def _run(self) -> None:
        client: Any = self._make()
        with contextlib.closing(client):
            while entries := self._next_batch():
                try:
                    pipe = client.pipeline(transaction=True)
                    pipe.lpush(DEAD_LETTERS, *entries)
                    pipe.ltrim(DEAD_LETTERS, 0, self._most - 1)
                    pipe.expire(DEAD_LETTERS, self._keep)
                    pipe.execute()
                except (RedisError, OSError) as problem:
                    _LOGGER.warning("refused messages were not kept: %s", problem)

    def _next_batch(self) -> list[str]:
        """Returns the next messages to write; empty if none comes in time, to end the thread."""
        entries: list[str] = []
        with contextlib.suppress(queue.Empty):
            entries.append(self._waiting.get(timeout=_IDLE))
            while len(entries) < _BATCH:
                entries.append(self._waiting.get_nowait())
        with self._lock:
            self._is_writing = bool(entries) or not self._waiting.empty()
            if self._is_writing and not entries:
                entries.append(self._waiting.get_nowait())
        return entries


class RefusalLog:
    """Logs refused messages, and keeps them if configured.

    Args:
        dead_letters: Keeps them; None if they are only logged.
    """

    def __init__(self, dead_letters: DeadLetters | None = None) -> None:
        self._dead_letters = dead_letters
        self._lock = threading.Lock()
        self._reasons: dict[str, str] = {}

    def note(self, call: object, why: str) -> None:
        """Notes why a message was refused, if it is one of a call."""
        with self._lock:
            if isinstance(call, str) and call and len(self._reasons) < _MAX_WAITING:
                self._reasons[call] = why[:_LONGEST_REASON]

    def take_reasons(self) -> dict[str, str]:
        """Returns the reasons that were noted since the last time, by the call's id."""
        with self._lock:
            reasons, self._reasons = self._reasons, {}
        return reasons

    def add(
        self, refusal: Refusal, where: str, raw: bytes, name: str = "", call: object = None
    ) -> None:
        """Adds one message.

        Args:
            refusal: Why it is refused.
            where: The queue that it was in.
            raw: The message.
            name: The id and the task in the message's headers.
            call: The id of its call in these headers, which may be anything.
        """
        self.note(call, refusal.why)
        advice = ""
        if refusal.is_foreign:
            advice = "; if it belongs to another app, give each app a queue of its own"
        _LOGGER.warning(
            "refused message%s from queue %r: %s%s",
            f" {name}" if name else "",
            where,
            refusal.why,
            advice,
            extra={"cause": f"refused {where} {refusal.is_foreign}"},
        )
        if self._dead_letters is not None:
            self._dead_letters.add(refusal.why, where, raw, name)
