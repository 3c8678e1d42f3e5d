"""The waits of a flow: sleeps, and waits for signals.

The engine's own durable sleeps are up to half a minute late. So the worker that runs the flow has
the timer, and the engine stores when it is due: a worker that takes the flow over goes on with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Generator

import msgspec
from msgspec import Raw
from returns.result import Failure, Result, Success

from onward.backends.hatchet.connection import Connection
from onward.backends.hatchet.records import NOTHING, UNTIL
from onward.fault import Fault
from onward.outcome import Outcome, Value, faulted
from onward.plan import AwaitsNode, Plan, SleepNode, Waiting, has_cleanup
from onward.unanswered import unanswered

_PATIENCE = 600.0
"""How long a request is retried while the engine is away, in seconds."""

_LONGEST = 3_600.0
"""How long a timer runs before it looks at the clock again, in seconds."""

_MOMENT = msgspec.json.Decoder(float)


class Waits:
    """The waits of one flow, as one worker runs it.

    Args:
        connection: The connections to the engine.
        plan: The flow.
        call: The call's id.
        changed: Called when a wait, or something else that the flow does, begins or ends.
    """

    def __init__(
        self, connection: Connection, plan: Plan, call: str, changed: Callable[[], None]
    ) -> None:
        self.active: dict[str, tuple[str, float | None]] = {}
        """The waits that have begun, by path: the signal, if any, and the due time, if any."""
        self.version: int = 0
        """Changes whenever the flow goes on."""
        self._connection = connection
        self._plan = plan
        self._call = call
        self._changed = changed
        self._mailboxes: dict[str, str] = {}
        self._at_work = 0

    async def __call__(self, node: Waiting, where: str, /) -> Outcome:
        """Waits; see `onward.evaluate.Wait`."""
        seconds = node.seconds if isinstance(node, SleepNode) else node.timeout
        with self.work():
            due = None if seconds is None else await self._due(where, seconds)
        if isinstance(due, Failure):
            return faulted(due.failure())
        until = None if due is None else due.unwrap()
        self.active[where] = ("" if isinstance(node, SleepNode) else node.signal, until)
        self._change()
        try:
            if isinstance(node, AwaitsNode):
                outcome = await self._signal(node, where, until)
            else:
                outcome = await _slept(until or 0.0)
        finally:
            del self.active[where]
            self._change()
        with self.work():
            return await self._recorded(node, where, outcome)

    async def until(self, moment: float) -> None:
        """Waits until a delayed call begins.

        Args:
            moment: When it begins, in seconds since 1970.
        """
        self.active[""] = ("", moment)
        self._change()
        try:
            await _slept(moment)
        finally:
            del self.active[""]
            self._change()

    @contextlib.contextmanager
    def work(self) -> Generator[None]:
        """Notes that the flow does something else than to wait, as long as this is open."""
        self._at_work += 1
        self._change()
        try:
            yield
        finally:
            self._at_work -= 1
            self._change()

    @property
    def is_idle(self) -> bool:
        """Whether the flow does nothing but wait."""
        return bool(self.active) and not self._at_work

    @property
    def are_known(self) -> bool:
        """Whether the engine knows for which signals the flow waits."""
        signals = {at for at, (signal, _) in self.active.items() if signal}
        return self._mailboxes.keys() >= signals

    @property
    def mailboxes(self) -> set[str]:
        """The mailboxes of the signals that the flow waits for."""
        return {self._mailboxes[at] for at in self.active if at in self._mailboxes}

    def _change(self) -> None:
        self.version += 1
        self._changed()

    async def close(self) -> None:
        """Ends what the engine still has of these waits, because the call has ended."""
        await self._connection.signals.end(self._mailboxes.values())

    async def _due(self, where: str, seconds: float) -> Result[float, Fault]:
        """Returns when a wait is due: as many seconds after it first began."""
        due = Value(Raw(msgspec.json.encode(time.time() + seconds)))
        stored = await self._store(where + UNTIL, due)
        if isinstance(stored, Failure):
            return stored
        first = stored.unwrap()
        return Success(_MOMENT.decode(first.raw if isinstance(first, Value) else due.raw))

    async def _signal(self, node: AwaitsNode, where: str, until: float | None) -> Outcome:
        signals = self._connection.signals
        for generation in itertools.count():
            mailbox = await signals.mailbox(self._call, generation, node.signal)
            if isinstance(mailbox, Failure):
                return faulted(mailbox.failure())
            self._mailboxes[where] = mailbox.unwrap()
            left = None if until is None else until - time.time()
            received = await signals.receive(
                self._call, mailbox.unwrap(), generation, node.signal, left
            )
            if isinstance(received, Failure):
                return faulted(received.failure())
            record = received.unwrap()
            if record is None:
                return unanswered(node)
            del self._mailboxes[where]
            if record.outcome is not None:
                return record.outcome
        raise AssertionError("the loop has no end")

    async def _recorded(self, node: Waiting, where: str, outcome: Outcome) -> Outcome:
        """Stores how a wait ended, if a worker that takes the flow over could see it otherwise."""
        is_clear = isinstance(node, SleepNode) or node.timeout is None
        if is_clear and not has_cleanup(self._plan):
            return outcome
        stored = await self._store(where, outcome)
        return stored.unwrap() if isinstance(stored, Success) else faulted(stored.failure())

    async def _store(self, at: str, outcome: Outcome) -> Result[Outcome, Fault]:
        return await self._connection.records.outcome_at(
            self._call, at, outcome, flow=self._plan.flow, patience=_PATIENCE
        )


async def _slept(until: float) -> Outcome:
    while (left := until - time.time()) > 0:  # noqa: ASYNC110 - the clock may be set meanwhile
        await asyncio.sleep(min(left, _LONGEST))
    return NOTHING
