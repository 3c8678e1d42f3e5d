"""The outcome of a run, from what the engine says about it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from hatchet_sdk.contracts.dispatcher_pb2 import StepRunResult
from hatchet_sdk.contracts.v1.workflows_pb2 import GetRunDetailsResponse, RunStatus

from onward import plan as plans
from onward.backend.support import expired
from onward.backends.hatchet.message import (
    LastAttempt,
    RunInput,
    StepResult,
    cancelled,
    read_input,
    read_result,
)
from onward.evaluate import evaluate
from onward.fault import ONLY_ONWARD, BadPayload, Lost
from onward.outcome import Outcome, faulted
from onward.plan import Args, Plan, Runnable

SLACK = 1.0
"""How long after a deadline its worker may still report it itself, in seconds."""


def order_of(details: GetRunDetailsResponse) -> tuple[RunInput, Plan] | None:
    """The input of a run and its plan; None if the run is not Onward's."""
    run_input = read_input(details.input)
    if run_input is None:
        return None
    plan = plans.decode(run_input.plan.encode()).value_or(None)
    return None if plan is None else (run_input, plan)


def of_event(results: Iterable[StepRunResult]) -> Outcome | None:
    """The outcome of a run that has ended, if the stream's event contains it.

    An event has no value that is large, and does not distinguish a cancelled run from one without
    a value.
    """
    return _found([read_result(result.error or result.output) for result in results])


def kept_in(details: GetRunDetailsResponse) -> list[str]:
    """The ids of the runs that keep values which the outcome of this run needs."""
    ended = _ended(details) if details.done else []
    if _found(ended) is not None:
        return []
    return [result.kept for result in ended if result is not None and result.kept]


def of_details(
    details: GetRunDetailsResponse, kept: Mapping[str, Outcome] = MappingProxyType({})
) -> Outcome | None:
    """The outcome of a run; None if it has none yet.

    Args:
        details: What the engine says about it.
        kept: The values that other runs keep, by the ids of these.
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
        said = " ".join(task.error for task in tasks if task.error) or "it gives no reason"
        message = f"the engine gave up after many attempts to deliver it: {said}"
        return faulted(Lost(flow, message))
    if any(task.status == RunStatus.CANCELLED for task in tasks):
        return faulted(cancelled(flow))
    outcomes = {
        result.at: kept[result.kept] if result.kept else result.read
        for result in ended
        if result is not None
    }
    if ordered is None or len(outcomes) < len(tasks):
        message = "the run's output is not one of Onward's"
        return faulted(BadPayload(flow, message, advice=ONLY_ONWARD))
    return _replayed(ordered[1], outcomes)


def last_of(details: GetRunDetailsResponse) -> LastAttempt | None:
    """The attempt that a run ended with, if its worker reported it."""
    return _last(_ended(details))


def last_of_event(results: Iterable[StepRunResult]) -> LastAttempt | None:
    """The attempt that a run ended with, from the stream's event."""
    return _last([read_result(result.error or result.output) for result in results])


def _last(results: Iterable[StepResult | None]) -> LastAttempt | None:
    ended = [result for result in results if result is not None and result.last is not None]
    if not ended:
        return None
    # The one that ends the call, else one that failed, else the last in the flow.
    last = max(ended, key=lambda result: (result.ends, bool(result.error), _place(result)))
    return last.last


def _place(result: StepResult) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", result.at)]


def _ended(details: GetRunDetailsResponse) -> list[StepResult | None]:
    return [
        read_result(task.output if _is_completed(task.status) else task.error)
        for task in details.task_runs.values()
    ]


def _is_completed(status: RunStatus) -> bool:
    return status == RunStatus.COMPLETED


def _found(ended: Iterable[StepResult | None]) -> Outcome | None:
    """The outcome among the results of a run's steps: the call's own, or the first failure."""
    failed: list[tuple[list[int], Outcome]] = []
    for result in ended:
        if result is None:
            continue
        if result.ends:
            return result.read
        if result.error:
            failed.append((_place(result), result.read))
    return min(failed, key=lambda pair: pair[0])[1] if failed else None


def _replayed(plan: Plan, outcomes: dict[str, Outcome]) -> Outcome:
    """The outcome of a flow whose steps gave these values."""

    async def run_step(step: Runnable, args: Args, where: str) -> Outcome:
        return outcomes[where]

    try:
        evaluate(plan.root, plan.args, run_step, in_flight=1).send(None)
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome
    except KeyError:
        message = "a worker of another release ran a different flow"
        return faulted(BadPayload(plan.flow, message, advice="Submit it again."))
    raise AssertionError("nothing in it waits")
