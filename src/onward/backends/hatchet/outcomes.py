"""Finds the outcome of a run in the engine's details of it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from hatchet_sdk.contracts.dispatcher_pb2 import StepRunResult
from hatchet_sdk.contracts.v1.workflows_pb2 import GetRunDetailsResponse, RunStatus
from returns.result import Failure

from onward import plan as plans
from onward.backend.support import expired
from onward.backends.hatchet.message import (
    LastAttempt,
    RunInput,
    StepResult,
    cancelled,
    decode_input,
    decode_result,
)
from onward.coroutines import drive
from onward.evaluate import evaluate
from onward.fault import ONLY_ONWARD, BadPayload, Fault, Lost
from onward.outcome import Outcome, faulted
from onward.plan import Args, Plan, Runnable, has_cleanup

SLACK = 1.0
"""How long after a deadline a worker may still report an outcome, in seconds."""


def input_and_plan(details: GetRunDetailsResponse) -> tuple[RunInput, Plan] | None:
    """Returns the input of a run and its plan; None if the run is not Onward's."""
    run_input = decode_input(details.input)
    if run_input is None:
        return None
    plan = plans.decode(run_input.plan.encode()).value_or(None)
    return None if plan is None else (run_input, plan)


def unread(details: GetRunDetailsResponse) -> Fault | None:
    """Why the plan of a call cannot be read; None if it can, or if the run is not a call."""
    run_input = decode_input(details.input)
    if run_input is None or run_input.call:
        return None
    decoded = plans.decode(run_input.plan.encode())
    return decoded.failure() if isinstance(decoded, Failure) else None


def of_event(results: Iterable[StepRunResult]) -> Outcome | None:
    """Returns the outcome of a run that has ended, if the stream's event contains it.

    An event does not contain large values, and does not distinguish a cancelled run from one
    without a value.
    """
    return _found([decode_result(result.error or result.output) for result in results])


UNDELIVERED = "Could not send task to worker"
"""The beginning of the engine's error for a task that no worker could be given.

It takes a worker for alive for half a minute after its last sign of life, hands a task to dead
workers again and again, and gives it up after ten times, which may be over sooner.
"""


def kept_in(details: GetRunDetailsResponse) -> list[str]:
    """Returns the ids of the runs that store values which the outcome of this run needs."""
    ended = _ended(details) if details.done else []
    if _found(ended) is not None:
        return []
    return [result.kept for result in ended if result is not None and result.kept]


def of_details(
    details: GetRunDetailsResponse, kept: Mapping[str, Outcome] = MappingProxyType({})
) -> Outcome | None:
    """Returns the outcome of a run; None if it has none yet.

    Args:
        details: The engine's details of the run.
        kept: The values that other runs store, by the ids of these runs.
    """
    input_plan = input_and_plan(details)
    flow = input_plan[1].flow if input_plan else ""
    tasks = list(details.task_runs.values())
    ended = _ended(details)
    if not details.done:
        if input_plan is None or is_cleaned_up(*input_plan) or not is_late(*input_plan):
            return None
        return faulted(expired(flow))
    found = _found(ended)
    if found is not None:
        return found
    if _has_failed(details):
        errors = " ".join(task.error for task in tasks if task.error) or "it gives no reason"
        message = f"the engine gave up after many attempts to deliver it: {errors}"
        return faulted(Lost(flow, message))
    if any(task.status == RunStatus.CANCELLED for task in tasks):
        return faulted(cancelled(flow))
    outcomes = {
        result.at: kept[result.kept] if result.kept else result.read
        for result in ended
        if result is not None
    }
    if input_plan is None or len(outcomes) < len(tasks):
        message = "the run's output is not one of Onward's"
        return faulted(BadPayload(flow, message, advice=ONLY_ONWARD))
    return _replayed(input_plan[1], outcomes)


def is_without_result(details: GetRunDetailsResponse) -> bool:
    """Whether the engine says that a run has failed, and no worker says why.

    The engine has given up, or will deliver the run once more in some seconds.
    """
    return details.done and _has_failed(details) and _found(_ended(details)) is None


def undelivered(details: GetRunDetailsResponse) -> list[str]:
    """Returns the tasks of a run that the engine gave up because their workers did not answer."""
    return [
        task.external_id
        for task in details.task_runs.values()
        if task.status == RunStatus.FAILED and task.error.startswith(UNDELIVERED)
    ]


def _has_failed(details: GetRunDetailsResponse) -> bool:
    return any(task.status == RunStatus.FAILED for task in details.task_runs.values())


def is_late(run_input: RunInput, plan: Plan) -> bool:
    """Whether the deadline of a run has passed, so that no worker reports its outcome any more."""
    if plan.deadline is None or run_input.cleans_up:
        return False
    return plan.deadline + SLACK <= time.time()


def is_cleaned_up(run_input: RunInput, plan: Plan) -> bool:
    """Whether a run is a call with a cleanup, and not a part of one."""
    return not run_input.call and has_cleanup(plan)


def was_cancelled(details: GetRunDetailsResponse) -> bool:
    """Whether a run was cancelled in the engine."""
    tasks = details.task_runs.values()
    return details.done and any(task.status == RunStatus.CANCELLED for task in tasks)


def last_of(details: GetRunDetailsResponse) -> LastAttempt | None:
    """Returns a run's last attempt, if its worker reported it."""
    return _last(_ended(details))


def runs_of(details: GetRunDetailsResponse) -> int:
    """Returns how many runs of steps a call has, as far as its worker reported it."""
    ended = _ended(details) if details.done else []
    reported = (result.runs for result in ended if result is not None)
    return max((int(runs) for runs in reported if runs.isdecimal()), default=0)


def last_of_event(results: Iterable[StepRunResult]) -> LastAttempt | None:
    """Returns a run's last attempt, from the stream's event."""
    return _last([decode_result(result.error or result.output) for result in results])


def _last(results: Iterable[StepResult | None]) -> LastAttempt | None:
    ended = [result for result in results if result is not None and result.last is not None]
    if not ended:
        return None
    # The result that ends the call; or else one that failed; or else the last one in the flow.
    last = max(ended, key=lambda result: (result.ends, bool(result.error), _place(result)))
    return last.last


def _place(result: StepResult) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", result.at)]


def _ended(details: GetRunDetailsResponse) -> list[StepResult | None]:
    return [
        decode_result(task.output if _is_completed(task.status) else task.error)
        for task in details.task_runs.values()
    ]


def _is_completed(status: RunStatus) -> bool:
    return status == RunStatus.COMPLETED


def _found(ended: Iterable[StepResult | None]) -> Outcome | None:
    """Finds the outcome among the results of a run's steps: the call's own, or a failure."""
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
    """Returns the outcome of a flow whose steps had these outcomes."""

    async def run_step(step: Runnable, args: Args, where: str) -> Outcome:
        return outcomes[where]

    try:
        return drive(evaluate(plan.root, plan.args, run_step, in_flight=1))
    except KeyError:
        message = "a worker of another release ran a different flow"
        return faulted(BadPayload(plan.flow, message, advice="Submit it again."))
