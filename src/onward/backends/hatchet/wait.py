"""Waits for runs to end.

The engine announces ended runs on a stream: sometimes a second late, and never for a run that it
does not have. So the waiter also polls, soon at first and then less and less often.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from grpc.aio import StreamStreamCall
from hatchet_sdk.contracts.dispatcher_pb2 import SubscribeToWorkflowRunsRequest, WorkflowRunEvent
from hatchet_sdk.contracts.v1.workflows_pb2 import GetRunDetailsResponse

from onward.backend.support import Patience
from onward.backends.hatchet import outcomes
from onward.backends.hatchet.cancelling import Cancelling
from onward.backends.hatchet.client import Client
from onward.backends.hatchet.errors import RpcError, concerns_all, is_temporary, unknown
from onward.backends.hatchet.message import LastAttempt
from onward.backends.hatchet.reader import Oversized, Reader
from onward.execute import raised
from onward.outcome import Outcome, faulted

_PAUSES = (0.25, 0.5, 1.0, 3.0, 10.0)
"""The pauses between polls of one run, in seconds."""

_MANY = 4
"""With more awaited runs than this, the pauses become longer."""

_AT_ONCE = 16
_BREATH = 0.05
"""The pause after each poll, in seconds. Polls can be rare, because the stream has most runs."""

_KEPT = 60.0
"""How long a run that no caller awaits stays subscribed, in seconds."""

_LOGGER = logging.getLogger("onward.hatchet")

_Stream: TypeAlias = StreamStreamCall[SubscribeToWorkflowRunsRequest, WorkflowRunEvent]


@dataclass(slots=True, eq=False)
class _Awaited:
    """A run that a caller waits for."""

    outcome: asyncio.Future[Outcome]
    last: LastAttempt | None = None
    asked: int = 0
    was_missing: bool = False
    outage: Patience | None = None
    waiting: int = 0
    left_at: float = field(default_factory=time.monotonic)


class Waiter:
    """Waits for the outcomes of runs.

    Args:
        client: The connection.
        reader: Reads runs.
        cancelling: Tells the outcomes of calls that may have been cancelled.
    """

    def __init__(self, client: Client, reader: Reader, cancelling: Cancelling) -> None:
        self._client = client
        self._reader = reader
        self._cancelling = cancelling
        self._following: dict[str, asyncio.Task[None]] = {}
        self._awaited: dict[str, _Awaited] = {}
        self._due: list[tuple[float, int, str]] = []
        self._count = itertools.count()
        self._more = asyncio.Event()
        self._news = asyncio.Event()
        self._asked_for: asyncio.Queue[str] = asyncio.Queue()
        self._jobs: list[asyncio.Task[None]] = []
        self._outage: Patience | None = None
        self._broken: asyncio.Future[None] | None = None

    async def settled(
        self, ids: Collection[str], timeout: float | None = None
    ) -> dict[str, Outcome]:
        """Waits until at least one run has an outcome; see `Backend.settled`.

        Raises:
            RpcError: If the engine is not reached.
        """
        if not ids:
            return {}
        if not self._jobs:
            loop = asyncio.get_running_loop()
            self._jobs = [loop.create_task(self._ask()), loop.create_task(self._listen())]
        broken = self._broken = self._broken or asyncio.get_running_loop().create_future()
        awaited = {id: self._expect(id) for id in ids}
        for each in awaited.values():
            each.waiting += 1
        try:
            futures = [each.outcome for each in awaited.values()]
            if len(futures) == 1:
                both = (*futures, broken)
                await asyncio.wait(both, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            else:
                await self._wait([*futures, broken], timeout)
            if broken.done() and not any(future.done() for future in futures):
                broken.result()
            if timeout is not None:
                await self._ask_at_last(awaited)
        finally:
            for each in awaited.values():
                each.waiting -= 1
                each.left_at = time.monotonic()
        return {
            id: each.outcome.result() for id, each in awaited.items() if self._is_taken(id, each)
        }

    async def _wait(self, futures: Sequence[asyncio.Future[Any]], timeout: float | None) -> None:
        """Waits until one of many futures is done, without a callback on each."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not any(future.done() for future in futures):
                    await self._news.wait()

    def _settle(self, awaited: _Awaited, outcome: Outcome, last: LastAttempt | None = None) -> None:
        if not awaited.outcome.done():
            awaited.last = last
            awaited.outcome.set_result(outcome)
            self._wake_waiters()

    def _wake_waiters(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def outcome(self, id: str, timeout: float | None = None) -> Outcome | None:
        """Waits for the outcome of a run; returns None if there is none in time."""
        return (await self.settled([id], timeout)).get(id)

    async def step(self, id: str) -> tuple[Outcome, LastAttempt | None]:
        """The outcome of a run of one step, and the attempt that it ended with, if it says so."""
        awaited = self._expect(id)
        outcome = await self.outcome(id)
        assert outcome is not None  # the wait has no timeout
        return outcome, awaited.last

    def _is_taken(self, id: str, awaited: _Awaited) -> bool:
        if not awaited.outcome.done():
            return False
        if not awaited.waiting and self._awaited.get(id) is awaited:
            del self._awaited[id]
        return True

    def _expect(self, id: str) -> _Awaited:
        awaited = self._awaited.get(id)
        if awaited is None:
            outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
            awaited = self._awaited[id] = _Awaited(outcome)
            self._asked_for.put_nowait(id)
            self._ask_later(id, awaited)
        return awaited

    def _ask_later(self, id: str, awaited: _Awaited) -> None:
        pause = _PAUSES[min(awaited.asked, len(_PAUSES) - 1)]
        pause *= max(1.0, len(self._awaited) / _MANY)
        awaited.asked += 1
        heapq.heappush(self._due, (time.monotonic() + pause, next(self._count), id))
        self._more.set()

    async def _ask_at_last(self, awaited: dict[str, _Awaited]) -> None:
        """Polls the runs that were not polled before their wait ended."""
        if any(each.outcome.done() for each in awaited.values()):
            return
        early = [(id, each) for id, each in awaited.items() if each.asked <= 1]
        with contextlib.suppress(RpcError):  # if this fails, they have no outcome yet
            for at in range(0, len(early), _AT_ONCE):
                some = early[at : at + _AT_ONCE]
                await asyncio.gather(*(self._look(id, each) for id, each in some))

    async def _ask(self) -> None:
        """Polls the runs that are due."""
        while True:
            self._more.clear()
            pause = self._due[0][0] - time.monotonic() if self._due else None
            if pause is None or pause > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._more.wait(), pause)
                continue
            some: list[tuple[str, _Awaited]] = []
            while self._due and self._due[0][0] <= time.monotonic() and len(some) < _AT_ONCE:
                _, _, id = heapq.heappop(self._due)
                awaited = self._awaited.get(id)
                if awaited is not None and not self._is_over(id, awaited):
                    some.append((id, awaited))
            await asyncio.gather(*(self._look_again(id, awaited) for id, awaited in some))
            await asyncio.sleep(_BREATH * len(some))

    def _is_over(self, id: str, awaited: _Awaited) -> bool:
        if not awaited.waiting and time.monotonic() - awaited.left_at > _KEPT:
            del self._awaited[id]
            return True
        return awaited.outcome.done()

    async def _look_again(self, id: str, awaited: _Awaited) -> None:
        try:
            await self._look(id, awaited)
            awaited.outage = self._outage = None
        except RpcError as problem:
            self._note(problem, awaited)
        if not awaited.outcome.done():
            self._ask_later(id, awaited)

    async def _look(self, id: str, awaited: _Awaited) -> None:
        try:
            details = await self._reader.details(id)
            outcome = None if details is None else await self._cancelling.outcome(id, details)
            if details is not None and details.done and outcome is None:
                self._follow(id, awaited, details)
        except Oversized as oversized:
            self._settle(awaited, faulted(oversized.fault))
            return
        except RpcError:
            raise
        except Exception as problem:  # a bug that this run causes must not affect other runs
            _LOGGER.exception("run %s could not be read", id)
            self._settle(awaited, faulted(raised("", problem)))
            return
        if details is not None:
            if outcome is not None:
                self._settle(awaited, outcome, outcomes.last_of(details))
        elif awaited.was_missing:
            self._settle(awaited, faulted(unknown(id)))
        else:
            awaited.was_missing = True  # it may not be visible yet

    def _follow(self, id: str, awaited: _Awaited, details: GetRunDetailsResponse) -> None:
        """Waits for the run that ends a cancelled call."""

        async def follow() -> None:
            with contextlib.suppress(RpcError):
                run = await self._cancelling.pending(details, id)
                outcome = None if run is None else await self.outcome(run)
                if outcome is not None:
                    self._settle(awaited, outcome)

        if id not in self._following:
            task = self._following[id] = asyncio.create_task(follow())
            task.add_done_callback(lambda _: self._following.pop(id))

    def _note(self, problem: RpcError, awaited: _Awaited) -> None:
        """Handles a failed poll.

        If polls of this run keep failing, its callers get a fault. If all polls fail, all callers
        do.
        """
        outage = self._outage = self._outage or Patience()
        awaited.outage = awaited.outage or Patience()
        if concerns_all(problem) or (is_temporary(problem) and outage.is_exhausted):
            self._break(problem)
        elif not is_temporary(problem) or awaited.outage.is_exhausted:
            self._settle(awaited, faulted(self._client.fault(problem)))

    def _break(self, problem: RpcError) -> None:
        if self._broken is not None:
            self._broken.set_exception(problem)
            self._broken.exception()  # so that it does not warn if there is no caller
            self._wake_waiters()
            self._broken = None

    async def _listen(self) -> None:
        """Reads the stream of ended runs, and opens it again when it breaks."""
        while True:
            while not self._asked_for.empty():  # all of them are in `_awaited`
                self._asked_for.get_nowait()
            stream = self._client.subscribe()
            writer = asyncio.create_task(self._write(stream, list(self._awaited)))
            try:
                async for event in stream:
                    await self._arrived(event)
            except RpcError:
                pass  # the polls will fail too, and handle it
            finally:
                writer.cancel()
                stream.cancel()
            await asyncio.sleep(0.5)

    async def _write(self, stream: _Stream, ids: list[str]) -> None:
        with contextlib.suppress(RpcError, asyncio.InvalidStateError):
            for id in ids:
                await stream.write(SubscribeToWorkflowRunsRequest(workflow_run_id=id))
            while True:
                id = await self._asked_for.get()
                await stream.write(SubscribeToWorkflowRunsRequest(workflow_run_id=id))

    async def _arrived(self, event: WorkflowRunEvent) -> None:
        self._outage = None
        id = event.workflow_run_id
        awaited = self._awaited.get(id)
        if awaited is None or awaited.outcome.done():
            return
        outcome = outcomes.of_event(event.results)
        if outcome is not None:
            self._settle(awaited, outcome, outcomes.last_of_event(event.results))
        else:
            with contextlib.suppress(RpcError):
                await self._look(id, awaited)
            if not awaited.outcome.done():
                awaited.asked = 0  # the run has ended, so its details will follow soon
                self._ask_later(id, awaited)
