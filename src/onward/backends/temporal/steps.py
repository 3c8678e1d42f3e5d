"""Runs one step, as a Temporal activity."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import random
import time
from collections.abc import Generator, Sequence
from datetime import timedelta

from msgspec import MsgspecError
from msgspec.structs import replace
from temporalio import activity
from temporalio.common import RawValue

from onward.attempt import Attempts
from onward.backend.support import expired, step_context
from onward.backends.temporal import limit_message, probe
from onward.backends.temporal.converter import raw_value
from onward.backends.temporal.errors import StepError, failure
from onward.backends.temporal.message import (
    Heartbeat,
    StepMessage,
    args_of,
    checked,
    decode_heartbeat,
    decode_step,
    encode,
    foreign,
    omitted,
)
from onward.backends.temporal.places import PlaceKeeper
from onward.catalog import Catalog
from onward.context import Context, Progress
from onward.execute import is_retried
from onward.fault import Lost
from onward.outcome import Faulted, Outcome, Value, faulted
from onward.plan import Args

EVERY = 1.0
"""The interval of a step's heartbeats, by which its worker also learns of a cancel, in seconds."""

_LOGGER = logging.getLogger("onward.temporal")


class StepRunner:
    """Runs the steps of a catalog's tasks, each as an activity with the task's name."""

    def __init__(self, catalog: Catalog, places: PlaceKeeper) -> None:
        self._places = places
        self._attempts = Attempts(catalog.tasks)
        self._tasks = catalog.tasks
        self._running: set[asyncio.Task[object]] = set()
        self._is_stopping = False

    @activity.defn(dynamic=True)
    async def run(self, args: Sequence[RawValue]) -> RawValue:
        """Makes an attempt at a step. The arguments are the step's values and a `StepMessage`."""
        info = activity.info()
        if info.activity_type == probe.NAME and not args:
            return probe.answer(self._tasks)
        if info.activity_type == limit_message.TYPE:
            return await self._places.answer(args)
        *values, last = [each.payload.data for each in args] or [b""]
        try:
            message = decode_step(last)
            step_args = args_of(values, message.keyword)
        except (MsgspecError, ValueError) as problem:
            raise _logged(info.activity_type, foreign(info.activity_type, problem)) from None
        missing = omitted(args, message.name)
        if missing is not None and not isinstance(missing, Value):
            raise _logged(message.name, missing)
        reported = [decode_heartbeat(raw) for raw in info.heartbeat_details]
        attempt = reported[0].attempt if reported else message.attempt
        heartbeats = Heartbeater(
            Heartbeat(attempt, message.name, message.at), info.heartbeat_timeout
        )
        try:
            with self._tracked():
                outcome = await self._attempt(message, step_args, heartbeats)
        except asyncio.CancelledError:
            if not self._is_reassigned():
                if message.step.limit is not None:
                    await self._places.leave(message, message.step.limit, step_args)
                raise
            lost = Lost(message.name, "its worker stopped before it had an outcome")
            raise failure(faulted(lost), retry_after=0) from None
        fits = checked(outcome, message.name)
        if fits is not outcome:
            raise _logged(message.name, fits)
        if isinstance(outcome, Value):
            return raw_value(outcome.raw)
        step = message.step
        if step.limit is not None or not is_retried(step, outcome, attempt):
            raise failure(outcome)  # of a step with a limit, its workflow makes the next attempt
        wait = step.backoff.delay(attempt, random.random())
        if message.deadline is not None and time.time() + wait >= message.deadline:
            raise failure(faulted(expired(message.flow)))
        heartbeats.send(Heartbeat(attempt + 1))
        raise failure(outcome, retry_after=wait)

    async def _attempt(self, message: StepMessage, args: Args, heartbeats: Heartbeater) -> Outcome:
        if message.deadline is not None and message.deadline <= time.time():
            return faulted(expired(message.flow))
        context = step_context(
            message.step,
            call=message.call,
            flow=message.flow,
            path=message.at,
            attempt=heartbeats.latest.attempt,
            key=message.key,
            deadline=message.deadline,
            trace=message.trace,
            report=heartbeats.report,
        )
        with heartbeats.running():
            if message.step.limit is not None:
                await self._places.begin(message, message.step.limit, args)
            return await self._attempts.make(message.step, args, context, heartbeats.on_attempt)

    @contextlib.contextmanager
    def _tracked(self) -> Generator[None]:
        running = asyncio.current_task()
        assert running is not None
        self._running.add(running)
        try:
            yield
        finally:
            self._running.discard(running)

    def _is_reassigned(self) -> bool:
        """Whether another worker takes over an interrupted step, rather than the call ending."""
        details = activity.cancellation_details()
        return self._is_stopping if details is None else details.not_found or details.timed_out

    @property
    def running(self) -> int:
        """How many steps run."""
        return len(self._running)

    def give_up(self) -> None:
        """Ends the running steps, so that other workers take them over."""
        self._is_stopping = True
        for running in self._running:
            running.cancel()


def _logged(name: str, outcome: Outcome) -> StepError:
    """Logs a failure outside of an attempt, and makes the error that Temporal shows."""
    assert not isinstance(outcome, Value)
    if isinstance(outcome, Faulted):
        _LOGGER.error("%s failed: %s", name, outcome.fault.message)
    return failure(outcome)


class Heartbeater:
    """Sends a step's heartbeats, by which its worker also learns of a cancellation."""

    def __init__(self, first: Heartbeat, timeout: timedelta | None) -> None:
        self.latest: Heartbeat = first
        self._pause = EVERY if timeout is None else min(EVERY, timeout.total_seconds() / 3)
        self._loop = asyncio.get_running_loop()
        # The SDK finds the activity in a context variable.
        self._variables = contextvars.copy_context()
        self._is_due = False

    @contextlib.contextmanager
    def running(self) -> Generator[None]:
        """Sends heartbeats while this is entered."""
        job = asyncio.create_task(self._run())
        try:
            yield
        finally:
            job.cancel()

    def on_attempt(self, context: Context) -> None:
        """Notes the task that starts. A fused step has several."""
        self.latest = replace(self.latest, task=context.task, step=context.step, progress=None)

    def report(self, progress: Progress) -> None:
        """Sends a task's progress, from any thread. Of several reports, the last is sent."""
        self.latest = replace(self.latest, progress=progress)
        if not self._is_due:
            self._is_due = True
            with contextlib.suppress(RuntimeError):  # the loop is closed; the thread runs on
                self._loop.call_soon_threadsafe(self._report, context=self._variables)

    def send(self, heartbeat: Heartbeat) -> None:
        """Sends a heartbeat at once."""
        activity.heartbeat(encode(heartbeat))

    def _report(self) -> None:
        self._is_due = False
        self.send(self.latest)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._pause)
            self.send(self.latest)
