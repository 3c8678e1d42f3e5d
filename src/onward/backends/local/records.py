"""Records what happens in a call: its steps, their attempts, and its waits."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from onward.backend import AttemptRecord, Kind, StepRecord
from onward.context import moment
from onward.evaluate import Wait
from onward.fault import Cancelled
from onward.outcome import Outcome, faulted
from onward.plan import SleepNode, Waiting


@dataclass(slots=True)
class _Entry:
    """When something began, and how it ended."""

    began: float = field(default_factory=time.time)
    ended: float | None = None
    outcome: Outcome | None = None

    def end(self, outcome: Outcome) -> None:
        self.outcome, self.ended = outcome, time.time()

    async def over(self, work: Callable[[], Awaitable[Outcome]], task: str) -> Outcome:
        """Runs work, and records its outcome, also if it is interrupted."""
        try:
            outcome = await work()
        except asyncio.CancelledError:
            self.end(faulted(Cancelled(task, "it was interrupted")))
            raise
        self.end(outcome)
        return outcome


@dataclass(slots=True)
class _Step(_Entry):
    task: str = ""
    kind: Kind = "step"
    seconds: float | None = None
    attempts: list[_Entry] = field(default_factory=list)


class Records:
    """What has begun in one call, by path and in this order."""

    def __init__(self) -> None:
        self._steps: dict[str, _Step] = {}

    async def attempt(
        self, path: str, task: str, make: Callable[[], Awaitable[Outcome]]
    ) -> Outcome:
        """Makes an attempt at a step, and records it."""
        attempt = _Entry()
        if path not in self._steps:
            self._steps[path] = _Step(attempt.began, task=task)
        self._steps[path].attempts.append(attempt)
        return await attempt.over(make, task)

    async def step(self, path: str, task: str, run: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """Runs all attempts at a step, and records its outcome."""
        whole = _Entry()
        try:
            return await whole.over(run, task)
        finally:
            if path in self._steps and whole.outcome is not None:  # an attempt has begun
                self._steps[path].end(whole.outcome)

    def waits(self, wait: Wait) -> Wait:
        """A runner of waits that records them."""

        async def wait_and_record(node: Waiting, where: str, /) -> Outcome:
            if isinstance(node, SleepNode):
                step = _Step(kind="sleep", seconds=node.seconds)
            else:
                step = _Step(task=node.signal, kind="awaits", seconds=node.timeout)
            self._steps[where] = step
            return await step.over(lambda: wait(node, where), step.task)

        return wait_and_record

    def listed(self, start: int, limit: int) -> tuple[StepRecord, ...]:
        """The steps and waits that have begun, from an index on."""
        found = list(self._steps.items())[start : start + limit]
        return tuple(_record(path, step) for path, step in found)


def _record(path: str, step: _Step) -> StepRecord:
    return StepRecord(
        path,
        step.task,
        step.kind,
        step.outcome,
        tuple(
            AttemptRecord(
                number, moment(each.began), moment(each.ended), f"pid {os.getpid()}", each.outcome
            )
            for number, each in enumerate(step.attempts, 1)
        ),
        moment(step.began),
        moment(step.ended),
        None if step.seconds is None else moment(step.began + step.seconds),
    )
