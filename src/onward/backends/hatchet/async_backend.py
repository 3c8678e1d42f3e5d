"""The async backend: the whole backend on one event loop, with one connection."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime

from hatchet_sdk.contracts.v1.workflows_pb2 import GetRunDetailsResponse, RunStatus
from msgspec import Raw
from returns.result import Failure, Result, Success

from onward.backend import (
    CallPage,
    CallQuery,
    Diagnosis,
    HistoryPage,
    Schedule,
    Scheduled,
    State,
    Status,
    Submission,
    Worker,
    state_of,
)
from onward.backend.support import is_cancelling
from onward.backends.hatchet import diagnose, limits, names, outcomes, retention
from onward.backends.hatchet.calls import Calls
from onward.backends.hatchet.connection import Connection
from onward.backends.hatchet.errors import RpcError, unknown
from onward.backends.hatchet.history import Histories
from onward.backends.hatchet.message import input_of
from onward.backends.hatchet.progress import last_note
from onward.backends.hatchet.reader import Oversized
from onward.backends.hatchet.schedules import Crons
from onward.backends.hatchet.settings import Settings
from onward.backends.hatchet.worker import HatchetWorker
from onward.catalog import Catalog
from onward.fault import Fault, Moved, Unavailable, Unknown
from onward.outcome import Outcome, one_of
from onward.plan import Plan, StepNode

_UNDER_WAY = (RunStatus.RUNNING, RunStatus.EVICTED)

_PATIENCE = 3.0
"""How long a submit is retried while the engine is away, in seconds."""

_LOOKS = 0.25
"""The pause between attempts to submit a task that no worker has declared, in seconds."""

_AT_ONCE = 1000
"""How many calls are prepared at the same time."""

_FREES = 0.02
"""The pause between looks whether a key is free, in seconds."""

_AGAIN = 1.0
"""The pause before a run is cancelled again, in seconds."""

_SETTLES = 10.0
"""How long the engine may take to record that a run is cancelled, in seconds."""


class AsyncHatchetBackend:
    """The backend for callers on its own event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection = Connection(settings)
        self._closing = asyncio.get_running_loop().create_task(self._close_at_the_end())
        self._crons = Crons(self._connection.http, settings.tenant, settings.prefix)

    async def submit(self, submission: Submission, /) -> Result[str, Fault]:
        """See `AsyncBackend.submit`."""
        return await self._submit(submission, submission.plan.id)

    async def submit_unique(self, submission: Submission, /) -> Result[str, Fault]:
        """See `AsyncSubmitsUnique.submit_unique`."""
        unique = submission.unique
        assert unique is not None  # see `SubmitsUnique`
        end = time.monotonic() + _SETTLES
        while True:
            started = await self._submit(submission, f"unique {unique.slot}", names.UNIQUE)
            if isinstance(started, Failure):
                return started
            id = started.unwrap()
            try:
                if not await self._is_earlier_and_ended(id, submission.plan.id):
                    return started
            except RpcError as problem:
                return Failure(self._connection.client.fault(problem))
            # The engine frees the key of a call a moment after the call has ended.
            if time.monotonic() >= end:
                message = f"the engine still keeps the key of call {id}, which has ended"
                return Failure(Unavailable(submission.plan.flow, message))
            await asyncio.sleep(_FREES)

    async def _is_earlier_and_ended(self, id: str, own: str) -> bool:
        """Whether a run is that of another plan than `own`, and has ended."""
        try:
            details = await self._connection.reader.details(id)
            if details is None:
                return False
            input_plan = outcomes.input_and_plan(details)
            if input_plan is not None and input_plan[1].id == own:
                return False
            return details.done or await self._connection.reader.outcome(details) is not None
        except Oversized:  # a run that is too large to be read has values of steps
            return True

    async def _submit(
        self, submission: Submission, key: str, workflow: str | None = None
    ) -> Result[str, Fault]:
        plan, delay = submission.plan, submission.delay
        wrong = self._fault_in(plan)
        if wrong is not None:
            return Failure(wrong)
        start = time.time() + delay if delay else 0.0
        submitter = self._connection.submitter
        end = time.monotonic() + self._settings.undeclared
        while True:
            run_input = input_of(plan, start=start)
            started = await submitter.start(
                plan, run_input, key, workflow=workflow, patience=_PATIENCE
            )
            is_unknown = isinstance(started, Failure) and isinstance(started.failure(), Unknown)
            if not is_unknown or time.monotonic() >= end:
                return started
            await asyncio.sleep(_LOOKS)  # a worker that declares it may be starting

    async def submit_all(self, submissions: Iterable[Submission], /) -> Result[list[str], Fault]:
        """See `AsyncBackend.submit_all`."""
        ids: list[str] = []
        coming = iter(submissions)
        while some := list(itertools.islice(coming, _AT_ONCE)):
            # Runs that start in one turn of the loop go to the engine in one request.
            for answer in await asyncio.gather(*map(self.submit, some)):
                if isinstance(answer, Failure):
                    return answer
                ids.append(answer.unwrap())
        return Success(ids)

    async def outcome(
        self, id: str, /, timeout: float | None = None
    ) -> Result[Outcome | None, Fault]:
        """See `AsyncBackend.outcome`."""
        return one_of(await self.settled([id], timeout), id)

    async def settled(
        self, ids: Collection[str], /, timeout: float | None = None
    ) -> Result[Mapping[str, Outcome], Fault]:
        """See `AsyncBackend.settled`."""
        try:
            return Success(await self._connection.waiter.settled(ids, timeout))
        except RpcError as problem:
            return Failure(self._connection.client.fault(problem))

    async def status(self, id: str, /) -> Result[Status, Fault]:
        """See `AsyncBackend.status`."""
        try:
            details = await self._connection.reader.details(id)
            if details is None:
                return Failure(unknown(id))
            outcome = await self._connection.cancelling.outcome(id, details)
        except RpcError as problem:
            return Failure(self._connection.client.fault(problem))
        except Oversized as oversized:
            return Failure(oversized.fault)
        if outcome is not None:
            return Success(self._status_of_ended(details, state_of(outcome)))
        return Success(await self._status_of_pending(details))

    @staticmethod
    def _status_of_ended(details: GetRunDetailsResponse, state: State) -> Status:
        last = outcomes.last_of(details)
        if last is not None:
            attempt = int(last.attempt) if last.attempt.isdecimal() else 0
            return Status(state, last.task, last.step, attempt)
        return Status(state)

    async def _status_of_pending(self, details: GetRunDetailsResponse) -> Status:
        if outcomes.is_without_result(details):
            return Status("queued")  # the engine may deliver it once more
        if details.done:  # it was cancelled, and its cleanups run
            for task in details.task_runs.values():
                note = await last_note(self._connection.http, task.external_id)
                if note is not None:
                    return Status("cancelling", note.task, note.step, note.attempt, note.progress)
            return Status("cancelling")
        running = [task for task in details.task_runs.values() if task.status in _UNDER_WAY]
        input_plan = outcomes.input_and_plan(details)
        if not running or input_plan is None or input_plan[0].start > time.time():
            done = any(task.status == RunStatus.COMPLETED for task in details.task_runs.values())
            return Status("running" if done else "queued")
        for task in running:
            note = await last_note(self._connection.http, task.external_id)
            if note is not None and note.waits:
                until = None if note.until is None else datetime.fromtimestamp(note.until, UTC)
                return Status(
                    "waiting", step=note.step, signal=note.signal, until=until, limit=note.limit
                )
            if note is not None:
                return Status("running", note.task, note.step, note.attempt, note.progress)
        root = input_plan[1].root
        if isinstance(root, StepNode):
            return Status("running", root.task, "0", 1)
        return Status("running")

    async def cancel(self, id: str, /) -> Result[None, Fault]:
        """See `AsyncCancels.cancel`."""
        end = time.monotonic() + _SETTLES
        try:
            details = await self._connection.reader.details(id)
            if details is None:
                return Failure(unknown(id))
            if await self._has_ended(details):
                return Success(None)
            found = outcomes.input_and_plan(details)
            if found is not None and outcomes.is_cleaned_up(*found):
                started = await self._connection.cancelling.run_for(
                    found[1], id, patience=_PATIENCE
                )
                if isinstance(started, Failure):
                    return Failure(started.failure())
            await self._connection.client.cancel([id])
            if found is not None and details.is_evicted:  # so no worker has it
                await self._connection.signals.end_all(found[1], id)
            again = time.monotonic() + _AGAIN
            while not await self._has_ended(details) and time.monotonic() < end:
                await asyncio.sleep(0.02)
                if time.monotonic() >= again:
                    # The engine loses the cancel of a run that it delivers again just then.
                    again += _AGAIN
                    await self._connection.client.cancel([id])
                details = await self._connection.reader.details(id) or details
        except Oversized:  # a run that is too large to be read has values of steps
            return Success(None)
        except RpcError as problem:
            return Failure(self._connection.client.fault(problem))
        return Success(None)

    async def give_up(self, id: str, moved: Moved, /) -> Result[None, Fault]:
        """See `AsyncMoves.give_up`."""
        try:
            details = await self._connection.reader.details(id)
            found = None if details is None else outcomes.input_and_plan(details)
            if details is None or found is None:
                return Failure(unknown(id))
            if await self._connection.cancelling.outcome(id, details) is not None:
                return Success(None)
            plan = found[1]
            if details.done:
                return Failure(is_cancelling(plan.flow))
            noted = await self._connection.moved.note(plan, id, moved)
            if isinstance(noted, Failure):
                return noted
            await self._connection.cancelling.stop(id)
            if details.is_evicted:  # so no worker has it
                await self._connection.signals.end_all(plan, id)
        except RpcError as problem:
            return Failure(self._connection.client.fault(problem))
        except Oversized as oversized:
            return Failure(oversized.fault)
        return Success(None)

    async def _has_ended(self, details: GetRunDetailsResponse) -> bool:
        """Whether the engine delivers a run no more."""
        if not outcomes.is_without_result(details):
            return details.done or outcomes.of_details(details) is not None
        return await self._connection.reader.outcome(details) is not None

    async def history(
        self, id: str, /, after: str = "", limit: int = 1000
    ) -> Result[HistoryPage, Fault]:
        """See `AsyncHistories.history`."""
        return await Histories(self._connection, self.status).page(id, after, limit)

    async def calls(self, query: CallQuery, /, after: str = "") -> Result[CallPage, Fault]:
        """See `AsyncLists.calls`."""
        return await Calls(self._connection, self.status).page(query, after)

    async def find(self, id: str, /, timeout: float = 0.0) -> Result[str, Fault]:
        """See `AsyncFinds.find`."""
        return await Calls(self._connection, self.status).find(id, timeout)

    async def send(self, id: str, name: str, raw: Raw, /) -> Result[None, Fault]:
        """See `AsyncSignals.send`."""
        return await self._connection.signals.send(id, name, raw)

    async def serve(
        self,
        catalog: Catalog,
        /,
        *,
        concurrency: int | None = None,
        queues: Collection[str] | None = None,
    ) -> Result[Worker, Fault]:
        """See `AsyncBackend.serve`."""
        wrong = names.fault_of(catalog) or limits.unenforceable(catalog, self._settings.limits)
        if wrong is not None:
            return Failure(wrong)
        worker = HatchetWorker(self._connection, catalog, concurrency, queues)
        try:
            await self._put_rates()
            await worker.start()
        except RpcError as problem:
            return Failure(self._connection.client.fault(problem))
        except TimeoutError:
            message = "Hatchet did not answer while the worker started: check that it runs"
            return Failure(Unavailable("", message))
        return Success(worker)

    async def diagnose(self) -> Result[Diagnosis, Fault]:
        """See `AsyncDiagnoses.diagnose`."""
        return await diagnose.make_diagnosis(
            self._connection.client, self._connection.http, self._settings
        )

    async def schedule(self, schedule: Schedule, plan: Plan, /) -> Result[Schedule, Fault]:
        """See `AsyncSchedules.schedule`."""
        wrong = self._fault_in(plan)
        return Failure(wrong) if wrong is not None else await self._crons.put(schedule, plan)

    async def schedules(self) -> Result[list[Schedule], Fault]:
        """See `AsyncSchedules.schedules`."""
        return await self._crons.all()

    async def scheduled(self, name: str, /) -> Result[Scheduled, Fault]:
        """See `AsyncReadsSchedules.scheduled`."""
        return await self._crons.read(name)

    async def pause_schedule(self, name: str, /) -> Result[None, Fault]:
        """See `AsyncSchedules.pause_schedule`."""
        return await self._crons.enable(name, enabled=False)

    async def resume_schedule(self, name: str, /) -> Result[None, Fault]:
        """See `AsyncSchedules.resume_schedule`."""
        return await self._crons.enable(name, enabled=True)

    async def unschedule(self, name: str, /) -> Result[None, Fault]:
        """See `AsyncSchedules.unschedule`."""
        return await self._crons.remove(name)

    async def _put_rates(self) -> None:
        """Declares the rate limits to which the workflows of tasks refer."""
        for name, limit in self._settings.limits.items():
            if limit.rate is not None:
                key = limits.key(name, self._settings.prefix)
                await self._connection.client.put_rate_limit(key, limit.rate, limit.per)

    def _fault_in(self, plan: Plan) -> Fault | None:
        wrong = limits.faults_in(plan.root, self._settings.limits)
        return next(iter(wrong or retention.faults_in(plan, self._settings.keep)), None)

    async def _close_at_the_end(self) -> None:
        """Closes the connections when the loop ends and cancels this task."""
        try:
            await asyncio.Event().wait()
        finally:
            await self._connection.close()
