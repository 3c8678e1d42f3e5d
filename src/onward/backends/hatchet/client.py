"""The connection to the engine: the part of its gRPC protocol that Onward needs.

Only the SDK's messages are used. Its client polls where Onward needs to wait, and its worker takes
over the process: it sets signal handlers, starts a child process, and exits.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from importlib.metadata import version
from typing import Protocol, TypeVar

import grpc
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
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
    RestoreEvictedTaskRequest,
    RestoreEvictedTaskResponse,
    RuntimeInfo,
    StepActionEvent,
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
from hatchet_sdk.contracts.v1.dispatcher_pb2 import (
    DurableTaskEvictInvocationRequest,
    DurableTaskRequest,
    DurableTaskResponse,
)
from hatchet_sdk.contracts.v1.shared.trigger_pb2 import TriggerWorkflowRequest
from hatchet_sdk.contracts.v1.workflows_pb2 import (
    CancelTasksRequest,
    CancelTasksResponse,
    CreateWorkflowVersionRequest,
    CreateWorkflowVersionResponse,
    GetRunDetailsRequest,
    GetRunDetailsResponse,
    ReplayTasksRequest,
    ReplayTasksResponse,
)
from hatchet_sdk.contracts.workflows_pb2 import (
    BulkTriggerWorkflowRequest,
    BulkTriggerWorkflowResponse,
    PutRateLimitRequest,
    PutRateLimitResponse,
    ScheduleWorkflowRequest,
    TriggerWorkflowResponse,
    WorkflowVersion,
)

from onward.backends.hatchet.action_events import now
from onward.backends.hatchet.channel import channel, padding
from onward.backends.hatchet.errors import (
    RpcError,
    collision,
    fault_of,
    is_temporary,
    message_sizes,
    token_refused,
)
from onward.backends.hatchet.settings import Address
from onward.fault import Fault

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

_PATIENCE = 15.0
"""How long one request may take, in seconds."""

_ENDS = 0.1

_DEFAULT_LIMIT = 4 * 1024 * 1024
"""The engine's default limit of a message, in bytes."""

_CERTAIN = 512 * 1024
"""A size that every engine accepts, in bytes."""

_NOT_REACHED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class Actions(Protocol):
    """The stream of actions assigned to a worker."""

    def __aiter__(self) -> AsyncIterator[AssignedAction]:
        """Iterates over the actions."""
        ...

    def cancel(self) -> bool:
        """Ends the stream."""
        ...


