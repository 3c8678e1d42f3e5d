"""Outcomes from the engine's details of a run: nothing is taken for an empty success."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import cast

import pytest
from hatchet_sdk.contracts.dispatcher_pb2 import StepRunResult
from hatchet_sdk.contracts.v1.workflows_pb2 import (
    GetRunDetailsResponse,
    RunStatus,
    TaskRunDetail,
)
from msgspec import Raw

from onward import each, together
from onward.backends.hatchet import outcomes
from onward.backends.hatchet.message import encode, input_of, result_of
from onward.fault import BadPayload, Cancelled, Expired, Fault, Lost, Raised
from onward.flows.flow import AnyFlow
from onward.outcome import Faulted, Outcome, Value, faulted
from onward.plan import VERSION, Args, Plan
from onward.testing.tasks import add, double, inc, span, total

FLOW = cast(AnyFlow, together(inc, double))
ONE, TWO = Value(Raw(b"1")), Value(Raw(b"2"))


def plan_of(flow: AnyFlow, deadline: float | None = None) -> Plan:
    args = Args((Raw(b"1"),))
    return Plan(v=VERSION, id="", flow="flow", root=flow.node, args=args, deadline=deadline)


def details(
    tasks: Mapping[str, TaskRunDetail], *, done: bool = True, plan: Plan | None = None
) -> GetRunDetailsResponse:
    text = encode(input_of(plan or plan_of(FLOW)))
    return GetRunDetailsResponse(input=text.encode(), task_runs=tasks, done=done)


def completed(outcome: Outcome, at: str = "0", *, ends: bool = False) -> TaskRunDetail:
    text = encode(result_of(outcome, at=at, ends=ends))
    return TaskRunDetail(status=RunStatus.COMPLETED, output=text.encode())


def failed(error: str) -> TaskRunDetail:
    return TaskRunDetail(status=RunStatus.FAILED, error=error)


def fault_in(told: GetRunDetailsResponse) -> Fault:
    outcome = outcomes.of_details(told)
    assert isinstance(outcome, Faulted)
    return outcome.fault


def broken(text: str) -> Outcome:
    return faulted(Raised("inc", "ValueError", text))


@pytest.mark.parametrize("status", [RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.EVICTED])
def test_a_run_that_has_not_ended_has_no_outcome(status: RunStatus) -> None:
    assert outcomes.of_details(details({"inc": TaskRunDetail(status=status)}, done=False)) is None


def test_a_failure_of_which_no_worker_says_why_may_not_be_the_last_word() -> None:
    """The engine shows one also before it delivers the run of a dead worker again."""
    assert outcomes.is_without_result(details({"inc": failed("")}))
    assert not outcomes.is_without_result(details({"inc": failed("")}, done=False))
    assert not outcomes.is_without_result(details({"inc": completed(ONE)}))
    said = encode(result_of(broken("inc"), at="0", ends=True))
    assert not outcomes.is_without_result(details({"inc": failed(said)}))


def test_a_cancelled_run_is_cancelled() -> None:
    """By anyone, or because the engine found no worker in time."""
    cancelled = TaskRunDetail(status=RunStatus.CANCELLED)
    assert isinstance(fault_in(details({"inc": cancelled})), Cancelled)
    assert isinstance(fault_in(details({"inc": completed(ONE), "double": cancelled})), Cancelled)
    assert outcomes.of_event([StepRunResult(task_name="inc", error="")]) is None


@pytest.mark.parametrize("error", ["", "Task exceeded timeout of 60s", '{"error": 1}', "{}"])
def test_a_run_that_the_engine_gave_up_is_lost(error: str) -> None:
    fault = fault_in(details({"inc": failed(error)}))
    assert isinstance(fault, Lost)
    assert error in fault.message


@pytest.mark.parametrize("output", [b"", b"null", b"{}", b'{"value": 1}', b"\xff"])
def test_a_foreign_output_is_not_a_success(output: bytes) -> None:
    told = details({"inc": TaskRunDetail(status=RunStatus.COMPLETED, output=output)})
    assert isinstance(fault_in(told), BadPayload)
    foreign = GetRunDetailsResponse(input=b'{"n": 1}', done=True)
    assert isinstance(fault_in(foreign), BadPayload)


def test_a_run_expires_after_its_deadline() -> None:
    """A moment later, so that its worker can report first."""
    running = {"inc": TaskRunDetail(status=RunStatus.RUNNING)}
    long_ago = plan_of(FLOW, time.time() - 10)
    assert isinstance(fault_in(details(running, done=False, plan=long_ago)), Expired)
    just_now = plan_of(FLOW, time.time())
    assert outcomes.of_details(details(running, done=False, plan=just_now)) is None
    ended = {"inc": completed(ONE, ends=True)}
    assert outcomes.of_details(details(ended, plan=long_ago)) == ONE


def test_the_values_of_a_dags_last_steps_are_gathered() -> None:
    told = details({"inc": completed(ONE, "[0]"), "double": completed(TWO, "[1]")})
    assert outcomes.of_details(told) == Value(Raw(b"[1,2]"))


def test_the_leftmost_failure_of_a_dag_is_the_outcome() -> None:
    """In the order of their paths, where ten comes after nine."""
    ten = failed(encode(result_of(broken("ten"), at="[10]", ends=False)))
    nine = failed(encode(result_of(broken("nine"), at="[9].1", ends=False)))
    assert outcomes.of_details(details({"a": ten, "b": nine, "c": completed(ONE)})) == broken(
        "nine"
    )
    assert outcomes.of_event(
        [StepRunResult(error=ten.error), StepRunResult(error=nine.error), StepRunResult(output="")]
    ) == broken("nine")


def test_a_step_that_ran_the_whole_call_has_the_outcome() -> None:
    """Even if other steps of the DAG have results."""
    whole = completed(TWO, "", ends=True)
    assert outcomes.of_details(details({"a": completed(ONE), "b": whole})) == TWO


def test_a_dag_that_lacks_a_step_of_the_callers_flow_is_not_a_success() -> None:
    flow = cast(AnyFlow, together(inc, double) >> add)
    told = details({"inc": completed(ONE, "0[0]"), "double": completed(TWO, "0[1]")})
    told.input = encode(input_of(plan_of(flow))).encode()
    assert isinstance(fault_in(told), BadPayload)
    told.input = encode(input_of(plan_of(cast(AnyFlow, span >> each(inc) >> total)))).encode()
    assert isinstance(fault_in(told), BadPayload)
