"""Temporal's own UI and tools show calls in plain terms."""

import json

from returns.result import Failure, Success
from temporalio.client import ActivityExecutionStatus, WorkflowExecutionStatus

from onward import case, each, explain, fixed, fused, given, result, run, submit, together
from onward.backends.temporal import TemporalBackend
from onward.backends.temporal.paths import without_parts
from onward.flows.flow import AnyFlow
from onward.plan import CaseNode, ChainNode
from onward.routing import Route
from tests.temporal.sdk import Sdk
from tests.temporal.served import (
    Long,
    Odd,
    double,
    halve,
    inc,
    mend,
    number_of,
    place,
    shift,
    sort,
    text_of,
    total,
)

pipeline = (inc >> together(double, inc) >> each(double) >> total).named("pipeline")


def test_a_workflow_has_its_flows_name(backend: TemporalBackend, sdk: Sdk) -> None:
    named = submit(pipeline(1), on=backend).unwrap()
    plain = submit((inc >> double)(1), on=backend).unwrap()
    for ref, name in ((named, "pipeline"), (plain, "inc >> double")):
        assert isinstance(result(ref, on=backend, timeout=120), Success)
        found = sdk.describe(ref.id)
        assert found.workflow_type == name
        assert found.status == WorkflowExecutionStatus.COMPLETED


def test_a_flow_name_that_is_too_long_is_cut(backend: TemporalBackend, sdk: Sdk) -> None:
    long: AnyFlow = inc
    for _ in range(300):
        long = long >> inc
    ref = submit(long(1), on=backend).unwrap()
    assert result(ref, on=backend, timeout=120) == Success(302)
    found = sdk.describe(ref.id)
    assert found.workflow_type.startswith("inc >> inc >> ")
    assert found.workflow_type.endswith("...")


def test_activities_have_the_names_and_paths_of_their_steps(
    backend: TemporalBackend, sdk: Sdk
) -> None:
    ref = submit(pipeline(1), on=backend).unwrap()
    assert result(ref, on=backend, timeout=120) == Success(14)
    seen = [event.activity_task_scheduled_event_attributes for event in sdk.scheduled(ref.id)]
    assert [(one.activity_type.name, one.activity_id) for one in seen] == [
        ("inc", "0"),
        ("double", "1[0]"),
        ("inc", "1[1]"),
        ("double", "2[0][0]"),
        ("double", "2[0][1]"),
        ("total", "3"),
    ]


def test_a_tasks_path_is_the_activitys_id(backend: TemporalBackend, sdk: Sdk) -> None:
    ref = submit((inc >> place)(1), on=backend).unwrap()
    assert result(ref, on=backend, timeout=120) == Success("1 of place")
    second = sdk.scheduled(ref.id)[1].activity_task_scheduled_event_attributes
    assert second.activity_id == "1"


def test_payloads_are_the_plain_json_of_the_values(backend: TemporalBackend, sdk: Sdk) -> None:
    flow = inc >> given(shift, 10, times=2)
    ref = submit(flow(1), on=backend).unwrap()
    assert result(ref, on=backend, timeout=120) == Success(22)
    history = sdk.history(ref.id)
    inputs = [
        event.activity_task_scheduled_event_attributes.input.payloads[0]
        for event in sdk.scheduled(ref.id)
    ]
    outputs = [
        event.activity_task_completed_event_attributes.result.payloads[0]
        for event in history.events
        if event.HasField("activity_task_completed_event_attributes")
    ]
    end = history.events[-1].workflow_execution_completed_event_attributes.result.payloads
    assert [payload.data for payload in (*inputs, *outputs, *end)] == [
        *(b"1", b"2"),
        *(b"2", b"22"),
        b"22",
    ]
    for payload in (*inputs, *outputs, *end):
        assert dict(payload.metadata) == {"encoding": b"json/plain"}


def test_all_arguments_of_a_call_are_shown(backend: TemporalBackend, sdk: Sdk) -> None:
    ref = submit((shift >> inc)(1, 10, times=2), on=backend).unwrap()
    assert result(ref, on=backend, timeout=120) == Success(22)
    first = sdk.scheduled(ref.id)[0].activity_task_scheduled_event_attributes
    *values, message = [payload.data for payload in first.input.payloads]
    assert values == [b"1", b"10", b"2"]
    assert json.loads(message)["keyword"] == ["times"]


