"""Waiting for the outcomes of calls, of very many at once if need be."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Collection, Mapping
from itertools import compress

from returns.result import Failure, Result, Success

from onward.backend.support import Patience
from onward.backends.temporal import calls
from onward.backends.temporal.client import Connection
from onward.fault import Fault, Unavailable, Unknown
from onward.outcome import Outcome, faulted

_AT_ONCE = 500
"""How many calls are listened for at a time; the server has no more than some 1,000 to spare."""

_TURN = 2.0
"""How long some of very many calls are listened for before others are, in seconds."""

_AT_LEAST = 1.0
"""Who waits for less, in seconds, is told first of what had ended before."""

_PAUSE = 0.2


class Listener:
    """Listens for the ends of calls, on behalf of all who wait in this process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._news = asyncio.Event()
        self._waits: dict[str, asyncio.Task[Outcome | Fault]] = {}

    async def first(
        self, ids: Collection[str], timeout: float | None
    ) -> Result[Mapping[str, Outcome], Fault]:
        """The outcomes of those that have ended, as soon as there is one; see `Backend.settled`."""
        patience, is_over = Patience(timeout), False
        if timeout is not None and timeout < _AT_LEAST and (over := await self._over(ids)):
            ids, is_over = over, True  # their outcomes only have to be fetched
        todo = list(ids)
        while todo:
            some, todo = todo[:_AT_ONCE], todo[_AT_ONCE:]
            left = math.inf if is_over else patience.left
            heard = await self._hear(some, min(left, _TURN) if todo else left)
            found = {id: what for id, what in heard.items() if not isinstance(what, Fault)}
            trouble = [what for what in heard.values() if isinstance(what, Fault)]
            if found:
                return Success(found)
            if trouble and (patience.is_exhausted or not isinstance(trouble[0], Unavailable)):
                return Failure(trouble[0])
            if patience.is_over and not is_over:
                break
            if trouble:
                await asyncio.sleep(min(_PAUSE, left))
            else:
                patience.answered()
            todo += some
        return Success({})

    async def _hear(self, ids: Collection[str], timeout: float) -> Mapping[str, Outcome | Fault]:
        """What came of these, as soon as there is something."""
        waits = {id: self._wait(id) for id in ids}
        patience = None if timeout == math.inf else timeout
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                # To have each of so many tell it by itself, and anew each time, takes too long.
                while not any(wait.done() for wait in waits.values()):
                    await self._news.wait()
        heard: dict[str, Outcome | Fault] = {}
        for id, wait in waits.items():
            if wait.done():
                self._waits.pop(id, None)
                if not wait.cancelled():  # to make room for others
                    heard[id] = wait.result()
        return heard

    def _wait(self, id: str) -> asyncio.Task[Outcome | Fault]:
        if id not in self._waits:
            while len(self._waits) >= 2 * _AT_ONCE:
                self._waits.pop(next(iter(self._waits))).cancel()
            self._waits[id] = wait = asyncio.create_task(self._listen(id))
            wait.add_done_callback(self._tell)
        return self._waits[id]

    def _tell(self, _: object) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _listen(self, id: str) -> Outcome | Fault:
        found = await self._connection.ask(id, lambda client: calls.wait(client, id))
        if not isinstance(found, Failure):
            return found.unwrap()
        fault = found.failure()
        return faulted(fault) if isinstance(fault, Unknown) else fault

    async def _over(self, ids: Collection[str]) -> list[str]:
        """Those of them for which there is nothing to wait."""
        some = list(ids)[:_AT_ONCE]

        async def is_over(id: str) -> bool:
            ended = await self._connection.ask(id, lambda client: calls.has_ended(client, id))
            return ended.value_or(True)

        return list(compress(some, await asyncio.gather(*map(is_over, some))))
