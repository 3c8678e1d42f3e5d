"""Makes the records of steps, of what the engine has of their runs."""

from __future__ import annotations

from datetime import UTC, datetime

from onward import plan as plans
from onward.backend import AttemptRecord, StepRecord
from onward.backend.support import step_name
from onward.backends.hatchet import lower, names
from onward.backends.hatchet.message import LastAttempt, RunInput, StepResult, decode_result
from onward.backends.hatchet.runs import COMPLETED, QUEUED, Run
from onward.fault import Raised, TimedOut
from onward.outcome import Faulted, Outcome, decode
from onward.plan import Plan, Runnable

_LAST = datetime.max.replace(tzinfo=UTC)


def place(plan: Plan, name: str, prefix: str) -> tuple[str, Runnable] | None:
    """Returns the path and the step that a task of a call's own run runs.

    Args:
        plan: The call's plan.
        name: The task's name in the engine.
        prefix: The prefix of workflow names.

    Returns:
        None if it runs the whole flow.
    """
    if name in (names.workflow(each, prefix) for each in (names.FLOW, names.UNIQUE)):
        return None
    if isinstance(plan.root, Runnable):
        return "0", plan.root
    dag = lower.any_dag(plan.root)
    part = None if dag is None else dag.part(name)
    return None if part is None else (part.at, part.step)


def step_in(run_input: RunInput) -> Runnable | None:
    """Returns the step that a run with this input runs; None if it runs none."""
    plan = plans.decode(run_input.plan.encode()).value_or(None)
    return plan.root if plan is not None and isinstance(plan.root, Runnable) else None


def result_of(run: Run) -> StepResult | None:
    """Returns what a worker reported of a run; None if it has not, or not yet."""
    return decode_result(bytes(run.output) if run.status == COMPLETED else run.error_message or "")


def of_run(
    path: str,
    step: Runnable,
    flow: str,
    run: Run,
    outcome: Outcome | None,
    result: StepResult | None,
) -> StepRecord | None:
    """Makes the record of a step; None if it has not begun.

    Args:
        path: The step's path.
        step: The step.
        flow: The name of the call's flow.
        run: Its run, or its task of the call's run.
        outcome: Its outcome, if it has one.
        result: What its worker reported.
    """
    if outcome is None and (run.started_at is None or run.status == QUEUED):
        return None
    ended = None if outcome is None else run.finished_at
    last = None if result is None else result.last
    if last is None:
        number = _attempts(outcome)
        attempts = [AttemptRecord(number, run.started_at, ended, "", outcome)]
    else:
        attempts = [*_earlier(last), _last(last, run, ended, outcome)]
    began = attempts[0].began if attempts[0].number == 1 else run.started_at
    return StepRecord(
        path=path,
        task=step_name(step, flow),
        outcome=outcome,
        attempts=tuple(attempts),
        began=began or run.started_at,
        ended=ended,
    )


def moment(step: StepRecord) -> tuple[datetime, str]:
    """Where a step stands in the order in which steps began."""
    return step.began or step.ended or _LAST, step.path


def _earlier(last: LastAttempt) -> list[AttemptRecord]:
    return [
        AttemptRecord(
            int(each.number),
            _time(each.began),
            _time(each.ended),
            last.worker,
            decode(each.outcome.encode()),
        )
        for each in last.earlier
    ]


def _last(
    last: LastAttempt, run: Run, ended: datetime | None, outcome: Outcome | None
) -> AttemptRecord:
    number = int(last.attempt) if last.attempt.isdecimal() else 1
    began = _time(last.began) if last.began else run.started_at
    return AttemptRecord(number, began, ended, last.worker, outcome)


def _time(text: str) -> datetime:
    return datetime.fromtimestamp(float(text), UTC)


def _attempts(outcome: Outcome | None) -> int:
    fault = outcome.fault if isinstance(outcome, Faulted) else None
    return fault.attempts if isinstance(fault, Raised | TimedOut) else 1
