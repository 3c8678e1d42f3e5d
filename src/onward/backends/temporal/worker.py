"""The worker's side: activities that make attempts at steps, and the workflow beside them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import logging
import random
import threading
import time
from collections.abc import Generator, Sequence
from datetime import timedelta

from msgspec import MsgspecError
from msgspec.structs import replace
from temporalio import activity
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from onward.attempt import Attempts
from onward.backends.temporal import probe
from onward.backends.temporal.client import PROMPT
from onward.backends.temporal.converter import bounded, value
from onward.backends.temporal.message import (
    Beat,
    StepError,
    Ticket,
    args_of,
    checked,
    expired,
    failure,
    omitted,
    read_beat,
    read_ticket,
    unreadable,
    write,
)
from onward.backends.temporal.workflow import FlowWorkflow
from onward.catalog import Catalog
from onward.context import Context, Progress, moment
from onward.execute import is_retried
from onward.fault import Lost
from onward.outcome import Faulted, Outcome, Value, faulted
from onward.plan import Args

_PULSE = 1.0
"""How often a worker says that it is at a step, and hears if it is not wanted, in seconds."""

_PATIENCE = timedelta(days=1)
"""How long the SDK lets a stopping worker go on; it is told itself when that is over."""

_STUCK = 60
"""How long a workflow may compute without a break, in seconds."""

_PARTING = 5.0
"""How long what is then given back may take, in seconds."""

_LOGGER = logging.getLogger("onward.temporal")


class _WithoutSteps(logging.Filter):
    """Drops what the SDK says of a step that failed: the maker of the attempt has said it."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], StepError))


_WITHOUT_STEPS = _WithoutSteps()


class Carrier:
    """Runs the steps of a catalog's tasks, each as an activity of the task's name."""

    def __init__(self, catalog: Catalog) -> None:
        self._attempts = Attempts(catalog.tasks)
        self._tasks = catalog.tasks
        self._running: set[asyncio.Task[object]] = set()
        self._leaves = False

    @activity.defn(dynamic=True)
    async def run(self, args: Sequence[RawValue]) -> RawValue:
        """Makes an attempt at a step; the arguments are its values and the ticket."""
        info = activity.info()
        if info.activity_type == probe.NAME and not args:
            return probe.answer(self._tasks)
        *values, last = [each.payload.data for each in args] or [b""]
        try:
            ticket = read_ticket(last)
            taken = args_of(values, ticket.keyword)
        except (MsgspecError, ValueError) as problem:
            raise _logged(info.activity_type, unreadable(info.activity_type, problem)) from None
        missing = omitted(args, ticket.name)
        if missing is not None and not isinstance(missing, Value):
            raise _logged(ticket.name, missing)
        said = [read_beat(raw) for raw in info.heartbeat_details]
        attempt = said[0].attempt if said else 1
        pulse = _Pulse(Beat(attempt, ticket.name, ticket.at), info.heartbeat_timeout)
        try:
            with self._noted():
                outcome = await self._attempt(ticket, taken, pulse)
        except asyncio.CancelledError:
            if not self._is_given_up():
                raise
            lost = Lost(ticket.name, "its worker stopped before it had an outcome")
            raise failure(faulted(lost), retry_after=0) from None
        fits = checked(outcome, ticket.name)
        if fits is not outcome:
            raise _logged(ticket.name, fits)
        if isinstance(outcome, Value):
            return value(outcome.raw)
        step = ticket.step
        if not is_retried(step, outcome, attempt):
            raise failure(outcome)
        wait = step.backoff.delay(attempt, random.random())
        if ticket.deadline is not None and time.time() + wait >= ticket.deadline:
            raise failure(faulted(expired(ticket.flow)))
        pulse.say(Beat(attempt + 1))
        raise failure(outcome, retry_after=wait)

    async def _attempt(self, ticket: Ticket, args: Args, pulse: _Pulse) -> Outcome:
        if ticket.deadline is not None and ticket.deadline <= time.time():
            return faulted(expired(ticket.flow))
        context = Context(
            id=ticket.call,
            task=ticket.name,
            step=ticket.at,
            attempt=pulse.beat.attempt,
            key=ticket.key,
            deadline=moment(ticket.deadline),
            report=pulse.report,
            trace=ticket.trace,
        )
        with pulse.going():
            return await self._attempts.make(ticket.step, args, context, pulse.begins)

    @contextlib.contextmanager
    def _noted(self) -> Generator[None]:
        running = asyncio.current_task()
        assert running is not None
        self._running.add(running)
        try:
            yield
        finally:
            self._running.discard(running)

    def _is_given_up(self) -> bool:
        """Whether nobody waits here for a step that was interrupted: to the SDK, it had failed."""
        asked = activity.cancellation_details()
        return self._leaves if asked is None else asked.not_found or asked.timed_out

    def give_back(self) -> None:
        """Ends what is still running, which is then another worker's."""
        self._leaves = True
        for running in self._running:
            running.cancel()


def _logged(name: str, outcome: Outcome) -> StepError:
    """A failure that is not of an attempt, as the error that Temporal shows."""
    assert not isinstance(outcome, Value)
    if isinstance(outcome, Faulted):
        _LOGGER.error("%s failed: %s", name, outcome.fault.message)
    return failure(outcome)


