"""The double's gRPC services, and the part of the HTTP API that Onward needs."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

import grpc
import msgspec
from aiohttp import web
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # it has no stubs
from grpc.aio import ServicerContext
from hatchet_sdk.contracts.dispatcher_pb2 import (
    ActionEventResponse,
    AssignedAction,
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
    StepActionEvent,
    SubscribeToWorkflowRunsRequest,
    WorkerListenRequest,
    WorkerRegisterRequest,
    WorkerRegisterResponse,
    WorkerUnsubscribeRequest,
    WorkerUnsubscribeResponse,
    WorkflowRunEvent,
)
from hatchet_sdk.contracts.events_pb2 import PutLogRequest, PutLogResponse
from hatchet_sdk.contracts.v1.dispatcher_pb2 import (
    DurableTaskEvictionAckResponse,
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
    IdempotencyCollisionError,
    ReplayTasksRequest,
    ReplayTasksResponse,
    RunStatus,
)
from hatchet_sdk.contracts.workflows_pb2 import (
    BulkTriggerWorkflowRequest,
    BulkTriggerWorkflowResponse,
    TriggerWorkflowResponse,
)

from tests.hatchet.double import shown
from tests.hatchet.double.engine import Engine, Refused, Taken
from tests.hatchet.double.modelled import NotModelled

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

_CODES = {
    Refused: grpc.StatusCode.INVALID_ARGUMENT,
    NotModelled: grpc.StatusCode.UNIMPLEMENTED,
    KeyError: grpc.StatusCode.NOT_FOUND,
}


class Services:
    """The gRPC services for clients and workers."""

    def __init__(self, engine: Engine, token: str) -> None:
        self._engine = engine
        self._token = token

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """The methods that exist; all others are UNIMPLEMENTED."""
        engine = self._engine

        async def put_workflow(
            request: CreateWorkflowVersionRequest,
        ) -> CreateWorkflowVersionResponse:
            return CreateWorkflowVersionResponse(id=engine.declare(request))

        async def trigger(request: TriggerWorkflowRequest) -> TriggerWorkflowResponse:
            return TriggerWorkflowResponse(workflow_run_id=engine.trigger(request))

        async def trigger_all(request: BulkTriggerWorkflowRequest) -> BulkTriggerWorkflowResponse:
            return BulkTriggerWorkflowResponse(
                workflow_run_ids=engine.trigger_all(request.workflows)
            )

        async def details(request: GetRunDetailsRequest) -> GetRunDetailsResponse:
            found = engine.details(request.external_id)
            if found is None:
                raise KeyError("workflow run not found")
            return found

        async def cancel(request: CancelTasksRequest) -> CancelTasksResponse:
            engine.cancel(request.external_ids)
            return CancelTasksResponse(cancelled_tasks=request.external_ids)

        async def replay(request: ReplayTasksRequest) -> ReplayTasksResponse:
            engine.replay(request.external_ids)
            return ReplayTasksResponse(replayed_tasks=request.external_ids)

        async def register(request: WorkerRegisterRequest) -> WorkerRegisterResponse:
            return WorkerRegisterResponse(worker_id=engine.register(request))

        async def heartbeat(request: HeartbeatRequest) -> HeartbeatResponse:
            engine.workers[request.worker_id]
            return HeartbeatResponse()

        async def unsubscribe(request: WorkerUnsubscribeRequest) -> WorkerUnsubscribeResponse:
            engine.workers[request.worker_id].is_paused = True
            return WorkerUnsubscribeResponse()

        async def event(request: StepActionEvent) -> ActionEventResponse:
            engine.event(request)
            return ActionEventResponse()

        async def release(request: ReleaseSlotRequest) -> ReleaseSlotResponse:
            engine.release(request.task_run_external_id)
            return ReleaseSlotResponse()

        async def restore(request: RestoreEvictedTaskRequest) -> RestoreEvictedTaskResponse:
            engine.restore(request.task_run_external_id)
            return RestoreEvictedTaskResponse(requeued=True)

        async def refresh(request: RefreshTimeoutRequest) -> RefreshTimeoutResponse:
            if not engine.is_running(request.task_run_external_id):
                raise KeyError("task run not found")
            return RefreshTimeoutResponse()  # leases never run out here

        async def version(request: GetVersionRequest) -> GetVersionResponse:
            return GetVersionResponse(version="v0-double")

        async def log(request: PutLogRequest) -> PutLogResponse:
            engine.log(request.task_run_external_id, request.metadata)
            return PutLogResponse()

        services = {
            "v1.AdminService": {
                "PutWorkflow": self._unary(put_workflow, CreateWorkflowVersionRequest),
                "GetRunDetails": self._unary(details, GetRunDetailsRequest),
                "CancelTasks": self._unary(cancel, CancelTasksRequest),
                "ReplayTasks": self._unary(replay, ReplayTasksRequest),
            },
            "v1.V1Dispatcher": {
                "DurableTask": grpc.stream_stream_rpc_method_handler(
                    self._durable,
                    DurableTaskRequest.FromString,
                    DurableTaskResponse.SerializeToString,
                ),
            },
            "WorkflowService": {
                "TriggerWorkflow": self._unary(trigger, TriggerWorkflowRequest),
                "BulkTriggerWorkflow": self._unary(trigger_all, BulkTriggerWorkflowRequest),
            },
            "EventsService": {"PutLog": self._unary(log, PutLogRequest)},
            "Dispatcher": {
                "GetVersion": self._unary(version, GetVersionRequest),
                "Register": self._unary(register, WorkerRegisterRequest),
                "Heartbeat": self._unary(heartbeat, HeartbeatRequest),
                "Unsubscribe": self._unary(unsubscribe, WorkerUnsubscribeRequest),
                "SendStepActionEvent": self._unary(event, StepActionEvent),
                "ReleaseSlot": self._unary(release, ReleaseSlotRequest),
                "RestoreEvictedTask": self._unary(restore, RestoreEvictedTaskRequest),
                "RefreshTimeout": self._unary(refresh, RefreshTimeoutRequest),
                "ListenV2": grpc.unary_stream_rpc_method_handler(
                    self._listen, WorkerListenRequest.FromString, AssignedAction.SerializeToString
                ),
                "SubscribeToWorkflowRuns": grpc.stream_stream_rpc_method_handler(
                    self._subscribe,
                    SubscribeToWorkflowRunsRequest.FromString,
                    WorkflowRunEvent.SerializeToString,
                ),
            },
        }
        return [
            grpc.method_handlers_generic_handler(name, methods)
            for name, methods in services.items()
        ]

    def _unary(
        self, answer: Callable[[Request], Awaitable[Response]], request: type[Request]
    ) -> grpc.RpcMethodHandler:
        async def behave(what: Request, context: ServicerContext) -> Response:
            await self._check(context)
            try:
                return await answer(what)
            except Taken as taken:
                error = IdempotencyCollisionError(existing_run_external_id=str(taken))
                detail = AnyMessage()
                detail.Pack(error)
                status = Status(code=6, message="idempotency key collision", details=[detail])
                trailing = (("grpc-status-details-bin", status.SerializeToString()),)
                code = grpc.StatusCode.ALREADY_EXISTS
                await context.abort(code, "idempotency key collision", trailing)
            except tuple(_CODES) as problem:
                await context.abort(_CODES[type(problem)], str(problem))

        return grpc.unary_unary_rpc_method_handler(
            behave, request.FromString, lambda response: response.SerializeToString()
        )

    async def _check(self, context: ServicerContext) -> None:
        if ("authorization", f"bearer {self._token}") not in tuple(context.invocation_metadata()):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "invalid auth token")

    async def _listen(
        self, request: WorkerListenRequest, context: ServicerContext
    ) -> AsyncIterator[AssignedAction]:
        await self._check(context)
        worker = self._engine.workers[request.worker_id]
        stream = self._engine.connect(worker)
        try:
            while True:
                yield await stream.get()
        finally:
            self._engine.disconnect(worker, stream)

    async def _durable(
        self, requests: AsyncIterator[DurableTaskRequest], context: ServicerContext
    ) -> AsyncIterator[DurableTaskResponse]:
        """Evicts tasks; everything else about durable tasks needs a real engine."""
        await self._check(context)
        async for request in requests:
            if not request.HasField("evict_invocation"):
                await context.abort(grpc.StatusCode.UNIMPLEMENTED, "it only evicts")
            task = request.evict_invocation.durable_task_external_id
            self._engine.evict(task)
            answer = DurableTaskEvictionAckResponse(durable_task_external_id=task)
            yield DurableTaskResponse(eviction_ack=answer)

    async def _subscribe(
        self, requests: AsyncIterator[SubscribeToWorkflowRunsRequest], context: ServicerContext
    ) -> AsyncIterator[WorkflowRunEvent]:
        await self._check(context)
        ids: set[str] = set()

        async def read() -> None:
            async for request in requests:
                ids.add(request.workflow_run_id)
                self._engine.tell()

        reading = asyncio.create_task(read())
        try:
            while True:
                yield await self._engine.ends(ids)
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading


def http(engine: Engine, token: str) -> web.Application:
    """The HTTP API: logs, workers and their pause, and waiting steps. It has no crons."""

    @web.middleware
    async def authorized(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {token}":
            raise web.HTTPForbidden
        return await handler(request)

    async def logs(request: web.Request) -> web.StreamResponse:
        lines = reversed(engine.logs.get(request.match_info["task"], []))
        rows = [{"metadata": msgspec.Raw(line.encode())} for line in lines]
        return web.Response(body=msgspec.json.encode({"rows": rows}))

    async def run(request: web.Request) -> web.StreamResponse:
        found = engine.runs.get(request.match_info["run"])
        if found is None:
            raise web.HTTPNotFound
        return web.json_response(shown.details(found))

    async def runs(request: web.Request) -> web.StreamResponse:
        return web.json_response(shown.listed(engine.shown(), request.query))

    async def events(request: web.Request) -> web.StreamResponse:
        rows = [
            {
                "eventType": event.kind,
                "timestamp": event.at.isoformat(),
                "retryCount": event.retries,
            }
            for event in reversed(engine.tasks[request.match_info["task"]].events)
        ]
        rows = rows[: int(request.query.get("limit", 0))]
        return web.json_response({"rows": rows})

    async def update(request: web.Request) -> web.StreamResponse:
        engine.workers[request.match_info["worker"]].is_paused = (await request.json())["isPaused"]
        engine.resume()
        return web.json_response({})

    async def workers(request: web.Request) -> web.StreamResponse:
        now = datetime.now(UTC).isoformat()
        rows = [
            {
                "name": worker.request.worker_name,
                "status": "PAUSED" if worker.is_paused else "ACTIVE",
                "lastHeartbeatAt": None if worker.stream is None else now,
                "actions": list(worker.request.actions),
                "labels": [{"key": name} for name in worker.request.labels],
            }
            for worker in engine.workers.values()
        ]
        return web.json_response({"rows": rows})

    async def waiting(request: web.Request) -> web.StreamResponse:
        tasks = engine.tasks.values()
        queues = Counter(task.spec.action for task in tasks if task.status == RunStatus.QUEUED)
        return web.json_response({"queues": queues})

    async def stats(request: web.Request) -> web.StreamResponse:
        return web.json_response({})  # the double puts no steps aside

    async def workflows(request: web.Request) -> web.StreamResponse:
        declared = [workflow for workflow, _ in engine.workflows.values()]
        rows = [{"name": each.name, "description": each.description} for each in declared]
        at, count = (int(request.query[name]) for name in ("offset", "limit"))
        return web.json_response({"rows": rows[at : at + count]})

    async def not_modelled(request: web.Request) -> web.StreamResponse:
        raise web.HTTPNotImplemented(text=f"{request.path} needs a real engine")

    application = web.Application(middlewares=[authorized])
    application.router.add_get("/api/v1/stable/tasks/{task}/logs", logs)
    application.router.add_get("/api/v1/stable/workflow-runs/{run}", run)
    application.router.add_get("/api/v1/stable/tasks/{task}/task-events", events)
    tenant = "/api/v1/tenants/{tenant}"
    stable = "/api/v1/stable/tenants/{tenant}"
    application.router.add_get(f"{stable}/workflow-runs", runs)
    application.router.add_get(f"{tenant}/worker", workers)
    application.router.add_get(f"{tenant}/task-stats", stats)
    application.router.add_get(f"{tenant}/workflows", workflows)
    application.router.add_get(f"{tenant}/step-run-queue-metrics", waiting)
    application.router.add_patch("/api/v1/workers/{worker}", update)
    application.router.add_route("*", "/{rest:.*}", not_modelled)
    return application
