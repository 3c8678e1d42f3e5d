"""The workflows that a worker declares to the engine: one for each task and each named flow."""

from __future__ import annotations

from collections.abc import Iterator

from hatchet_sdk.contracts.v1.workflows_pb2 import (
    Concurrency,
    ConcurrencyLimitStrategy,
    CreateTaskOpts,
    CreateTaskRateLimit,
    CreateWorkflowVersionRequest,
    IdempotencyConfig,
    IdempotencyMethod,
)
from msgspec import Struct

from onward.backends.hatchet import limits, marks, names
from onward.backends.hatchet.client import duration
from onward.backends.hatchet.lower import Dag, to_dag
from onward.backends.hatchet.message import DUE, KEY
from onward.backends.hatchet.settings import Settings
from onward.backends.hatchet.submit import label, required
from onward.catalog import Catalog
from onward.limit import StepLimit
from onward.plan import StepNode

OURS = "Onward"
"""The description of the workflows that Onward declares."""

STEPS = "default"
FLOWS = "durable"
"""The engine's kinds of slots: for steps, and for flows, which mostly wait."""

_DELIVERIES = 100
"""How often the engine assigns a step again that a worker returned or lost."""

# The idempotency key. A scheduled run has its cron's metadata, and the time at which it was due.
# The engine compiles this expression for each run, so it is short. It needs both entries, so all
# other runs have an empty second one.
_ONCE = f"additional_metadata.{KEY} + additional_metadata.{DUE}"

_TEN_YEARS = duration(10 * 365 * 24 * 3600)
_MEDIUM = 2

_LONGEST_UNIQUE = 10 * 365 * 24 * 3600 * 1000
"""How long a key counts at most whose call does not end, in milliseconds."""


class Job(Struct, frozen=True):
    """What a worker runs for an action.

    Args:
        is_flow: Whether it runs a flow by the evaluator; if not, it runs one step.
        is_record: Whether the run is a record, of which only its outcome is reported.
    """

    is_flow: bool = False
    is_record: bool = False

    @property
    def slots(self) -> str:
        """The kind of slots that it takes."""
        return FLOWS if self.is_flow or self.is_record else STEPS


class Workflow(Struct, frozen=True):
    """A workflow to declare, and what the worker runs for its actions.

    Args:
        request: The declaration.
        jobs: What the worker runs, by action.
        dag: The flow's DAG, if the workflow is one.
    """

    request: CreateWorkflowVersionRequest
    jobs: dict[str, Job]
    dag: Dag | None = None


def workflows(catalog: Catalog, settings: Settings) -> Iterator[Workflow]:
    """Returns the workflows that a worker of a catalog declares."""
    for name in catalog.tasks:
        single = _single(names.workflow(name, settings.prefix), Job(), settings)
        _limit(single.request.tasks[0], name, settings)
        yield single
    yield _single(names.workflow(names.FUSED, settings.prefix), Job(), settings)
    yield _single(names.workflow(names.LIMITED, settings.prefix), Job(), settings)
    yield _single(names.workflow(names.PLACE, settings.prefix), Job(is_flow=True), settings)
    yield _single(names.workflow(names.FLOW, settings.prefix), Job(is_flow=True), settings)
    yield _unique(settings)
    yield _single(names.workflow(names.RECORD, settings.prefix), Job(is_record=True), settings)
    yield _mailbox(settings)
    for name, flow in catalog.flows.items():
        dag = to_dag(flow.node, settings.limits)
        workflow = names.workflow(name, settings.prefix)
        if dag is None:
            yield _single(workflow, Job(is_flow=True), settings)
        else:
            yield _dag(workflow, dag, settings)


