"""What Hatchet does with runs, in memory: as much as Onward uses, and no more.

Measured on the real one (0.104) and done the same: what it gives for names that nobody has
declared, for keys that are taken, for what was cancelled; and that numbers become floats.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from hatchet_sdk.contracts.dispatcher_pb2 import (
    ActionType,
    AssignedAction,
    StepActionEvent,
    StepActionEventType,
    StepRunResult,
    WorkerRegisterRequest,
    WorkflowRunEvent,
)
from hatchet_sdk.contracts.v1.shared.trigger_pb2 import TriggerWorkflowRequest
from hatchet_sdk.contracts.v1.workflows_pb2 import (
    CreateWorkflowVersionRequest,
    GetRunDetailsResponse,
    IdempotencyMethod,
    RunStatus,
    TaskRunDetail,
)

from tests.hatchet.double.modelled import NotModelled, refuse_unmodelled
from tests.hatchet.double.states import Output, Run, Task, TaskEvent, Worker


class Refused(Exception):
    """The engine refuses the request."""


class Taken(Exception):
    """A run with this key exists."""


class Engine:
    """All runs, workers and workflows."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        """How many bytes a message may have."""
        self.workflows: dict[str, tuple[CreateWorkflowVersionRequest, str]] = {}
        self.runs: dict[str, Run] = {}
        self.tasks: dict[str, Task] = {}
        self.workers: dict[str, Worker] = {}
        self.logs: dict[str, list[str]] = {}
        self.broken_off = 0
        """For how many children it will store the key, but start no run."""
        self.replays: list[str] = []
        """The tasks that somebody had delivered again."""
        self.lost_events = 0
        """How many events of workers its database will lose."""
        self.lag = timedelta()
        """How much later than a run begins its HTTP API shows it."""
        self._keys: dict[str, str] = {}
        self._children: dict[tuple[str, str], str] = {}
        self._queued: dict[Task, None] = {}
        self._numbers = itertools.count()
        self._news = asyncio.Event()

    # -- workflows and runs -------------------------------------------------------------------

    def declare(self, request: CreateWorkflowVersionRequest) -> str:
        """Declares a workflow; returns the id of its version."""
        refuse_unmodelled(request)
        known = self.workflows.get(request.name)
        if known is None or known[0] != request:
            known = self.workflows[request.name] = request, str(uuid.uuid4())
        return known[1]

    def trigger(self, request: TriggerWorkflowRequest) -> str:
        """Starts a run, and returns its id; raises `Taken`."""
        for text in (request.input, request.additional_metadata):
            if "\0" in json.dumps(json.loads(text), ensure_ascii=False):
                raise Refused("encoded jsonb contains invalid null character")
        if request.HasField("priority") and not 1 <= request.priority <= 3:
            raise Refused(f"priority must be between 1 and 3, got {request.priority}")
        id = str(uuid.uuid4())
        child: tuple[str, str] | None = None
        marks = json.loads(request.additional_metadata)
        if request.HasField("parent_task_run_external_id"):
            child = self._child(request)
            marks = self.runs[child[0]].marks | marks
            if child in self._children:
                return self._children[child]
        if request.name not in self.workflows:
            return id
        workflow, version = self.workflows[request.name]
        if child is not None and self.broken_off:
            self.broken_off -= 1
            self._children[child] = id
            return id
        key = marks["onward"]
        if key in self._keys:
            holder = self._keys[key]
            is_freed = workflow.idempotency.method == IdempotencyMethod.STATUS
            if not (is_freed and self.runs[holder].is_over):
                raise Taken(holder)
        self._keys[key] = id
        if child is not None:
            self._children[child] = id
        run = Run(id, workflow, version, request, _through_floats(request.input), marks)
        for spec in workflow.tasks:
            is_alone = len(workflow.tasks) == 1
            task = Task(run, spec, id if is_alone else str(uuid.uuid4()), next(self._numbers))
            run.tasks[spec.readable_id] = self.tasks[task.id] = task
        self.runs[id] = run
        self._go_on(run)
        return id

    def shown(self) -> list[Run]:
        """The runs that its HTTP API shows."""
        newest = datetime.now(UTC) - self.lag
        return [run for run in self.runs.values() if run.created <= newest]

    def trigger_all(self, requests: Sequence[TriggerWorkflowRequest]) -> list[str]:
        """Starts runs; raises `Taken`.

        Like the real engine, it starts children that it knows once more, with the same ids, if some
        of the runs are new. Such a task never ends, because its events are taken for the first's.
        """
        children = [
            self._children.get(self._child(each))
            for each in requests
            if each.HasField("parent_task_run_external_id")
        ]
        known = [self.tasks[child] for child in children if child in self.tasks]
        for task in known if len(known) < len(requests) else ():
            self._queue(Task(task.run, task.spec, task.id, next(self._numbers)))
        ids: list[str] = []
        taken: Taken | None = None
        for each in requests:
            try:
                ids.append(self.trigger(each))
            except Taken as found:
                taken = found
        if taken is not None:
            raise taken
        return ids

    def _child(self, request: TriggerWorkflowRequest) -> tuple[str, str]:
        """By what the engine knows the child of a run."""
        return self.tasks[request.parent_task_run_external_id].run.id, request.child_key

    def cancel(self, ids: Iterable[str]) -> None:
        """Cancels runs or tasks that have not ended."""
        for id in ids:
            run, task = self.runs.get(id), self.tasks.get(id)
            for each in run.tasks.values() if run is not None else filter(None, [task]):
                if not each.is_over:
                    if each.status == RunStatus.RUNNING:
                        self._send(each, ActionType.CANCEL_STEP_RUN)
                    self._end(each, RunStatus.CANCELLED)

    def details(self, id: str) -> GetRunDetailsResponse | None:
        """The details of a run. Until it ends, they have only the states of its tasks."""
        run = self.runs.get(id)
        if run is None:
            return None
        tasks: dict[str, TaskRunDetail] = {}
        for name, task in run.tasks.items():
            if task.status is None:
                continue
            detail = TaskRunDetail(external_id=task.id, readable_id=name, status=task.status)
            if task.status == RunStatus.EVICTED:
                detail.status, detail.is_evicted = RunStatus.RUNNING, True
            if run.is_over:
                detail.error = task.error
                detail.output = b"" if task.output is None else json.dumps(task.output).encode()
            elif task.is_over:
                detail.status = RunStatus.QUEUED
            tasks[name] = detail
        statuses = [task.status for task in tasks.values()]
        order = (RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.RUNNING, RunStatus.QUEUED)
        return GetRunDetailsResponse(
            input=_written(run.input).encode(),
            status=next((each for each in order if each in statuses), RunStatus.COMPLETED),
            task_runs=tasks,
            done=run.is_over,
            additional_metadata=run.request.additional_metadata.encode(),
            is_evicted=any(task.is_evicted for task in tasks.values()),
        )

    async def ends(self, ids: set[str]) -> WorkflowRunEvent:
        """Waits for the next of these runs to end, and removes it from them."""
        while not (over := [id for id in ids if id in self.runs and self.runs[id].is_over]):
            await self._news.wait()
        ids.remove(over[0])
        tasks = self.runs[over[0]].tasks.values()
        results = [_result(task) for task in tasks]
        if sum(len(each.output) + len(each.error) for each in results) >= self.limit:
            results = []
        return WorkflowRunEvent(workflow_run_id=over[0], results=results)

    def tell(self) -> None:
        """Wakes those who wait for runs."""
        self._news.set()
        self._news = asyncio.Event()

    # -- workers ------------------------------------------------------------------------------

    def register(self, request: WorkerRegisterRequest) -> str:
        """Registers a worker; returns its id."""
        worker = Worker(str(uuid.uuid4()), request)
        self.workers[worker.id] = worker
        return worker.id

    def connect(self, worker: Worker) -> asyncio.Queue[AssignedAction]:
        """Starts to assign actions to a worker."""
        worker.stream = asyncio.Queue()
        self._schedule()
        return worker.stream

    def disconnect(self, worker: Worker, stream: asyncio.Queue[AssignedAction]) -> None:
        """Removes a worker. The real engine would reassign its tasks after half a minute."""
        if worker.stream is not stream:
            return
        worker.stream = None
        for task in list(self.tasks.values()):
            if task.worker is worker and task.status == RunStatus.RUNNING:
                task.error = "its worker died, which needs a real engine"
                self._end(task, RunStatus.FAILED)

    def event(self, event: StepActionEvent) -> None:
        """Handles a worker's event of a task."""
        if self.lost_events:
            self.lost_events -= 1
            raise Refused(
                f"invalid task external run id {event.task_run_external_id}: FATAL: terminating "
                "connection due to administrator command (SQLSTATE 57P01)"
            )
        task = self.tasks.get(event.task_run_external_id)
        if task is None:
            raise Refused(f"invalid task external run id {event.task_run_external_id}")
        if event.retry_count != task.retries or task.status != RunStatus.RUNNING:
            return
        if event.event_type == StepActionEventType.STEP_EVENT_TYPE_STARTED:
            task.note("STARTED")
            return
        if event.event_type == StepActionEventType.STEP_EVENT_TYPE_COMPLETED:
            task.output = _through_floats(event.event_payload)
            self._end(task, RunStatus.COMPLETED)
        elif event.event_type != StepActionEventType.STEP_EVENT_TYPE_FAILED:
            raise NotModelled(f"event {event.event_type}")
        elif not event.should_not_retry and task.retries < task.spec.retries:
            self._free(task)
            task.retries += 1
            task.worker = None
            self._queue(task)
            self._schedule()
        else:
            task.error = event.event_payload
            self._end(task, RunStatus.FAILED)

    def replay(self, ids: Iterable[str]) -> None:
        """Queues tasks that have failed; leaves others as they are."""
        for id in ids:
            self.replays.append(id)
            task = self.tasks[id]
            if task.status == RunStatus.FAILED:
                task.note("RETRIED_BY_USER")
                task.retries += 1
                task.worker, task.error = None, ""
                self._queue(task)
        self._schedule()

    def fail_to_send(self, id: str, ago: float, error: str) -> None:
        """Shows a task as failed, as if its delivery to a dead worker had failed so long ago."""
        task = self.tasks[id]
        moment = datetime.now(UTC) - timedelta(seconds=ago)
        task.events.append(TaskEvent("FAILED", task.retries, moment))
        self._queued.pop(task, None)
        task.status, task.error = RunStatus.FAILED, error

    def take_away(self, id: str) -> None:
        """Assigns a task again, as if its lease had run out."""
        task = self.tasks[id]
        self._send(task, ActionType.CANCEL_STEP_RUN)
        self._free(task)
        task.retries += 1
        task.worker = None
        self._queue(task)
        self._schedule()

    def release(self, id: str) -> None:
        """Frees a task's slot while it runs on."""
        self._free(self.tasks[id])
        self._schedule()

    def evict(self, id: str) -> None:
        """Takes a running task from its worker, until it is restored."""
        task = self.tasks[id]
        if task.status == RunStatus.RUNNING:
            self._free(task)
            task.status, task.worker = RunStatus.EVICTED, None
            self._schedule()

    def restore(self, id: str) -> None:
        """Queues an evicted task; leaves others as they are."""
        task = self.tasks[id]
        if task.status == RunStatus.EVICTED:
            self._queue(task)
            self._schedule()

    def is_running(self, id: str) -> bool:
        """Whether a worker has a task."""
        task = self.tasks.get(id)
        return task is not None and task.status == RunStatus.RUNNING

    def log(self, id: str, metadata: str) -> None:
        """Writes to a task's log."""
        self.logs.setdefault(id, []).append(metadata)

    def resume(self) -> None:
        """Assigns waiting tasks to workers with free slots."""
        self._schedule()

    # -- what follows -------------------------------------------------------------------------

    def _go_on(self, run: Run) -> None:
        """Queues the tasks whose parents are done, and cancels those that can never run."""
        for task in run.tasks.values():
            parents = [run.tasks[name] for name in task.spec.parents]
            if task.status is not None or not all(parent.is_over for parent in parents):
                continue
            if parents and all(parent.is_skipping for parent in parents):
                task.output = {"skipped": True}
                self._end(task, RunStatus.COMPLETED)
            elif all(parent.status == RunStatus.COMPLETED for parent in parents):
                self._queue(task)
            else:
                self._end(task, RunStatus.CANCELLED)
        self._schedule()

    def _queue(self, task: Task) -> None:
        task.status = RunStatus.QUEUED
        self._queued[task] = None

    def _schedule(self) -> None:
        for task in sorted(self._queued, key=lambda task: (-_priority(task.run), task.number)):
            worker = next((each for each in self.workers.values() if each.takes(task)), None)
            if worker is not None:
                for slot, count in task.spec.slot_requests.items():
                    worker.used[slot] = worker.used.get(slot, 0) + count
                task.has_slot = True
                task.status, task.worker = RunStatus.RUNNING, worker
                del self._queued[task]
                self._send(task, ActionType.START_STEP_RUN)

    def _send(self, task: Task, what: ActionType) -> None:
        assert task.worker is not None
        if task.worker.stream is None:
            return
        run = task.run
        parents = {
            name: each.output
            for name, each in run.tasks.items()
            if each.status == RunStatus.COMPLETED
        }
        task.worker.stream.put_nowait(
            AssignedAction(
                workflow_run_id=run.id,
                task_run_external_id=task.id,
                action_id=task.spec.action,
                action_type=what,
                action_payload=_written({"input": run.input, "parents": parents}),
                task_name=task.spec.readable_id,
                retry_count=task.retries,
                workflow_version_id=run.version,
            )
        )

    def _end(self, task: Task, status: RunStatus) -> None:
        self._free(task)
        self._queued.pop(task, None)
        task.status = status
        task.note("FINISHED" if status == RunStatus.COMPLETED else RunStatus.Name(status))
        self._go_on(task.run)
        if task.run.is_over:
            self.tell()

    def _free(self, task: Task) -> None:
        if task.has_slot and task.worker is not None:
            for slot, count in task.spec.slot_requests.items():
                task.worker.used[slot] -= count
        task.has_slot = False


def _priority(run: Run) -> int:
    return run.request.priority or run.workflow.default_priority


def _result(task: Task) -> StepRunResult:
    """A stream's event, which does not distinguish cancelled runs from runs without a value."""
    return StepRunResult(
        task_run_external_id=task.id,
        task_name=task.spec.readable_id,
        error=task.error,
        output=None if task.output is None else json.dumps(task.output),
    )


def _through_floats(text: str) -> Output:
    """JSON after the engine has rewritten it."""
    output: Output = json.loads(text, parse_int=float)
    return output


def _written(data: Output) -> str:
    """JSON as the engine encodes it."""
    text = json.dumps(data, ensure_ascii=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text
