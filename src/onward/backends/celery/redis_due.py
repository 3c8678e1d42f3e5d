"""What is due later, in Redis."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

from onward.backends.celery import due_scripts
from onward.backends.celery.client import ConnectionRetry
from onward.backends.celery.due import Answer, Claims, DueEntry, Hold, Sent, Wait
from onward.backends.celery.records import FailedAttempt
from onward.backends.celery.scripts import DUE, SENT
from onward.backends.celery.signing import Signer, sign, verify

_TICK = 0.1
"""How late Redis ends a blocking command whose timeout is over, in seconds."""

_SHORTEST = 0.001
"""The shortest timeout of a blocking command, in seconds: Redis takes zero for no limit."""


class RedisDue:
    """What is due later, in the Redis of a ledger.

    Args:
        client: A client of the Redis.
        retry: What retries the client's commands.
        signer: Signs held messages; None without keys.
        poll: How long a wait lasts at most, in seconds. A worker that is woken up may die.
        renewed_plan: Signs the plan of a call so that it may be sent after so many seconds; returns
            nothing if plans are not signed.
    """

    def __init__(
        self,
        client: Any,
        retry: ConnectionRetry,
        signer: Signer | None,
        poll: float,
        renewed_plan: Callable[[str, float], bytes],
    ) -> None:
        self._client = client
        self._retry = retry
        self._signer = signer
        self._poll = poll
        self._renewed_plan = renewed_plan
        self._hold_retry = client.register_script(due_scripts.HOLD_RETRY)
        self._begin_wait = client.register_script(due_scripts.WAIT)
        self._send = client.register_script(due_scripts.SEND)
        self._claim = client.register_script(due_scripts.CLAIM)
        self._release = client.register_script(due_scripts.RELEASE)
        self._wake_up = client.register_script(due_scripts.WAKE_UP)

    def hold_retry(self, hold: Hold, holder: str, failed: FailedAttempt) -> None:
        keys = [f"onward:{hold.call}", f"onward:{hold.call}:at:{hold.at}"]
        number, outcome = failed
        outcome = sign(self._signer, outcome, "attempt", hold.call, hold.at, str(number))
        self._hold_retry(keys, [*self.held_args(hold), holder, number + 1, number, outcome])

    def begin_wait(self, wait: Wait, hold: Hold | None = None) -> Answer:
        key = f"onward:{wait.call}"
        args: list[str | bytes | float | int] = [wait.call, wait.at, "", "", 0, "", ""]
        if hold is not None:
            args = self.held_args(hold)
        args[2] = "inf" if math.isinf(wait.seconds) else wait.seconds
        args += [wait.signal, f"{wait.message} {wait.call}"]
        kind, *more = self._begin_wait([key, f"{SENT}{wait.route}"], args)
        if kind == b"hold":
            return Answer("hold", seconds=float(more[0]))
        if kind == b"signal":
            value: bytes | None = more[0]
            if self._signer is not None and value is not None:
                value = self._signer.verify(value, "signal", wait.call, wait.signal)
            return Answer("signal", value)
        if kind == b"known":
            return Answer("known", verify(self._signer, more[0], "step", wait.call, wait.at))
        return Answer(kind.decode())

    def send(self, call: str, signal: str, value: bytes) -> Sent:
        if self._signer is not None:
            value = self._signer.sign(value, "signal", call, signal)
        key = f"onward:{call}"
        before = self._retry.failures
        sent, *stored = self._send([key, f"{key}:signals"], [call, signal, value])
        if sent == b"again" and self._retry.failures > before and stored == [value]:
            return "sent"  # the first attempt has stored it
        return cast(Sent, sent.decode())

    def held_args(self, hold: Hold) -> list[str | bytes | float | int]:
        """The arguments by which a script holds a message."""
        return [
            hold.call,
            hold.at,
            "inf" if math.isinf(hold.seconds) else hold.seconds,
            self._sign(hold),
            int(hold.is_top),
            "" if hold.deadline is None else hold.deadline,
            self._renewed_plan(hold.call, hold.seconds),
        ]

    def _sign(self, hold: Hold) -> bytes:
        if self._signer is None:
            return hold.message
        return self._signer.sign(hold.message, "held", hold.call, hold.at)

    def claim(self, lease: float) -> Claims:
        claimed, next_in = self._claim([DUE], [lease])
        entries: list[DueEntry] = []
        for raw in claimed:
            at, call, until = (text.decode(errors="replace") for text in raw[:3])
            message: bytes | None = raw[3]
            if message and self._signer is not None:
                message = self._signer.verify(message, "held", call, at)
            entries.append(DueEntry(at, call, until, message or b""))
        return Claims(entries, None if next_in is None else float(next_in))

    def release(self, entries: Sequence[DueEntry]) -> None:
        args = [text for each in entries for text in (each.at, each.call, each.until)]
        if args:
            self._release([DUE], args)

    def pause(self, seconds: float) -> None:
        if seconds <= _TICK:
            time.sleep(seconds)
        else:
            self._client.blpop([due_scripts.WAKE], min(seconds - _TICK, self._poll) + _SHORTEST)

    def wake(self) -> None:
        self._wake_up([due_scripts.WAKE])
