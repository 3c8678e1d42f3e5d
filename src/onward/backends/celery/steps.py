"""Runs one step, in a worker's thread."""

from __future__ import annotations

from onward.attempt import Attempts, ThreadExecutor
from onward.catalog import Tasks
from onward.context import Context
from onward.coroutines import drive
from onward.interrupt import Interrupt
from onward.outcome import Outcome
from onward.plan import Args, Runnable


class StepRunner:
    """Runs steps: sync tasks in the worker's thread, async tasks on a loop that all threads share.

    Args:
        tasks: The tasks that may run.
    """

    def __init__(self, tasks: Tasks) -> None:
        self.tasks = tasks
        self._executor = ThreadExecutor()
        self._attempts = Attempts(tasks, self._executor)

    def attempt(
        self, step: Runnable, args: Args, context: Context, interrupt: Interrupt
    ) -> Outcome:
        """Makes one attempt at a step, and ends it after its timeout; raises `Interrupted`."""
        return interrupt.within(lambda: drive(self._attempts.make(step, args, context)))

    def close(self) -> None:
        """Ends the loop."""
        self._executor.close()
