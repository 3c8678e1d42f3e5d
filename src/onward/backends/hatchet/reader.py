"""Reads runs from the engine; in parts, if a run is too large for one message.

The engine sends the input of a run and the values of its steps in one message, and fails if that
exceeds its limit. Its HTTP API has no such limit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec
from hatchet_sdk.contracts.v1.workflows_pb2 import GetRunDetailsResponse, RunStatus, TaskRunDetail
from msgspec import Struct
from returns.result import Failure

from onward.backends.hatchet import outcomes
from onward.backends.hatchet.client import Client
from onward.backends.hatchet.errors import RpcError, is_too_large, message_sizes
from onward.backends.hatchet.http_api import HttpApi
from onward.backends.hatchet.message import unwrapped
from onward.backends.hatchet.task_events import events_of
from onward.fault import Lost, TooLarge
from onward.outcome import Outcome, Value, faulted

_LAGS = 30.0
"""How long the HTTP API may lag behind the engine, in seconds."""

DELIVERED_AGAIN = 8.0
"""How long a run may read as failed before the engine delivers it again, in seconds.

The engine shows this while it waits between the deliveries to workers that have died.
"""

_MOST = 10_000
"""How many runs that read as failed are remembered."""

_ENDED = {
    "COMPLETED": RunStatus.COMPLETED,
    "FAILED": RunStatus.FAILED,
    "CANCELLED": RunStatus.CANCELLED,
}


class Oversized(Exception):
    """A run that cannot be read, because it is too large for one message and has no parts."""

    def __init__(self, fault: TooLarge) -> None:
        super().__init__(str(fault))
        self.fault = fault


class _Step(Struct, frozen=True, rename="camel"):
    task_external_id: str
    task_name: str


class _Task(Struct, frozen=True, rename="camel"):
    task_external_id: str
    status: str
    output: msgspec.Raw = msgspec.Raw(b"{}")
    error_message: str = ""


class _Run(Struct, frozen=True):
    input: msgspec.Raw = msgspec.Raw(b"{}")


class _Parts(Struct, frozen=True):
    run: _Run
    shape: list[_Step] = []
    tasks: list[_Task] = []


_PARTS = msgspec.json.Decoder(_Parts)


class Reader:
    """Reads runs.

    Args:
        client: The connection.
        http: The HTTP API, for runs that are too large for the connection.
    """

    def __init__(self, client: Client, http: HttpApi) -> None:
        self._client = client
        self._http = http
        self._since: dict[str, float] = {}
        self._failed_since: dict[str, float] = {}

    async def is_there(self, id: str) -> bool:
        """Whether the engine knows a run of this id."""
        try:
            return await self._client.details(id) is not None
        except RpcError as problem:
            if is_too_large(problem):
                return True
            raise

    async def details(self, id: str) -> GetRunDetailsResponse | None:
        """Returns all that the engine knows about a run; None if there is no such run.

        Raises:
            RpcError: If the engine is not reached.
            Oversized: If the run cannot be read, now or later.
        """
        try:
            details = await self._client.details(id)
        except RpcError as problem:
            if not is_too_large(problem):
                raise
            return await self._by_parts(id, problem)
        if details is not None and outcomes.is_without_result(details):
            for task in details.task_runs.values():
                if task.status != RunStatus.FAILED:
                    continue
                events = await events_of(self._http, task.external_id)
                self._note_failure(details, events.failed_for)
                if events.is_cancelled:
                    task.status = RunStatus.CANCELLED
        return details

    async def outcome(self, details: GetRunDetailsResponse) -> Outcome | None:
        """Returns the outcome of a run with these details; None if it has none yet."""
        if self._may_be_delivered_again(details):
            return None
        kept = {id: await self.kept(id) for id in outcomes.kept_in(details)}
        return outcomes.of_details(details, kept)

    def _may_be_delivered_again(self, details: GetRunDetailsResponse) -> bool:
        if not outcomes.is_without_result(details):
            self._failed_since.pop(_task_of(details), None)
            return False
        return time.monotonic() - self._note_failure(details, 0.0) < DELIVERED_AGAIN

    def _note_failure(self, details: GetRunDetailsResponse, seconds: float) -> float:
        """Notes that a run failed so many seconds ago, or before; returns since when it has."""
        if len(self._failed_since) >= _MOST:
            self._failed_since.clear()
        id, since = _task_of(details), time.monotonic() - seconds
        since = self._failed_since[id] = min(self._failed_since.get(id, since), since)
        return since

    async def kept(self, id: str) -> Outcome:
        """Returns the value that a run stores as its argument."""
        details = await self.details(id)
        input_plan = None if details is None else outcomes.input_and_plan(details)
        if input_plan is None or not input_plan[1].args.positional:
            return faulted(Lost("", f"Hatchet no longer has the run {id}, which stored a value"))
        return Value(input_plan[1].args.positional[0])

    async def _by_parts(self, id: str, problem: RpcError) -> GetRunDetailsResponse:
        """A run read in parts; it has ended, because a running one is small."""
        answer = await self._http.request("GET", f"stable/workflow-runs/{id}")
        if isinstance(answer, Failure):
            fault = answer.failure()
            why = f"it answers {fault:d}" if isinstance(fault, int) else fault.message
            raise Oversized(_too_large(problem, f"its HTTP API has it in parts, but {why}"))
        try:
            details = _joined(_PARTS.decode(answer.unwrap()))
        except msgspec.MsgspecError:
            why = "the answer of its HTTP API cannot be read"
            raise Oversized(_too_large(problem, why)) from None
        since = self._since.setdefault(id, time.monotonic())
        if details.done or time.monotonic() - since > _LAGS:
            del self._since[id]
        if not details.done and id not in self._since:
            raise Oversized(_too_large(problem, "its HTTP API does not have all of it"))
        return details


def _task_of(details: GetRunDetailsResponse) -> str:
    return next((task.external_id for task in details.task_runs.values()), "")


def _joined(parts: _Parts) -> GetRunDetailsResponse:
    """Joins the parts of a run into the message that the engine would send."""
    tasks: Mapping[str, _Task] = {task.task_external_id: task for task in parts.tasks}
    details = GetRunDetailsResponse(input=unwrapped(parts.run.input), done=bool(parts.shape))
    for step in parts.shape:
        task = tasks.get(step.task_external_id)
        if task is None or task.status not in _ENDED:
            details.done = False
            continue
        details.task_runs[step.task_name].CopyFrom(
            TaskRunDetail(
                status=_ENDED[task.status],
                output=bytes(task.output),
                error=task.error_message,
                external_id=task.task_external_id,
            )
        )
    return details


def _too_large(problem: RpcError, why: str) -> TooLarge:
    size, limit = message_sizes(problem) or (0, 0)
    message = (
        f"the run's input and the values of its steps have {size} bytes in all, and Hatchet sends "
        f"at most {limit}; {why}: set server_url (HATCHET_CLIENT_SERVER_URL) to its address, or "
        "raise the engine's limit (SERVER_GRPC_MAX_MSG_SIZE)"
    )
    return TooLarge("", message, size=size, limit=limit)
