"""Hatchet's own protocol, as far as Onward speaks it: gRPC, on one event loop.

The SDK's client polls where we want to wait, and its worker takes over the process: signal
handlers, a child process, its exit. So of the SDK only the messages are used.
"""

from __future__ import annotations

import asyncio
import platform
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import grpc
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # it has no stubs
from grpc import aio
from hatchet_sdk.contracts.dispatcher_pb2 import (
    SDKS,
    ActionEventResponse,
    AssignedAction,
    BatchActionEvent,
    GetVersionRequest,
    GetVersionResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    RefreshTimeoutRequest,
    RefreshTimeoutResponse,
    ReleaseSlotRequest,
    ReleaseSlotResponse,
    RuntimeInfo,
    StepActionEvent,
    StepActionEventType,
    SubscribeToWorkflowRunsRequest,
    WorkerLabels,
    WorkerListenRequest,
    WorkerRegisterRequest,
    WorkerRegisterResponse,
    WorkerUnsubscribeRequest,
    WorkerUnsubscribeResponse,
    WorkflowRunEvent,
)
from hatchet_sdk.contracts.events_pb2 import PutLogRequest, PutLogResponse
from hatchet_sdk.contracts.v1.shared.trigger_pb2 import TriggerWorkflowRequest
from hatchet_sdk.contracts.v1.workflows_pb2 import (
    CancelTasksRequest,
    CancelTasksResponse,
    CreateWorkflowVersionRequest,
    CreateWorkflowVersionResponse,
    GetRunDetailsRequest,
    GetRunDetailsResponse,
    IdempotencyCollisionError,
)
from hatchet_sdk.contracts.workflows_pb2 import (
    BulkTriggerWorkflowRequest,
    BulkTriggerWorkflowResponse,
    PutRateLimitRequest,
    PutRateLimitResponse,
    TriggerWorkflowResponse,
)

from onward.backends.hatchet.settings import Address
from onward.fault import Fault, Misconfigured, Unavailable

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
T = TypeVar("T")

_PATIENCE = 15.0
"""How long one request may take, in seconds."""

_SHORTEST = 0.05
_LONGEST = 1.0
"""How long it is from one try to the next while the engine is away, in seconds."""

_ENDS = 0.1

