"""The waits of one call: what it sleeps for, and the signals that it got."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from msgspec import Raw

from onward.outcome import Outcome, Value
from onward.plan import SleepNode, Waiting
from onward.unanswered import unanswered

_NOTHING = Value(Raw(b"null"))


class Waits:
    """What a call waits for, and the signals that were sent to it."""

    def __init__(self) -> None:
        self._signals: dict[str, asyncio.Future[Raw]] = {}
        self._current: dict[str, tuple[str, datetime | None]] = {}

    async def __call__(self, node: Waiting, where: str, /) -> Outcome:
        """See `onward.evaluate.Wait`."""
        seconds = node.seconds if isinstance(node, SleepNode) else node.timeout
        until = None if seconds is None else datetime.now(UTC) + timedelta(seconds=seconds)
        self._current[where] = ("" if isinstance(node, SleepNode) else node.signal), until
        try:
            if isinstance(node, SleepNode):
                await asyncio.sleep(node.seconds)
                return _NOTHING
            signal = self._signal(node.signal)
            await asyncio.wait([signal], timeout=node.timeout)
            return Value(signal.result()) if signal.done() else unanswered(node)
        finally:
            del self._current[where]

    def send(self, name: str, raw: Raw) -> bool:
        """Takes the value of a signal; False if it has one already."""
        signal = self._signal(name)
        if signal.done():
            return False
        signal.set_result(raw)
        return True

    @property
    def signals(self) -> dict[str, Raw]:
        """The values of the signals that were sent, by name."""
        return {name: sent.result() for name, sent in self._signals.items() if sent.done()}

    @property
    def current(self) -> tuple[str, datetime | None] | None:
        """The signal and the moment of the first wait that goes on; None if there is none."""
        return next(iter(self._current.values()), None)

    def _signal(self, name: str) -> asyncio.Future[Raw]:
        if name not in self._signals:
            self._signals[name] = asyncio.get_running_loop().create_future()
        return self._signals[name]