def test_a_single_task_is_a_standalone_activity(backend: TemporalBackend, sdk: Sdk) -> None:
    ref = submit(double(21), on=backend).unwrap()
    assert result(ref, on=backend, timeout=120) == Success(42)
    found = sdk.run(lambda client: client.get_activity_handle(ref.id).describe())
    assert found.activity_type == "double"
    assert found.status == ActivityExecutionStatus.COMPLETED


def test_a_fused_flow_is_one_activity_with_the_flows_name(
    backend: TemporalBackend, sdk: Sdk
) -> None:
    whole = submit(fused(inc >> double)(1), on=backend).unwrap()
    part = submit((inc >> fused(inc >> double)).named("part")(1), on=backend).unwrap()
    assert result(whole, on=backend, timeout=120) == Success(4)
    assert result(part, on=backend, timeout=120) == Success(6)
    found = sdk.run(lambda client: client.get_activity_handle(whole.id).describe())
    assert found.activity_type == "inc >> double"
    names = [
        event.activity_task_scheduled_event_attributes.activity_type.name
        for event in sdk.scheduled(part.id)
    ]
    assert names == ["inc", "part"]


def test_a_domain_error_is_shown_with_its_values(backend: TemporalBackend, sdk: Sdk) -> None:
    ref = submit((inc >> halve)(2), on=backend).unwrap()
    assert result(ref, on=backend, timeout=120) == Failure(Odd(3))
    failure = sdk.history(ref.id).events[-1].workflow_execution_failed_event_attributes.failure
    assert '"number":3' in failure.message
    assert failure.application_failure_info.type == "Failure"
    assert failure.application_failure_info.non_retryable


def test_the_paths_of_a_rescue_name_its_sides(backend: TemporalBackend, sdk: Sdk) -> None:
    ref = submit((inc >> halve.rescue(mend))(2), on=backend).unwrap()
    assert result(ref, on=backend, timeout=120) == Success(2)
    ids = [
        event.activity_task_scheduled_event_attributes.activity_id
        for event in sdk.scheduled(ref.id)
    ]
    assert ids == ["0", "1.try", "1.rescue"]


def test_explain_shows_what_temporal_would_run(backend: TemporalBackend) -> None:
    flow = (inc >> together(double, halve.rescue(mend)) >> each(inc, limit=2)).named("shown")
    assert explain(flow, on=backend).splitlines() == [
        "workflow shown on tests",
        "  activity inc",
        "  side by side",
        "    activity double",
        "    try",
        "      activity halve",
        "    if that fails",
        "      activity mend",
        "  for each item (at most 2 at a time)",
        "    activity inc",
    ]
    assert explain(inc, on=backend) == "activity inc"
    assert explain(fused(inc >> inc), on=backend) == "activity inc >> inc (fused)"
    chosen = sort >> case(Odd, number_of >> inc).case(Long, text_of).case(None, fixed(inc, 1))
    assert explain(chosen, on=backend).splitlines()[1:] == [
        "  activity sort",
        "  if it is Odd",
        "    activity number_of",
        "    activity inc",
        "  if it is Long",
        "    activity text_of",
        "  if it is None",
        "    fixed",
        "      activity inc",
    ]
    slow = inc.with_(queue="slow")
    assert explain(slow >> inc, on=backend).splitlines()[1:] == [
        "  activity inc on slow",
        "  activity inc",
    ]


def test_a_path_through_a_long_branch_has_no_parts() -> None:
    branch = ChainNode((inc.node,) * 30)
    routes = (Route(("Odd",)), Route(("Long",)))
    root = ChainNode((inc.node, CaseNode((inc.node, branch), routes)))
    assert without_parts(root, "1[1].1.3") == "1[1].23"
    assert without_parts(root, "1[0]") == "1[0]"


def test_explain_shows_the_activities_that_run(backend: TemporalBackend, sdk: Sdk) -> None:
    flow = (inc >> double >> inc).named("as_shown")
    ref = submit(flow(1), on=backend).unwrap()
    assert result(ref, on=backend, timeout=120) == Success(5)
    ran = [
        f"  activity {event.activity_task_scheduled_event_attributes.activity_type.name}"
        for event in sdk.scheduled(ref.id)
    ]
    assert explain(flow, on=backend).splitlines()[1:] == ran
    assert run(flow(1), on=backend, timeout=120) == Success(5)