class _Pulse:
    """Says of a step that a worker is at it, and how far it is; hears if it is not wanted."""

    def __init__(self, beat: Beat, timeout: timedelta | None) -> None:
        self.beat = beat
        self._pause = _PULSE if timeout is None else min(_PULSE, timeout.total_seconds() / 3)
        self._loop = asyncio.get_running_loop()
        # Temporal knows by a context variable which activity is meant.
        self._variables = contextvars.copy_context()
        self._is_due = False

    @contextlib.contextmanager
    def going(self) -> Generator[None]:
        """While this lasts, it says so every now and then."""
        job = asyncio.create_task(self._go())
        try:
            yield
        finally:
            job.cancel()

    def begins(self, context: Context) -> None:
        """Takes note of a task that begins, in a fused step one after the other."""
        self.beat = replace(self.beat, task=context.task, step=context.step, progress=None)

    def report(self, progress: Progress) -> None:
        """Says how far a task is, from whichever thread; the latest counts."""
        self.beat = replace(self.beat, progress=progress)
        if not self._is_due:
            self._is_due = True
            with contextlib.suppress(RuntimeError):  # its worker is gone, and it goes on
                self._loop.call_soon_threadsafe(self._report, context=self._variables)

    def say(self, beat: Beat) -> None:
        """Says something at once."""
        activity.heartbeat(write(beat))

    def _report(self) -> None:
        self._is_due = False
        self.say(self.beat)

    async def _go(self) -> None:
        while True:
            await asyncio.sleep(self._pause)
            self.say(self.beat)


class TemporalWorker:
    """A worker on the backend's own event loop."""

    def __init__(
        self,
        client: Client,
        catalog: Catalog,
        task_queues: Sequence[str],
        flows: str,
        concurrency: int | None,
    ) -> None:
        self._carrier = Carrier(catalog)
        self._workers = [
            self._worker(client, queue, concurrency, has_flows=queue == flows)
            for queue in task_queues
        ]
        self._loop = asyncio.get_running_loop()
        self._ended = threading.Event()
        self._running = asyncio.create_task(self._run())

    def _worker(
        self, client: Client, task_queue: str, concurrency: int | None, *, has_flows: bool
    ) -> Worker:
        worker = Worker(
            client,
            task_queue=task_queue,
            activities=[self._carrier.run],
            workflows=[FlowWorkflow] if has_flows else [],
            # There is nobody's code in our workflow but ours: nothing to keep in a sandbox.
            workflow_runner=UnsandboxedWorkflowRunner(),
            max_concurrent_activities=concurrency,
            graceful_shutdown_timeout=_PATIENCE,
            max_heartbeat_throttle_interval=timedelta(seconds=_PULSE),
            # Who takes over from a worker that died need not wait for it.
            sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
        )
        if worker._workflow_worker is not None:
            # On a busy machine two seconds, the SDK's own limit, are soon over; and a workflow that
            # it took for stuck may stay so for good.
            worker._workflow_worker._deadlock_timeout_seconds = _STUCK
        return worker

    async def _run(self) -> None:
        runs = [asyncio.create_task(worker.run()) for worker in self._workers]
        try:
            await asyncio.wait(runs, return_when=asyncio.FIRST_COMPLETED)
            await self._shut_down()
            for run in runs:
                if problem := run.exception():
                    _LOGGER.error("a worker ended: %s", problem)
        finally:
            self._ended.set()

    async def _shut_down(self) -> None:
        await asyncio.gather(*(worker.shutdown() for worker in self._workers))

    def stop(self, grace: float = 30.0) -> None:
        """See `Worker.stop`."""
        if self._ended.is_set():
            return
        leaving = self._leave(grace)
        try:
            asyncio.run_coroutine_threadsafe(leaving, self._loop).result()
        except (RuntimeError, concurrent.futures.CancelledError):  # the backend was closed
            leaving.close()

    async def _leave(self, grace: float) -> None:
        leaving = asyncio.create_task(self._shut_down())
        await asyncio.wait([leaving], timeout=grace)
        self._carrier.give_back()
        await asyncio.wait([leaving, self._running], timeout=_PARTING)

    def wait(self, timeout: float | None = None) -> bool:
        """See `Worker.wait`."""
        return self._ended.wait(timeout)


async def start(
    client: Client,
    catalog: Catalog,
    task_queues: Sequence[str],
    flows: str,
    concurrency: int | None,
) -> TemporalWorker:
    """Starts a worker on this event loop; raises RPCError.

    Args:
        client: The connection.
        catalog: The tasks to run.
        task_queues: Where to take steps from.
        flows: From which of them to take workflows too.
        concurrency: How many steps run at a time from each.
    """
    await client.workflow_service.describe_namespace(
        DescribeNamespaceRequest(namespace=client.namespace), timeout=PROMPT
    )
    activity.logger.base_logger.addFilter(_WITHOUT_STEPS)
    config = client.config()
    config["data_converter"] = bounded(client.data_converter)
    return TemporalWorker(Client(**config), catalog, task_queues, flows, concurrency)
