"""Claims as many jobs for a worker as it has slots."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from functools import partial
from sqlite3 import Connection

from onward.backend.support import Echo
from onward.backends.sqlite import claim
from onward.backends.sqlite.claim import Claimed, Outlook
from onward.backends.sqlite.errors import PROBLEMS, Refused
from onward.backends.sqlite.jobs import Runtime
from onward.backends.sqlite.resources import Resources, Serving

_AGAIN = 0.5
"""How long to wait before an unusable file is tried again, in seconds."""

_RESTART = 0.1
"""How long to wait before it starts again after a step has cancelled it, in seconds."""

_LONGEST = 3600.0
"""How long it waits for what is due, in seconds, before it looks again."""


class Claimer:
    """Claims jobs whenever it is woken, on the running event loop.

    Args:
        resources: What the worker works with.
        serving: What it serves.
        runtime: Where its steps run.
        begin: Takes what was taken up.
    """

    def __init__(
        self,
        resources: Resources,
        serving: Serving,
        runtime: Runtime,
        begin: Callable[[Claimed], None],
    ) -> None:
        self._resources = resources
        self._serving = serving
        self._runtime = runtime
        self._begin = begin
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._claims = itertools.count(1)
        self._is_closed = False
        self._was_full = False
        self._timer: asyncio.TimerHandle | None = None
        self._echo = Echo(self._ask)
        runtime.freed = self._freed
        self._start()

    def _start(self) -> None:
        if not self._is_closed:
            self._task = self._loop.create_task(self._run())
            self._task.add_done_callback(self._has_ended)
            self._wake.set()

    def _has_ended(self, _: object) -> None:
        # A step may cancel all that runs on its loop. So does a loop that ends, but in less time.
        self._loop.call_later(_RESTART, self._start)

    def wake(self) -> None:
        """Wakes it up to look for jobs."""
        self._wake.set()

    def silent(self) -> float:
        """How long it has not answered a request to look for jobs, in seconds, on any thread."""
        return self._echo.silent()

    def _ask(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._wake.set)

    async def close(self) -> None:
        """Claims no more jobs, and waits for the claim that is under way."""
        self._is_closed = True
        self._wake.set()
        await asyncio.wait([self._task])
        if self._timer is not None:
            self._timer.cancel()

    def _freed(self) -> None:
        if self._was_full:
            self._wake.set()

    async def _run(self) -> None:
        while not self._is_closed:
            try:
                await self._wake.wait()
                self._wake.clear()
                await self._take_all()
                self._echo.heard()
            except (*PROBLEMS, Refused) as problem:
                self._resources.outage.fails(problem)
                self._loop.call_later(_AGAIN, self._wake.set)

    async def _take_all(self) -> None:
        is_flowing = False
        while not self._is_closed:
            free = self._runtime.free
            self._was_full = self._resources.wakeup.is_unneeded = free <= 0
            if free <= 0:
                return
            if not is_flowing:
                # A look locks nothing, and mostly there is nothing.
                outlook = await self._resources.reads.on_loop(self._look)
                if not outlook.is_free:
                    self._wait_for(outlook.due)
                    return
            take = partial(self._take, number=next(self._claims), most=free)
            taken = await self._resources.commits.on_loop(take, is_durable=False)
            self._resources.outage.works()
            self._resources.wakeup.hurry()
            for claimed in taken:
                self._begin(claimed)
            if not taken:  # others were faster, or have taken over from this worker
                return
            is_flowing = len(taken) == free

    def _look(self, db: Connection) -> Outlook:
        return claim.look(db, self._serving.queues, self._resources.file.clock.now())

    def _take(self, db: Connection, number: int, most: int) -> list[Claimed]:
        queues = self._serving.queues
        first = number % len(queues)  # so that no queue always comes last
        turned = (*queues[first:], *queues[:first])
        now = self._resources.file.clock.now()
        return claim.take(db, self._serving.id, number, turned, most, now)

    def _wait_for(self, due: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None:
            left = max(0.0, due - self._resources.file.clock.now())
            self._timer = self._loop.call_later(min(left, _LONGEST), self._wake.set)
