"""What happened in a call: its steps and waits, from the runs that the engine keeps of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from hatchet_sdk.contracts.v1.workflows_pb2 import GetRunDetailsResponse
from msgspec import Raw, Struct
from msgspec.structs import replace
from returns.result import Failure, Result, Success

from onward.backend import CallRecord, HistoryPage, State, Status, StepRecord, state_of
from onward.backends.hatchet import marks, outcomes, step_records
from onward.backends.hatchet.calls import kind_of
from onward.backends.hatchet.connection import Connection
from onward.backends.hatchet.errors import RpcError, unknown
from onward.backends.hatchet.message import StepResult, cancelled, decode_result, origin_of
from onward.backends.hatchet.reader import Oversized
from onward.backends.hatchet.runs import CANCELLED, Run, RunDetails, RunPage, list_runs, read_run
from onward.backends.hatchet.wait_records import records_of_waits, signals_in
from onward.execute import is_retried
from onward.fault import BadPayload, Fault, Unavailable
from onward.outcome import Outcome, faulted
from onward.plan import Plan, Runnable, Waiting, has_cleanup, walk

T = TypeVar("T")

_AT_ONCE = 100
_BYTES_AT_ONCE = 64 * 1024 * 1024
"""How many runs to read with one request, and after how many bytes a page ends early."""

_LAGS = 10.0
_LOOKS = 0.1
"""How long the HTTP API may take to learn of a run, and the pause between looks, in seconds."""

_EARLIER = timedelta(minutes=1)
"""How much earlier than their call the HTTP API may date its parts."""


class _Call(Struct, frozen=True):
    """A call.

    Args:
        id: Its id.
        plan: Its plan.
        details: What the HTTP API has of its own run.
        steps: How many runs of steps it has at least.
        runs: How many runs belong to it at least.
        end: Until when to wait for the HTTP API to show them, on the monotonic clock.
    """

    id: str
    plan: Plan
    details: RunDetails
    steps: int
    runs: int
    end: float


class _Failed(Exception):
    """The HTTP API does not give what it should."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