class Client:
    """A connection to the engine. Make it on the event loop that uses it."""

    def __init__(self, address: Address) -> None:
        self.has_answered = False
        """Whether the engine has ever answered on this connection, even with an error."""
        self._is_let_in = False
        self._takes = _CERTAIN
        self._limit: int | None = None
        self._asking = asyncio.Lock()
        self._metadata = (("authorization", f"bearer {address.token}"),)
        self._channel = channel(address)
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
        self._schedule = self._unary(
            "/WorkflowService/ScheduleWorkflow", ScheduleWorkflowRequest, WorkflowVersion
        )
        self._details = self._unary(
            "/v1.AdminService/GetRunDetails", GetRunDetailsRequest, GetRunDetailsResponse
        )
        self._cancel = self._unary(
            "/v1.AdminService/CancelTasks", CancelTasksRequest, CancelTasksResponse
        )
        self._replay = self._unary(
            "/v1.AdminService/ReplayTasks", ReplayTasksRequest, ReplayTasksResponse
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
        self._restore = self._unary(
            "/Dispatcher/RestoreEvictedTask", RestoreEvictedTaskRequest, RestoreEvictedTaskResponse
        )
        self._durable: aio.StreamStreamMultiCallable[DurableTaskRequest, DurableTaskResponse] = (
            self._channel.stream_stream(
                "/v1.V1Dispatcher/DurableTask",
                DurableTaskRequest.SerializeToString,
                DurableTaskResponse.FromString,
            )
        )
        self._refresh = self._unary(
            "/Dispatcher/RefreshTimeout", RefreshTimeoutRequest, RefreshTimeoutResponse
        )
        self._version = self._unary("/Dispatcher/GetVersion", GetVersionRequest, GetVersionResponse)
        self._padded = self._channel.unary_unary(
            "/Dispatcher/GetVersion", bytes, GetVersionResponse.FromString
        )
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
        """Closes the connection."""
        await self._channel.close()
        # A thread of gRPC reports cancelled calls to the loop, and fails if the loop is closed.
        await asyncio.sleep(_ENDS)

    async def version(self) -> str:
        """Returns the engine's version."""
        return (await self._version(GetVersionRequest())).version

    async def limit_for(self, size: int) -> int:
        """Finds out how many bytes a message may have; the engine has a setting for it.

        Args:
            size: The size that the caller needs, in bytes.

        Returns:
            The limit. If `size` is allowed, the real limit may be larger than this.
        """
        async with self._asking:
            if self._limit is None and size > self._takes:
                await self._try(max(size, _DEFAULT_LIMIT + 1))
        return self._takes if self._limit is None else self._limit

    async def _try(self, size: int) -> None:
        """Sends a message of this size, to see whether the engine refuses it."""
        try:
            await self._padded(padding(size), timeout=_PATIENCE, metadata=self._metadata)
        except RpcError as problem:
            if self._note_limit(problem) is None:
                raise
        else:
            self._takes = size

    def _note_limit(self, problem: RpcError) -> int | None:
        sizes = message_sizes(problem)
        if sizes is not None:
            self._limit = sizes[1]
        return self._limit

    def fault(self, problem: RpcError, flow: str = "") -> Fault:
        """Turns the error of a request into a fault; see `fault_of`."""
        return fault_of(problem, flow, was_there=self.has_answered)

    async def put_workflow(self, workflow: CreateWorkflowVersionRequest) -> str:
        """Declares a workflow, and returns the id of its version. An equal one keeps its id."""
        return (await self._put_workflow(workflow)).id

    async def put_rate_limit(self, key: str, limit: int, per: str) -> None:
        """Declares a rate limit: how many tasks with this key may be assigned per window."""
        request = PutRateLimitRequest(key=key, limit=limit, duration=per.upper())
        await self._put_rate_limit(request)

    async def trigger(self, request: TriggerWorkflowRequest) -> str:
        """Starts a run, and returns its id; raises `Collision` if its key exists.

        For an undeclared workflow the engine also returns an id, but starts no run.
        """
        try:
            return (await self._trigger(request)).workflow_run_id
        except RpcError as problem:
            raise collision(problem) or problem from None

    async def trigger_all(self, requests: Sequence[TriggerWorkflowRequest]) -> list[str]:
        """Starts many runs, and returns their ids in order; raises `Collision` if a key exists.

        The other runs are started even then.
        """
        try:
            answer = await self._trigger_all(BulkTriggerWorkflowRequest(workflows=requests))
        except RpcError as problem:
            raise collision(problem) or problem from None
        return list(answer.workflow_run_ids)

    async def details(self, id: str) -> GetRunDetailsResponse | None:
        """Returns all that the engine knows about a run; None if there is no such run."""
        try:
            return await self._details(GetRunDetailsRequest(external_id=id))
        except RpcError as problem:
            # INVALID_ARGUMENT: an id that is not a UUID belongs to no run.
            if is_temporary(problem):
                raise
            if problem.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT):
                return None
            raise

    async def cancel(self, ids: Sequence[str]) -> None:
        """Asks the engine to cancel runs."""
        await self._cancel(CancelTasksRequest(external_ids=ids))

    async def replay(self, ids: Sequence[str]) -> None:
        """Has tasks delivered again that have failed; leaves those that run as they are."""
        await self._replay(ReplayTasksRequest(external_ids=ids))

    async def register(
        self, name: str, actions: Sequence[str], slots: dict[str, int], labels: Sequence[str]
    ) -> str:
        """Registers a worker, and returns its id."""
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

    def listen(self, worker: str) -> Actions:
        """Opens the stream of actions assigned to a worker."""
        return self._listen(WorkerListenRequest(worker_id=worker), metadata=self._metadata)

    async def heartbeat(self, worker: str) -> None:
        """Sends a worker's heartbeat."""
        await self._heartbeat(HeartbeatRequest(worker_id=worker, heartbeat_at=now()))

    async def unsubscribe(self, worker: str) -> None:
        """Ends a worker's subscription."""
        await self._unsubscribe(WorkerUnsubscribeRequest(worker_id=worker))

    async def event(self, event: StepActionEvent) -> None:
        """Reports an event of an action."""
        await self._event(event)

    async def events(self, events: BatchActionEvent) -> None:
        """Reports events of several actions."""
        await self._events(events)

    async def release_slot(self, task: str) -> None:
        """Frees the slot of an action that goes on running."""
        await self._release(ReleaseSlotRequest(task_run_external_id=task))

    async def evict(self, task: str) -> bool:
        """Takes a task from its worker, until it is restored; False if the engine refuses."""
        request = DurableTaskEvictInvocationRequest(
            durable_task_external_id=task, reason="it only waits"
        )
        stream = self._durable(metadata=self._metadata, timeout=_PATIENCE)
        try:
            await stream.write(DurableTaskRequest(evict_invocation=request))
            answer = await stream.read()
        finally:
            stream.cancel()
        return isinstance(answer, DurableTaskResponse) and answer.HasField("eviction_ack")

    async def restore(self, task: str) -> None:
        """Has an evicted task assigned to a worker; a task that is not evicted stays as it is."""
        await self._restore(RestoreEvictedTaskRequest(task_run_external_id=task))

    async def schedule(self, name: str, at: float, text: str, metadata: str) -> None:
        """Has the engine start a run at a moment.

        Args:
            name: The workflow.
            at: The moment, in seconds since 1970.
            text: The run's input.
            metadata: The run's metadata.
        """
        moment = Timestamp()
        moment.FromNanoseconds(round(at * 1e9))
        request = ScheduleWorkflowRequest(
            name=name, schedules=[moment], input=text, additional_metadata=metadata
        )
        await self._schedule(request)

    async def extend(self, task: str, seconds: float) -> bool:
        """Renews the lease of an action; False if the worker no longer has it."""
        request = RefreshTimeoutRequest(
            task_run_external_id=task, increment_timeout_by=duration(seconds)
        )
        try:
            await self._refresh(request)
        except RpcError as problem:
            if problem.code() == grpc.StatusCode.NOT_FOUND:
                return False
            raise
        return True

    async def log(self, task: str, message: str, metadata: str) -> None:
        """Writes a line to a task's log."""
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
        """Opens the stream of ended runs; the caller writes the ids of runs to it."""
        return self._subscribe(metadata=self._metadata)

    def _unary(
        self, method: str, request: type[Request], response: type[Response]
    ) -> Callable[[Request], Awaitable[Response]]:
        call = self._channel.unary_unary(method, request.SerializeToString, response.FromString)

        async def send(message: Request) -> Response:
            try:
                answer = await call(message, timeout=_PATIENCE, metadata=self._metadata)
            except RpcError as problem:
                self.has_answered |= problem.code() not in _NOT_REACHED
                self._note_limit(problem)
                raise (token_refused(problem) if self._is_let_in else None) or problem from None
            self.has_answered = self._is_let_in = True
            return answer

        return send


def duration(seconds: float) -> str:
    """Converts seconds to the engine's format of durations."""
    return f"{round(seconds * 1000)}ms"
