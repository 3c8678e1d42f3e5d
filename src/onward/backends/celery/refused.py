"""What becomes of messages that are none of ours: a line in the log, and a place in a list."""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import threading
import time
from base64 import b64encode
from typing import Protocol

from onward.backends.celery.envelope import Refusal

LOGGER = logging.getLogger("onward.celery")

_LONGEST = 64_000
"""How much of a message is kept, in bytes."""

_WAITING = 1_000
"""How many are to be written at most; more are logged and not kept."""

_APART = "give each app a queue of its own"


class Keeps(Protocol):
    """Where refused messages are kept."""

    def keep_refused(self, entries: list[str], most: int) -> None:
        """Adds some to those that are kept, of which only the newest are left."""
        ...

    def close(self) -> None:
        """Ends its connections."""
        ...


class DeadLetters:
    """Writes refused messages to where they are kept, on a thread: nobody waits for it.

    Args:
        ledger: Where they are kept.
        most: How many are kept.
    """

    def __init__(self, ledger: Keeps, most: int) -> None:
        self._ledger = ledger
        self._most = most
        self._waiting: queue.Queue[str | None] = queue.Queue(_WAITING)
        threading.Thread(target=self._run, name="onward-dead-letters", daemon=True).start()

    def add(self, why: str, where: str, raw: bytes) -> None:
        """Keeps a message, if there are not too many to be written already."""
        entry = {
            "at": time.time(),
            "queue": where,
            "why": why,
            "size": len(raw),
            "message": b64encode(raw[:_LONGEST]).decode(),
        }
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(json.dumps(entry))

    def close(self) -> None:
        """Writes what is left, if its ledger answers."""
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(None)

    def _run(self) -> None:
        is_open = True
        while is_open:
            entries = [self._waiting.get()]
            with contextlib.suppress(queue.Empty):
                while len(entries) < _WAITING:
                    entries.append(self._waiting.get_nowait())
            is_open = None not in entries
            texts = [entry for entry in entries if entry is not None]
            try:
                if texts:
                    self._ledger.keep_refused(texts, self._most)
            except Exception as problem:
                LOGGER.warning("%d refused messages were not kept: %s", len(texts), problem)
        self._ledger.close()


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
            self._dead_letters.add(refusal.why, where, raw)

    def close(self) -> None:
        """Keeps no more."""
        if self._dead_letters is not None:
            self._dead_letters.close()
