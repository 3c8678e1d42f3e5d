"""What came of a run, and where it is, out of what the engine tells of it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from hatchet_sdk.contracts.dispatcher_pb2 import StepRunResult
from hatchet_sdk.contracts.v1.workflows_pb2 import GetRunDetailsResponse, RunStatus

from onward import plan as plans
from onward.backends.hatchet.message import (
    Came,
    Last,
    Order,
    cancelled,
    expired,
    read_came,
    read_order,
)
from onward.evaluate import evaluate
from onward.fault import BadPayload, Lost
from onward.outcome import Outcome, faulted
from onward.plan import Args, Plan, Runnable

SLACK = 1.0
"""How long after a deadline its worker may still say so itself, in seconds."""

_PENDING = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.EVICTED)


def order_of(details: GetRunDetailsResponse) -> tuple[Order, Plan] | None:
    """What a run was started with; None for one that is not Onward's."""
    order = read_order(details.input)
    if order is None:
        return None
    plan = plans.decode(order.plan.encode()).value_or(None)
    return None if plan is None else (order, plan)


def of_event(results: Iterable[StepRunResult]) -> Outcome | None:
    """The outcome of a run that has ended, as far as the stream's event has it.

    It has not all: nothing at all where that is large, and of a run that was cancelled no more than
    of one that gave nothing.
    """
    return _found([read_came(result.error or result.output) for result in results])


def kept_in(details: GetRunDetailsResponse) -> list[str]:
    """The runs of their own in which values are kept that make up the outcome of this one."""
    ended = _ended(details) if details.done else []
    if _found(ended) is not None:
        return []
    return [came.kept for came in ended if came is not None and came.kept]


def of_details(
    details: GetRunDetailsResponse, kept: Mapping[str, Outcome] = MappingProxyType({})
) -> Outcome | None:
    """The outcome of a run; None if it has none yet.

    Args:
        details: What the engine tells of it.
        kept: The values that are kept in runs of their own, by their ids.
    """
    ordered = order_of(details)
    flow = ordered[1].flow if ordered else ""
    tasks = list(details.task_runs.values())
    ended = _ended(details)
    if not details.done:
        deadline = ordered[1].deadline if ordered else None
        is_late = deadline is not None and deadline + SLACK <= time.time()
        return faulted(expired(flow)) if is_late else None
    found = _found(ended)
    if found is not None:
        return found
    if any(task.status == RunStatus.FAILED for task in tasks):
        said = " ".join(task.error for task in tasks if task.error) or "it does not say why"
        message = f"the engine gave up, after no worker answered for it again and again: {said}"
        return faulted(Lost(flow, message))
    if any(task.status == RunStatus.CANCELLED for task in tasks):
        return faulted(cancelled(flow))
    outcomes = {
        came.at: kept[came.kept] if came.kept else came.read for came in ended if came is not None
    }
    if ordered is None or len(outcomes) < len(tasks):
        return faulted(BadPayload(flow, "the run gave what is no outcome: it was not Onward's"))
    return _replayed(ordered[1], outcomes)


def last_of(details: GetRunDetailsResponse) -> Last | None:
    """The attempt that a run ended with, where its worker says that."""
    ended = [came for came in _ended(details) if came is not None and came.last is not None]
    if not ended:
        return None
    # The one that ends the call, or else has failed; of others the one that is farthest on.
    came = max(ended, key=lambda came: (came.ends, bool(came.error), _place(came)))
    return came.last


def _place(came: Came) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", came.at)]


def is_pending(status: RunStatus) -> bool:
    """Whether a run, or a task of it, has not ended."""
    return status in _PENDING


def _ended(details: GetRunDetailsResponse) -> list[Came | None]:
    return [
        read_came(task.output if _is_completed(task.status) else task.error)
        for task in details.task_runs.values()
    ]


def _is_completed(status: RunStatus) -> bool:
    return status == RunStatus.COMPLETED


def _found(ended: Iterable[Came | None]) -> Outcome | None:
    """What ends the call among what came of a run's steps: its end, or its first failure."""
    failed: list[tuple[list[int], Outcome]] = []
    for came in ended:
        if came is None:
            continue
        if came.ends:
            return came.read
        if came.error:
            failed.append((_place(came), came.read))
    return min(failed, key=lambda pair: pair[0])[1] if failed else None


def _replayed(plan: Plan, outcomes: dict[str, Outcome]) -> Outcome:
    """What a flow gives whose steps gave these values."""

    async def run_step(step: Runnable, args: Args, where: str) -> Outcome:
        return outcomes[where]

    try:
        evaluate(plan.root, plan.args, run_step, in_flight=1).send(None)
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome
    except KeyError:
        return faulted(BadPayload(plan.flow, "a worker of another release ran another flow"))
    raise AssertionError("nothing in it waits")
