"""Makes Celery's signatures, chains and chords from a lowered plan."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

from celery import Celery
from celery import chain as chain_of
from celery import chord as chord_of
from celery.canvas import Signature
from msgspec import MsgspecError
from msgspec.structs import replace

from onward.backends.celery import lower
from onward.backends.celery.app import priority_on
from onward.backends.celery.message import (
    CallState,
    StepMessage,
    decode_step,
    discreet,
    encode,
    shown_of,
)
from onward.backends.celery.signing import Signer, sign
from onward.plan import LAST_SECOND, Runnable

_FIRST = 9
"""The priority of a call that is sent again, because it has waited in its queue before."""


class Canvas:
    """Makes Celery's signatures from the parts of a lowered plan."""

    def __init__(
        self, app: Celery, queue: str, now: Callable[[], float], signer: Signer | None = None
    ) -> None:
        self._app = app
        self._now = now
        self._queue = queue
        self._signer = signer

    def signature(
        self,
        parts: Iterable[lower.Part],
        state: CallState | None = None,
        *,
        source: str = "",
    ) -> Signature[Any]:
        """Makes one signature of a sequence of parts; the arguments are those of `signatures`."""
        made = self.signatures(parts, state, source=source)
        return made[0] if len(made) == 1 else chain_of(*made)

    def signatures(
        self,
        parts: Iterable[lower.Part],
        state: CallState | None = None,
        *,
        source: str = "",
    ) -> list[Signature[Any]]:
        """Makes a signature of each part: of each task and each chord.

        Args:
            parts: The parts, which run one after the other.
            state: The call's state before the first part; None if another task will send it.
            source: The path of the task that will send it.
        """
        signatures: list[Signature[Any]] = []
        for part in parts:
            if isinstance(part, lower.Chord):
                branches = [
                    self.signature(branch, state, source=source) for branch in part.branches
                ]
                signatures.append(self._chord(branches, part))
            else:
                signatures.append(self._task(part, state, (source,)))
            state, source = None, lower.output_path(part)
        return signatures

    def chord(self, chord: lower.Chord, states: Iterable[CallState]) -> Signature[Any]:
        """Makes a chord whose branches each start from a state of their own."""
        branches = [
            self.signature(branch, state)
            for branch, state in zip(chord.branches, states, strict=True)
        ]
        return self._chord(branches, chord)

    def kwargs(self, name: str, message: StepMessage, delay: float = 0.0) -> dict[str, str]:
        """The keyword arguments of a task: its encoded and signed message."""
        if self._signer is not None:
            until = self._now() + delay + self._signer.lifetime
            message = replace(message, until=min(until, LAST_SECOND))
        return {"ticket": sign(self._signer, encode(message), "ticket", name).decode()}

    def renewed(self, part: Any, delay: float) -> Any:
        """Signs again the messages within the body of a message that is sent after `delay` seconds.

        Args:
            part: The body, or a part of it, decoded from JSON.
            delay: The delay, in seconds.
        """
        if self._signer is None:
            return part
        if isinstance(part, list):
            return [self.renewed(each, delay) for each in part]
        if not isinstance(part, dict):
            return part
        renewed = {key: self.renewed(value, delay) for key, value in part.items()}
        match part:
            case {"task": str(name), "kwargs": {"ticket": str(ticket)}}:
                raw = self._signer.verify(ticket.encode(errors="replace"), "ticket", name)
                with contextlib.suppress(MsgspecError):
                    message = decode_step(raw or b"")
                    if message.until > self._now():  # what has expired is refused when it arrives
                        renewed["kwargs"] = self.kwargs(name, message, delay)
            case _:
                pass
        return renewed

    def signed_state(self, state: CallState, call: str, source: str) -> str:
        """Encodes and signs a call's state, as the task at the path `source` sends it."""
        return discreet(sign(self._signer, encode(state), "now", call, source).decode())

    def _chord(self, branches: list[Signature[Any]], chord: lower.Chord) -> Signature[Any]:
        sources = tuple(lower.output_path(branch[-1]) for branch in chord.branches)
        return chord_of(branches, self._task(chord.gather, None, sources))

    def _task(
        self,
        task: lower.SingleTask,
        state: CallState | None,
        sources: tuple[str, ...],
    ) -> Signature[Any]:
        message = task.message
        step = message.do
        queue, priority = message.queue, message.priority
        if isinstance(step, Runnable) and task.name != lower.PASS:  # whose outcome is known
            queue = step.queue or queue
            priority = step.priority if step.priority is not None else priority
        if message.is_again:
            priority = _FIRST
        options = {
            "queue": queue or self._queue,
            "priority": priority_on(self._app.conf.broker_url, priority),
            # Celery's tools show this instead of the whole message.
            "kwargsrepr": shown_of(message),
        }
        args: tuple[str, ...] = ()
        if state is not None:
            sources = (f"@{message.at}",)  # so that no other task of the call accepts it
            args = (self.signed_state(state, message.call, *sources),)
        if self._signer is not None:
            message = replace(message, takes=sources)
        kwargs = self.kwargs(task.name, message)
        return self._app.signature(task.name, args=args, kwargs=kwargs, options=options)