_OPTIONS: list[tuple[str, str | int]] = [
    # The engine has a limit of its own; what it sends is taken.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]

_AWAY = (
    # Too busy: it starts but so many runs at a time, and says this of the others.
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.ABORTED,
)

_HUNG_UP = "it hung up: if it wants TLS, or a certificate from its clients, see tls and tls_cert"

_MEANS = {
    "CERTIFICATE_VERIFY_FAILED": "no authority that is trusted here certifies it: see tls_ca",
    "Hostname Verification": "it is certified by another name: see tls_server_name",
    "TSI_DATA_CORRUPTED": (
        "it wants a certificate from its clients, and one that it trusts: see tls_cert and tls_key"
    ),
    "security handshaker": "one of the files for TLS has no certificate or no key of it in it",
    "WRONG_VERSION_NUMBER": "it speaks no TLS: see tls",
    ": Socket closed": _HUNG_UP,
    "Connection reset by peer": _HUNG_UP,
    "Connection refused": "nothing listens there: start it, or correct host_port",
    "resol": "nobody knows its host: correct host_port",
    "timed out": "it does not answer: see that it runs, and that it is Hatchet",
}
"""What gRPC says of a connection that there is not, and what that means."""

Problem = aio.AioRpcError
"""What every request raises that fails."""


class Collision(Exception):
    """A run of this idempotency key is there already; `existing` is its id, where it is told."""

    def __init__(self, existing: str) -> None:
        super().__init__(existing)
        self.existing = existing


class Wire:
    """A connection to the engine. It is made on the event loop that it is to be used on."""

    def __init__(self, address: Address) -> None:
        self._metadata = (("authorization", f"bearer {address.token}"),)
        self._channel = _channel(address)
        self._put_workflow = self._unary(
            "/v1.AdminService/PutWorkflow",
            CreateWorkflowVersionRequest,
            CreateWorkflowVersionResponse,
        )
        self._put_rate_limit = self._unary(
            "/WorkflowService/PutRateLimit", PutRateLimitRequest, PutRateLimitResponse
        )
        self._trigger = self._unary(
            "/WorkflowService/TriggerWorkflow", TriggerWorkflowRequest, TriggerWorkflowResponse
        )
        self._trigger_all = self._unary(
            "/WorkflowService/BulkTriggerWorkflow",
            BulkTriggerWorkflowRequest,
            BulkTriggerWorkflowResponse,
        )
        self._details = self._unary(
            "/v1.AdminService/GetRunDetails", GetRunDetailsRequest, GetRunDetailsResponse
        )
        self._cancel = self._unary(
            "/v1.AdminService/CancelTasks", CancelTasksRequest, CancelTasksResponse
        )
        self._register = self._unary(
            "/Dispatcher/Register", WorkerRegisterRequest, WorkerRegisterResponse
        )
        self._heartbeat = self._unary("/Dispatcher/Heartbeat", HeartbeatRequest, HeartbeatResponse)
        self._unsubscribe = self._unary(
            "/Dispatcher/Unsubscribe", WorkerUnsubscribeRequest, WorkerUnsubscribeResponse
        )
        self._event = self._unary(
            "/Dispatcher/SendStepActionEvent", StepActionEvent, ActionEventResponse
        )
        self._events = self._unary(
            "/Dispatcher/SendBatchActionEvent", BatchActionEvent, ActionEventResponse
        )
        self._release = self._unary(
            "/Dispatcher/ReleaseSlot", ReleaseSlotRequest, ReleaseSlotResponse
        )
        self._refresh = self._unary(
            "/Dispatcher/RefreshTimeout", RefreshTimeoutRequest, RefreshTimeoutResponse
        )
        self._version = self._unary("/Dispatcher/GetVersion", GetVersionRequest, GetVersionResponse)
        self._log = self._unary("/EventsService/PutLog", PutLogRequest, PutLogResponse)
        self._listen = self._channel.unary_stream(
            "/Dispatcher/ListenV2",
            WorkerListenRequest.SerializeToString,
            AssignedAction.FromString,
        )
        self._subscribe: aio.StreamStreamMultiCallable[
            SubscribeToWorkflowRunsRequest, WorkflowRunEvent
        ] = self._channel.stream_stream(
            "/Dispatcher/SubscribeToWorkflowRuns",
            SubscribeToWorkflowRunsRequest.SerializeToString,
            WorkflowRunEvent.FromString,
        )

    async def close(self) -> None:
        """Ends the connection."""
        await self._channel.close()
        # What it cancels is told by a thread of gRPC's, which has one for all loops, and stumbles
        # over one that is closed.
        await asyncio.sleep(_ENDS)

    async def version(self) -> str:
        """Which version of the engine this is, as it writes it."""
        return (await self._version(GetVersionRequest())).version

    async def put_workflow(self, workflow: CreateWorkflowVersionRequest) -> str:
        """Declares a workflow; gives the id of its version, the same as long as it is the same."""
        return (await self._put_workflow(workflow)).id

    async def put_rate_limit(self, key: str, limit: int, per: str) -> None:
        """Declares how often tasks that name this key may be handed out, in a window of time."""
        request = PutRateLimitRequest(key=key, limit=limit, duration=per.upper())
        await self._put_rate_limit(request)

    async def trigger(self, request: TriggerWorkflowRequest) -> str:
        """Starts a run, and gives its id; or `Collision`.

        A workflow that nobody has declared gives an id as well, of a run that is not there.
        """
        try:
            return (await self._trigger(request)).workflow_run_id
        except Problem as problem:
            raise _collision(problem) or problem from None

    async def trigger_all(self, requests: Sequence[TriggerWorkflowRequest]) -> list[str]:
        """Starts many runs, in their order; or `Collision` if any of them is there already.

        The others have been started then.
        """
        try:
            answer = await self._trigger_all(BulkTriggerWorkflowRequest(workflows=requests))
        except Problem as problem:
            raise _collision(problem) or problem from None
        return list(answer.workflow_run_ids)

    async def details(self, id: str) -> GetRunDetailsResponse | None:
        """All that the engine tells of a run; None if it knows none of this id."""
        try:
            return await self._details(GetRunDetailsRequest(external_id=id))
        except Problem as problem:
            # An id that is no UUID is nobody's.
            if problem.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT):
                return None
            raise

    async def cancel(self, ids: Sequence[str]) -> None:
        """Asks for runs to be cancelled."""
        await self._cancel(CancelTasksRequest(external_ids=ids))

    async def register(
        self, name: str, actions: Sequence[str], slots: dict[str, int], labels: Sequence[str]
    ) -> str:
        """Registers a worker, and gives its id."""
        request = WorkerRegisterRequest(
            worker_name=name,
            actions=actions,
            services=["default"],
            labels={label: WorkerLabels(str_value="yes") for label in labels},
            slot_config=slots,
            runtime_info=RuntimeInfo(
                sdk_version=version("hatchet-sdk"),
                language=SDKS.PYTHON,
                language_version=platform.python_version(),
                os=platform.system().lower(),
            ),
        )
        return (await self._register(request)).worker_id

    def listen(self, worker: str) -> aio.UnaryStreamCall[AssignedAction]:
        """What a worker is to do, as it comes."""
        return self._listen(WorkerListenRequest(worker_id=worker), metadata=self._metadata)

    async def heartbeat(self, worker: str) -> None:
        """Says that a worker is alive."""
        await self._heartbeat(HeartbeatRequest(worker_id=worker, heartbeat_at=now()))

    async def unsubscribe(self, worker: str) -> None:
        """Says that a worker takes no more."""
        await self._unsubscribe(WorkerUnsubscribeRequest(worker_id=worker))

    async def event(self, event: StepActionEvent) -> None:
        """Says what became of something that a worker was to do."""
        await self._event(event)

    async def events(self, events: BatchActionEvent) -> None:
        """Says the same of several things that a worker was to do."""
        await self._events(events)

    async def release_slot(self, task: str) -> None:
        """Gives back the slot of something that a worker does, which goes on with it."""
        await self._release(ReleaseSlotRequest(task_run_external_id=task))

    async def extend(self, task: str, seconds: float) -> bool:
        """Says that something is still being done; False if it is no longer a worker's to do."""
        request = RefreshTimeoutRequest(
            task_run_external_id=task, increment_timeout_by=duration(seconds)
        )
        try:
            await self._refresh(request)
        except Problem as problem:
            if problem.code() == grpc.StatusCode.NOT_FOUND:
                return False
            raise
        return True

    async def log(self, task: str, message: str, metadata: str) -> None:
        """Writes a line into a task's log."""
        await self._log(
            PutLogRequest(
                task_run_external_id=task,
                created_at=now(),
                message=message,
                level="INFO",
                metadata=metadata,
            )
        )

    def subscribe(self) -> aio.StreamStreamCall[SubscribeToWorkflowRunsRequest, WorkflowRunEvent]:
        """Hears of runs that end, of those that it is then asked for."""
        return self._subscribe(metadata=self._metadata)

    def _unary(
        self, method: str, request: type[Request], response: type[Response]
    ) -> Callable[[Request], Awaitable[Response]]:
        call = self._channel.unary_unary(method, request.SerializeToString, response.FromString)

        def ask(what: Request) -> Awaitable[Response]:
            return call(what, timeout=_PATIENCE, metadata=self._metadata)

        return ask


