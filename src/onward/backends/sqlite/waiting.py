"""Runs the sleeps of a job and its waits for signals: no slot is held, and soon no worker."""

from __future__ import annotations

import asyncio
import contextlib
from sqlite3 import Connection

from onward.backends.sqlite import signals
from onward.backends.sqlite.jobs import Job
from onward.backends.sqlite.signals import Wait
from onward.backends.sqlite.steps import Host, StepRunner
from onward.outcome import Outcome
from onward.plan import Waiting

_LONGEST = 3600.0
"""How long a wait goes without a look, in seconds."""


class WaitRunner:
    """Runs the waits of one job, for the evaluator.

    Args:
        host: The worker.
        job: The job.
        steps: What knows the outcomes that were written down.
    """

    def __init__(self, host: Host, job: Job, steps: StepRunner) -> None:
        self._host = host
        self._job = job
        self._steps = steps

    async def __call__(self, node: Waiting, where: str, /) -> Outcome:
        """See `onward.evaluate.Wait`."""
        outcome = await self._steps.known(where)
        if outcome is not None:
            return outcome
        with self._host.arrivals(self._job, where) as arrived:
            while True:
                arrived.clear()
                wait = await self._look(node, where)
                if wait.outcome is not None:
                    return wait.outcome
                left = max(0.0, wait.due - self._host.clock.now())
                with self._job.asleep(wait.due), contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(left, _LONGEST)):
                        await arrived.wait()

    async def _look(self, node: Waiting, where: str) -> Wait:
        found: list[Wait] = []

        def look(db: Connection) -> bool:
            clock, name = self._host.clock, self._host.name
            wait = signals.look(db, self._job.claimed, node, where, clock, name)
            found[:] = [] if wait is None else [wait]  # it may be done again
            return wait is not None

        await self._host.write(self._job, look)
        return found[0]
