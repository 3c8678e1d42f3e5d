"""Messages that a worker refuses: each is logged, and kept in a list if asked for."""

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

from onward.backends.celery.client import Again, Timeouts, redis_at
from onward.backends.celery.envelope import Refusal

LOGGER = logging.getLogger("onward.celery")

DEAD_LETTERS = "onward:dead_letters"

_LONGEST = 64_000
"""How much of a message is kept, in bytes."""

_WAITING = 1_000
"""How many are to be written at most; more are logged and not kept."""

_AT_ONCE = 100
_REST = 1.0
"""How long the thread that writes waits for another one before it ends, in seconds."""

_APART = "give each app a queue of its own"


class DeadLetters:
    """Keeps the newest refused messages in a list of Redis. Nobody waits for it: a thread writes.

    Args:
        url: The Redis.
        timeouts: How long it may take.
        most: How many are kept.
        keep: How long they are kept after the last one came, in seconds.
    """

    def __init__(self, url: str, timeouts: Timeouts, *, most: int, keep: float) -> None:
        self._make = partial(redis_at, url, timeouts, Again(0))
        self._most = most
        self._keep = math.ceil(keep)
        self._waiting: queue.Queue[str] = queue.Queue(_WAITING)
        self._lock = threading.Lock()
        self._is_writing = False

    def add(self, why: str, where: str, raw: bytes, name: str) -> None:
        """Keeps a message, if there are not too many to be written already."""
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
                threading.Thread(target=self._run, name="onward-dead-messages", daemon=True).start()

    def _run(self) -> None:
        client: Any = self._make()
        with contextlib.closing(client):
            while entries := self._some():
                try:
                    pipe = client.pipeline(transaction=True)
                    pipe.lpush(DEAD_LETTERS, *entries)
                    pipe.ltrim(DEAD_LETTERS, 0, self._most - 1)
                    pipe.expire(DEAD_LETTERS, self._keep)
                    pipe.execute()
                except (RedisError, OSError) as problem:
                    LOGGER.warning("refused messages were not kept: %s", problem)

    def _some(self) -> list[str]:
        """What is to be written, if there is any before long; else it is written no more."""
        entries: list[str] = []
        with contextlib.suppress(queue.Empty):
            entries.append(self._waiting.get(timeout=_REST))
            while len(entries) < _AT_ONCE:
                entries.append(self._waiting.get_nowait())
        with self._lock:
            self._is_writing = bool(entries) or not self._waiting.empty()
            if self._is_writing and not entries:
                entries.append(self._waiting.get_nowait())
        return entries


class Refusals:
    """Says in the log which messages were refused, and keeps them if it is to.

    Args:
        dead_letters: Keeps them; None if nobody is to.
    """

    def __init__(self, dead_letters: DeadLetters | None = None) -> None:
        self._dead_letters = dead_letters

    def add(self, refusal: Refusal, where: str, raw: bytes, name: str = "") -> None:
        """One message.

        Args:
            refusal: Why it is refused.
            where: The queue that it was in.
            raw: The message.
            name: What it calls itself.
        """
        advice = f"; if it is another app's, {_APART}" if refusal.is_foreign else ""
        LOGGER.warning(
            "refused message%s from queue %r: %s%s",
            f" {name}" if name else "",
            where,
            refusal.why,
            advice,
            extra={"cause": f"refused {where} {refusal.is_foreign}"},
        )
        if self._dead_letters is not None:
            self._dead_letters.add(refusal.why, where, raw, name)
