"""Runs a step with its retries, on an event loop for steps.

It is not the loop of the worker's heartbeats, which a step that blocks its loop would stop.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time

from onward.attempt import Attempts
from onward.backend.loop import LoopThread
from onward.backend.support import step_context
from onward.backends.hatchet.message import origin_of
from onward.backends.hatchet.progress import Reporter
from onward.catalog import Tasks
from onward.execute import retried
from onward.outcome import Outcome
from onward.plan import Args, Plan, Runnable


class StepRunner:
    """Runs the steps of a catalog's tasks.

    Args:
        tasks: The tasks that may run.
    """

    def __init__(self, tasks: Tasks) -> None:
        self.tasks: Tasks = tasks
        """The tasks that may run."""
        self._attempts = Attempts(tasks)
        self._thread = LoopThread("onward-hatchet-steps")

    async def run(
        self,
        step: Runnable,
        args: Args,
        plan: Plan,
        *,
        call: str,
        at: str,
        reporter: Reporter,
        is_cancelled: threading.Event,
        only: int = 0,
    ) -> Outcome:
        """Runs a step with its retries.

        Args:
            step: The step.
            args: The step's arguments.
            plan: The plan that the step belongs to.
            call: The call's id.
            at: The step's path in the call.
            reporter: Reports the step's attempts and progress.
            is_cancelled: Set when the step is cancelled.
            only: The only attempt to make; 0 for all of them.
        """

        async def once(attempt: int) -> Outcome:
            context = step_context(
                step,
                call=origin_of(plan, call),
                flow=plan.flow,
                path=at,
                attempt=attempt,
                key=plan.key,
                deadline=plan.deadline,
                trace=plan.trace,
                report=reporter.report,
                is_cancelled=is_cancelled.is_set,
            )
            began, outcome = time.time(), None
            try:
                made = outcome = await self._attempts.make(step, args, context, reporter.on_attempt)
            finally:
                reporter.ends(context, began, outcome)
            return made

        if only:
            return await self._thread.run(lambda: once(only))
        return await self._thread.run(lambda: retried(step, once, asyncio.sleep, random.random))

    def close(self) -> None:
        """Cancels async steps. The thread of a sync step runs on: Python cannot stop it."""
        self._thread.close()
        del self._attempts  # this also ends its idle threads