def of_limit(
    limit: StepLimit, settings: Settings, *, of_calls: bool
) -> CreateWorkflowVersionRequest:
    """Returns the workflow that hands out the places of a limit.

    Each attempt at a step with the limit is a run of it. The engine counts the runs of a workflow,
    so tasks can share a limit. Workers have one action for all limits, and labels for their tasks.
    Each call of a flow with the limit has a run of it beside its own, which lasts as long.
    """
    name = names.limit(limit.name, settings.prefix, of_calls=of_calls)
    action = names.workflow(names.PLACE if of_calls else names.LIMITED, settings.prefix)
    # The engine counts what runs by the names of tasks, so these have that of their action.
    task = _task(action, f"{action}:run", FLOWS if of_calls else STEPS, settings)
    if of_calls:
        task.worker_labels[label(settings.queue)].CopyFrom(required())
    # With a fair limit, each key has a queue of its own before the one that all share.
    for mark in [marks.LIMIT_KEY] * limit.fair + [marks.POOL]:
        task.concurrency.append(
            Concurrency(
                expression=f"additional_metadata.{mark}",
                max_runs=limit.concurrency or 1,
                limit_strategy=ConcurrencyLimitStrategy.GROUP_ROUND_ROBIN,
            )
        )
    return _request(name, [task], settings)


def _single(name: str, job: Job, settings: Settings) -> Workflow:
    action = f"{name}:run"
    task = _task(name, action, job.slots, settings)
    if job.is_flow:  # the caller chooses the queue of a task
        task.worker_labels[label(settings.queue)].CopyFrom(required())
    return Workflow(_request(name, [task], settings), {action: job})


def _unique(settings: Settings) -> Workflow:
    """The workflow of calls whose idempotency key counts until they have ended."""
    unique = _single(names.workflow(names.UNIQUE, settings.prefix), Job(is_flow=True), settings)
    unique.request.idempotency.method = IdempotencyMethod.STATUS
    unique.request.idempotency.ttl_ms = _LONGEST_UNIQUE
    return unique


def _mailbox(settings: Settings) -> Workflow:
    """The workflow of mailboxes. No worker serves its action, so its runs wait to be cancelled."""
    name = names.workflow(names.MAILBOX, settings.prefix)
    task = _task(name, f"{name}:run", FLOWS, settings)
    # An end that nobody asked for does no harm, and the mailboxes of lost calls must end.
    task.schedule_timeout = duration(settings.keep)
    return Workflow(_request(name, [task], settings), {})


def _dag(name: str, dag: Dag, settings: Settings) -> Workflow:
    tasks: list[CreateTaskOpts] = []
    jobs: dict[str, Job] = {}
    for part in dag.parts:
        # The action is the task's own. So any worker that serves the task can run the step, even
        # for a call that began before a deploy changed the flow.
        task_name = part.step.task if isinstance(part.step, StepNode) else names.FUSED
        action = f"{names.workflow(task_name, settings.prefix)}:run"
        task = _task(part.name, action, STEPS, settings)
        task.parents.extend(dag.parents(part))
        task.worker_labels[label(part.step.queue or settings.queue)].CopyFrom(required())
        _limit(task, task_name, settings)
        tasks.append(task)
        jobs[action] = Job()
    return Workflow(_request(name, tasks, settings), jobs, dag)


def _task(name: str, action: str, slots: str, settings: Settings) -> CreateTaskOpts:
    return CreateTaskOpts(
        readable_id=name,
        action=action,
        timeout=duration(settings.lease),
        schedule_timeout=_TEN_YEARS,  # only the call's deadline limits the wait
        retries=_DELIVERIES,
        slot_requests={slots: 1},
    )


def _limit(task: CreateTaskOpts, name: str, settings: Settings) -> None:
    """Declares the limit of a task, if it has one."""
    limit = settings.limits.get(name)
    if limit is None:
        return
    if limit.concurrency is not None:
        task.concurrency.append(
            Concurrency(
                expression=f"'{name}'",  # one group for all runs
                max_runs=limit.concurrency,
                limit_strategy=ConcurrencyLimitStrategy.GROUP_ROUND_ROBIN,
            )
        )
    if limit.rate is not None:
        task.rate_limits.append(CreateTaskRateLimit(key=limits.key(name, settings.prefix), units=1))


def _request(
    name: str, tasks: list[CreateTaskOpts], settings: Settings
) -> CreateWorkflowVersionRequest:
    return CreateWorkflowVersionRequest(
        name=name,
        description=OURS,
        tasks=tasks,
        default_priority=_MEDIUM,
        idempotency=IdempotencyConfig(expression=_ONCE, ttl_ms=round(settings.keep * 1000)),
    )
