"""Running a step: its attempts, on an event loop of their own.

A step that blocks its loop must not stop the worker's heartbeats.
"""

from __future__ import annotations

import asyncio
import random
import threading

from onward.attempt import Attempts
from onward.backend.loop import LoopThread
from onward.backend.support import step_context
from onward.backends.hatchet.progress import Reporter
from onward.catalog import Tasks
from onward.execute import retried
from onward.outcome import Outcome
from onward.plan import Args, Plan, Runnable


class Steps:
    """Runs the steps of a catalog's tasks.

    Args:
        tasks: The tasks that may be run.
    """

    def __init__(self, tasks: Tasks) -> None:
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
        given_up: threading.Event,
    ) -> Outcome:
        """Runs a step with its retries.

        Args:
            step: The step.
            args: Its arguments.
            plan: The plan that it belongs to.
            call: The call's id.
            at: The step's place in the call.
            reporter: Takes its progress.
            given_up: Is set once the step is cancelled.
        """

        async def once(attempt: int) -> Outcome:
            context = step_context(
                step,
                call=call,
                flow=plan.flow,
                path=at,
                attempt=attempt,
                key=plan.key,
                deadline=plan.deadline,
                trace=plan.trace,
                report=reporter.says,
                is_cancelled=given_up.is_set,
            )
            try:
                return await self._attempts.make(step, args, context, reporter.begins)
            finally:
                reporter.ends(context)

        return await self._thread.run(lambda: retried(step, once, asyncio.sleep, random.random))

    def close(self) -> None:
        """Cancels async steps; the thread of a sync step goes on, because Python cannot stop it."""
        self._thread.close()
        del self._attempts  # also ends its idle threads