def _channel(address: Address) -> aio.Channel:
    tls = address.tls
    if tls is None:
        return aio.insecure_channel(address.target, _OPTIONS)
    credentials = grpc.ssl_channel_credentials(
        _bytes(tls.root_certificates), _bytes(tls.key), _bytes(tls.certificate)
    )
    options = list(_OPTIONS)
    if tls.server_name is not None:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    return aio.secure_channel(address.target, credentials, options)


def _bytes(file: Path | None) -> bytes | None:
    return None if file is None else file.read_bytes()


def event_of(
    action: AssignedAction, worker: str, kind: StepActionEventType, since: Timestamp
) -> StepActionEvent:
    """What a worker says of something that it was handed.

    Args:
        action: What it was handed.
        worker: By which the engine knows it.
        kind: What became of it.
        since: Since when.
    """
    return StepActionEvent(
        worker_id=worker,
        job_id=action.job_id,
        job_run_id=action.job_run_id,
        task_id=action.task_id,
        task_run_external_id=action.task_run_external_id,
        action_id=action.action_id,
        event_timestamp=since,
        event_type=kind,
        retry_count=action.retry_count,
    )


async def patiently(ask: Callable[[], Awaitable[T]], patience: float) -> T:
    """Asks until the engine is there.

    Args:
        ask: Makes a request, which can be made again without harm.
        patience: How long to try while the engine is away, in seconds.

    Raises:
        Problem: If it refuses, or is away for longer.
    """
    end = time.monotonic() + patience
    pause = _SHORTEST
    while True:
        try:
            return await ask()
        except Problem as problem:
            if not is_away(problem) or time.monotonic() + pause >= end:
                raise
        await asyncio.sleep(pause * (0.5 + random.random()))
        pause = min(2 * pause, _LONGEST)


