"""Celery's signatures of what is to run: tasks, chains and chords."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from celery import Celery
from celery import chain as chain_of
from celery import chord as chord_of
from celery.canvas import Signature
from msgspec.structs import replace

from onward.backends.celery import lower
from onward.backends.celery.app import priority_on
from onward.backends.celery.message import CallState, StepMessage, discreet, shown_of, write
from onward.backends.celery.signing import Signer, sealed
from onward.plan import Runnable

_FIRST = 9
"""The priority of what was lost and is sent again: it has waited in its queue once."""


class Canvas:
    """Makes Celery's signatures of a line of parts."""

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
        delay: float = 0.0,
    ) -> Signature[Any]:
        """A line as one signature; the arguments are those of `line`."""
        line = self.line(parts, state, source=source, delay=delay)
        return line[0] if len(line) == 1 else chain_of(*line)

    def line(
        self,
        parts: Iterable[lower.Part],
        state: CallState | None = None,
        *,
        source: str = "",
        delay: float = 0.0,
    ) -> list[Signature[Any]]:
        """A line as the signatures of its tasks and chords.

        Args:
            parts: The line.
            state: Where its first task starts from, if that is known.
            source: The place that this comes from otherwise.
            delay: How many seconds from now it begins.
        """
        signatures: list[Signature[Any]] = []
        for part in parts:
            if isinstance(part, lower.Fan):
                branches = [
                    self.signature(branch, state, source=source, delay=delay)
                    for branch in part.branches
                ]
                signatures.append(self._chord(branches, part, delay))
            else:
                signatures.append(self._one(part, state, (source,), delay))
            state, source = None, lower.source(part)
        return signatures

    def fan(self, fan: lower.Fan, states: Iterable[CallState]) -> Signature[Any]:
        """Branches side by side, each from where it starts, and what gathers where they end."""
        branches = [
            self.signature(branch, state)
            for branch, state in zip(fan.branches, states, strict=True)
        ]
        return self._chord(branches, fan, 0.0)

    def kwargs(self, name: str, message: StepMessage, delay: float = 0.0) -> dict[str, str]:
        """What a task of this name is sent beside where the call stands."""
        if self._signer is not None:
            message = replace(message, until=self._now() + delay + self._signer.lifetime)
        return {"ticket": sealed(self._signer, write(message), "ticket", name).decode()}

    def sealed_state(self, state: CallState, call: str, source: str) -> str:
        """Where a call stands, as it comes from a place in it."""
        return discreet(sealed(self._signer, write(state), "now", call, source).decode())

    def _chord(
        self, branches: list[Signature[Any]], fan: lower.Fan, delay: float
    ) -> Signature[Any]:
        sources = tuple(lower.source(branch[-1]) for branch in fan.branches)
        return chord_of(branches, self._one(fan.gather, None, sources, delay))

    def _one(
        self, one: lower.One, state: CallState | None, sources: tuple[str, ...], delay: float
    ) -> Signature[Any]:
        message = one.message
        step = message.do
        queue, priority = message.queue, message.priority
        if isinstance(step, Runnable):
            queue = step.queue or queue
            priority = step.priority if step.priority is not None else priority
        if message.is_again:
            priority = _FIRST
        options = {
            "queue": queue or self._queue,
            "priority": priority_on(self._app.conf.broker_url, priority),
            "kwargsrepr": shown_of(message),
        }
        args: tuple[str, ...] = ()
        if state is not None:
            sources = (f"@{message.at}",)  # no other task of the call can do with it
            args = (self.sealed_state(state, message.call, *sources),)
        if self._signer is not None:
            message = replace(message, takes=sources)
        kwargs = self.kwargs(one.name, message, delay)
        return self._app.signature(one.name, args=args, kwargs=kwargs, options=options)
