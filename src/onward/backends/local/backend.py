"""The embedded backend, which implements `Backend` and all of its capabilities."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from returns.result import Result, Success

from onward.attempt import ThreadExecutor
from onward.backend import Schedule, Submission
from onward.backend.adapters import (
    BlockingCancels,
    BlockingForgets,
    BlockingLists,
    BlockingMoves,
    BlockingReadsSchedules,
    BlockingSignals,
    BlockingSubmitsUnique,
)
from onward.backend.features import NOTHING
from onward.backend.loop import LoopThread
from onward.backends.local.core import Core
from onward.backends.local.steps import needs_no_loop, releasing_slot, run_in_this_thread
from onward.catalog import Tasks
from onward.fault import Fault
from onward.opened import OpenResources
from onward.outcome import Outcome
from onward.plan import Plan

T = TypeVar("T")


class Local(
    BlockingCancels[Core],
    BlockingForgets[Core],
    BlockingLists[Core],
    BlockingMoves[Core],
    BlockingReadsSchedules[Core],
    BlockingSignals[Core],
    BlockingSubmitsUnique[Core],
):
    """The backend that `local()` returns."""

    lacks = NOTHING

    def __init__(self, core: Core) -> None:
        super().__init__(core, LoopThread("onward-local", end=core.end_cleanly))
        self._core = core
        self.resources: OpenResources = core.resources
        """The resources of the tasks that it runs, and of a worker that serves it."""
        self._here = ThreadExecutor()

    def __repr__(self) -> str:
        return f"local(workers={self._core.workers})"

    def _wait(self, start: Callable[[], Coroutine[Any, Any, Result[T, Fault]]]) -> Result[T, Fault]:
        return super()._wait(releasing_slot(self._core.runtime.slots, start))

    async def _await(
        self, start: Callable[[], Coroutine[Any, Any, Result[T, Fault]]]
    ) -> Result[T, Fault]:
        return await super()._await(releasing_slot(self._core.runtime.slots, start))

    def close(self) -> None:
        """Ends the calls that run, and closes resources."""
        super().close()
        self.resources.end()

    def run_here(self, submission: Submission, /) -> Result[Outcome, Fault]:
        """See `RunsHere.run_here`. A plain chain of sync tasks runs without a thread and a loop."""
        plan, tasks = submission.plan, submission.tasks
        is_at_once = plan.deadline is None and not submission.delay
        is_open = not self._thread.is_closed  # a closed loop answers below with a fault
        if tasks is not None and is_open and is_at_once and needs_no_loop(plan.root, tasks):
            return Success(self._run_at_once(plan, tasks))
        return self._wait(lambda: self._core.run_here(submission))

    def _run_at_once(self, plan: Plan, tasks: Tasks) -> Outcome:
        return run_in_this_thread(plan, tasks, self._here, self._core.runtime.without_slot)

    def schedule_here(
        self, schedule: Schedule, submission: Submission, /
    ) -> Result[Schedule, Fault]:
        """See `SchedulesHere.schedule_here`."""
        return self._wait(lambda: self._core.schedule_here(schedule, submission))