def now() -> Timestamp:
    """This moment."""
    moment = Timestamp()
    moment.GetCurrentTime()
    return moment


def duration(seconds: float) -> str:
    """So many seconds, as the engine writes them."""
    return f"{round(seconds * 1000)}ms"


def is_away(problem: Problem) -> bool:
    """Whether a request may succeed later: once the engine is back, or has time."""
    return problem.code() in _AWAY


def is_gone(problem: Problem) -> bool:
    """Whether the engine does not know the worker, or no longer."""
    return problem.code() == grpc.StatusCode.NOT_FOUND


def is_too_large(problem: Problem) -> bool:
    """Whether a request failed for its size."""
    return problem.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in said(
        problem
    )


def is_unknown_name(problem: Problem) -> bool:
    """Whether a run failed to start because nobody has declared its workflow."""
    return problem.code() == grpc.StatusCode.INVALID_ARGUMENT and "not found" in said(problem)


def said(problem: Problem) -> str:
    """What the engine, or the connection, says of a failed request."""
    return problem.details() or problem.code().name


def fault_of(problem: Problem, flow: str = "") -> Fault:
    """A failed request as a fault."""
    code = problem.code()
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return Unavailable(flow, f"Hatchet does not take the token: {said(problem)}")
    if code == grpc.StatusCode.INVALID_ARGUMENT:
        return Misconfigured(flow, f"Hatchet refuses it: {said(problem)}")
    text = f"{code.name.lower()}, {said(problem)}"
    means = next((means for word, means in _MEANS.items() if word in text), None)
    return Unavailable(flow, f"Hatchet: {text}" if means is None else f"Hatchet: {means} ({text})")


def _collision(problem: Problem) -> Collision | None:
    if problem.code() != grpc.StatusCode.ALREADY_EXISTS:
        return None
    for name, value in problem.trailing_metadata():
        if name == "grpc-status-details-bin" and isinstance(value, bytes):
            for detail in Status.FromString(value).details:
                error = IdempotencyCollisionError()
                if detail.Unpack(error):
                    return Collision(error.existing_run_external_id)
    return Collision("")