class Histories:
    """Says what happened in calls.

    Args:
        connection: The connections to the engine.
        status: Returns the status of a call that has no outcome.
    """

    def __init__(
        self,
        connection: Connection,
        status: Callable[[str], Awaitable[Result[Status, Fault]]],
    ) -> None:
        self._connection = connection
        self._status = status

    async def page(self, id: str, after: str, limit: int) -> Result[HistoryPage, Fault]:
        """See `AsyncHistories.history`."""
        if after and not after.isdecimal():
            return Failure(BadPayload("", f"{after!r} is not the end of a page of a history"))
        try:
            return await self._page(id, int(after or 0), limit)
        except RpcError as problem:
            return Failure(self._connection.client.fault(problem))
        except Oversized as oversized:
            return Failure(oversized.fault)
        except _Failed as failed:
            return Failure(failed.fault)

    async def _page(self, id: str, after: int, limit: int) -> Result[HistoryPage, Fault]:
        details = await self._connection.reader.details(id)
        found = None if details is None else outcomes.input_and_plan(details)
        if details is None or found is None or found[0].call:
            why = None if details is None else outcomes.unread(details)
            return Failure(why or unknown(id))
        plan = found[1]
        outcome = await self._connection.cancelling.outcome(id, details)
        end = time.monotonic() + _LAGS
        run = await self._run(id, end, is_over=details.done)
        count = outcomes.runs_of(details)
        # A call with a cleanup has a run that says that it has begun.
        is_marked = has_cleanup(plan) and _has_begun(run.run, found[0].start)
        call = _Call(id, plan, run, count, count + is_marked, end)
        steps = [*await self._own(call, details)]
        signals: dict[str, Raw] = {}
        if any(isinstance(node, Waiting) for node in walk(plan.root)):
            rows = await self._all_rows(call)
            signals = signals_in(rows)
            steps += [step for row in rows if (step := await self._step(call, row)) is not None]
            ended = None if outcome is None else call.details.run.finished_at
            steps += await records_of_waits(plan, rows, steps, ended=ended)
            steps.sort(key=step_records.moment)
            end = after + limit
            more = str(end) if end < len(steps) else ""
            steps = steps[after:end]
        else:
            steps, more = await self._some(
                call, sorted(steps, key=step_records.moment), after, limit
            )
        record = await self._record(call, outcome)
        past = None if plan.past is None else replace(plan.past, origin=origin_of(plan, id))
        shown = replace(plan, id=id, past=past)
        own = "" if plan.key is None else plan.id
        return Success(HistoryPage(record, shown, tuple(steps), outcome, signals, more, own))

    async def _some(
        self, call: _Call, own: Sequence[StepRecord], after: int, limit: int
    ) -> tuple[list[StepRecord], str]:
        """Returns a page of the steps of a call, and where the next one begins."""
        steps = list(own[after : after + limit])
        at, size = after + len(steps), 0
        async for row in self._rows(call, max(0, after - len(own))):
            if len(steps) >= limit or size > _BYTES_AT_ONCE:
                return steps, str(at)
            step = await self._step(call, row)
            at, size = at + 1, size + len(bytes(row.output))
            if step is not None:
                steps.append(step)
        return steps, str(at) if at < len(own) else ""

    async def _run(self, id: str, end: float, *, is_over: bool) -> RunDetails:
        """Returns what the HTTP API has of a run, as soon as it knows as much as the gRPC API."""

        async def read() -> RunDetails | None:
            answer = await read_run(self._connection.http, id)
            if isinstance(answer, Failure):
                raise _Failed(answer.failure())
            return answer.unwrap()

        def is_enough(found: RunDetails | None) -> bool:
            return found is not None and (found.run.has_ended or not is_over)

        details = await _shown(read, is_enough, end)
        if details is None:
            raise _Failed(Unavailable("", f"Hatchet's HTTP API does not know the run {id}"))
        return details

    async def _all_rows(self, call: _Call) -> list[Run]:
        """The runs that belong to a call, once those of all its steps are shown."""

        async def read() -> list[Run]:
            return [row async for row in self._rows(call, 0)]

        return await _shown(read, lambda rows: sum(map(_is_of_step, rows)) >= call.steps, call.end)

    async def _rows(self, call: _Call, at: int) -> AsyncIterator[Run]:
        """The runs that belong to a call, from the first one on.

        The engine lists the newest first, and may get more of them meanwhile.
        """
        parent = ""
        newest = await _shown(
            lambda: self._list(call, parent, None, 0, 1),
            lambda page: page.pagination.num_pages >= call.runs,
            call.end,
        )
        if not newest.rows:  # an earlier release did not mark them
            parent = call.id
            newest = await self._list(call, parent, None, 0, 1)
        count = newest.pagination.num_pages
        while at < count:
            size = min(_AT_ONCE, count - at)
            page = await self._list(call, parent, newest.rows[0].created, count - at - size, size)
            for row in reversed(page.rows):
                yield row
            at += size

    async def _list(
        self, call: _Call, parent: str, until: datetime | None, offset: int, limit: int
    ) -> RunPage:
        listed = await list_runs(
            self._connection.http,
            self._connection.settings.tenant,
            [] if parent else [f"{marks.OF}:{call.id}"],
            since=call.details.run.created - _EARLIER,
            until=until,
            parent=parent,
            offset=offset,
            limit=limit,
            has_payloads=True,
        )
        if isinstance(listed, Failure):
            raise _Failed(listed.failure())
        return listed.unwrap()

    async def _own(self, call: _Call, details: GetRunDetailsResponse) -> list[StepRecord]:
        """The steps that the call's own run has: all of a DAG, or the only one."""
        steps: list[StepRecord] = []
        for task in call.details.tasks:
            name = call.details.name_of.get(task.task_external_id, "")
            place = step_records.place(call.plan, name, self._connection.settings.prefix)
            if place is None:
                continue
            seen = details.task_runs.get(name)
            result = step_records.result_of(task)
            if details.done and seen is not None:
                result = decode_result(seen.output) or decode_result(seen.error)
            outcome = await self._own_outcome(call, task, result, details)
            step = step_records.of_run(*place, call.plan.flow, task, outcome, result)
            if step is not None:
                steps.append(step)
        return steps

    async def _own_outcome(
        self, call: _Call, task: Run, result: StepResult | None, details: GetRunDetailsResponse
    ) -> Outcome | None:
        if result is not None:
            kept = self._connection.reader.kept
            return await kept(result.kept) if result.kept else result.read
        if isinstance(call.plan.root, Runnable):
            return await self._connection.reader.outcome(details)
        is_cancelled = task.status == CANCELLED and task.started_at is not None
        return faulted(cancelled(call.plan.flow)) if is_cancelled else None

    async def _step(self, call: _Call, row: Run) -> StepRecord | None:
        """The record of a run that belongs to a call; None if it is not a step that has begun."""
        run_input = row.run_input if _is_of_step(row) else None
        root = None if run_input is None else step_records.step_in(run_input)
        if run_input is None or root is None:
            return None
        result = step_records.result_of(row)
        if result is not None:
            outcome: Outcome | None = result.read
        elif row.status == CANCELLED:
            outcome = faulted(cancelled(call.plan.flow))
        else:
            details = await self._connection.reader.details(row.id)
            outcome = None if details is None else await self._connection.reader.outcome(details)
        if (
            outcome is not None
            and run_input.attempt
            and is_retried(root, outcome, run_input.attempt)
        ):
            return None  # a later attempt, which is another run, tells how the step has ended
        return step_records.of_run(run_input.at, root, call.plan.flow, row, outcome, result)

    async def _record(self, call: _Call, outcome: Outcome | None) -> CallRecord:
        run, plan = call.details.run, call.plan
        state: State
        if outcome is None:
            found = await self._status(call.id)
            state = found.unwrap().state if isinstance(found, Success) else "running"
        else:
            state = state_of(outcome)
        ended = None if outcome is None else run.finished_at
        starts = marks.start_in(run.marks) if state == "queued" else None
        fault = kind_of(outcome)
        return CallRecord(call.id, plan.flow, state, run.created, ended, plan.tags, fault, starts)


async def _shown(read: Callable[[], Awaitable[T]], is_enough: Callable[[T], bool], end: float) -> T:
    """What the HTTP API shows, as soon as that is as much as the gRPC API knows, or at the end."""
    while True:
        found = await read()
        if is_enough(found) or time.monotonic() >= end:
            return found
        await asyncio.sleep(_LOOKS)


def _has_begun(run: Run, start: float) -> bool:
    """Whether a worker has begun a call; one with a delay waits for its start on a worker."""
    if run.started_at is None:
        return False
    last = time.time() if run.finished_at is None else run.finished_at.timestamp()
    return last >= start


def _is_of_step(row: Run) -> bool:
    """Whether a run that belongs to a call may be one of its steps."""
    read = row.run_input
    return read is not None and bool(read.at) and not (read.outcome or read.signal)
