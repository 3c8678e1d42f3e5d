"""What fails is shown as failed in Temporal's own UI and tools."""

from uuid import uuid4

import pytest
from returns.result import Failure, Success
from temporalio.api.enums.v1 import EventType
from temporalio.client import ActivityExecutionStatus, Client, WorkflowExecutionStatus

from onward import cancel, result, submit
from onward.backends.temporal import TemporalBackend
from onward.flows.flow import AnyFlow
from tests.engines.process import until
from tests.temporal.sdk import Sdk
from tests.temporal.served import crash, double, halve, inc, mend, overdue, wait

FAILED = EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED


def failed_steps(sdk: Sdk, id: str) -> list[tuple[str, str, str]]:
    """The activity, the kind and the text of each failure in a workflow's history."""
    events = sdk.history(id).events
    names = {
        event.event_id: event.activity_task_scheduled_event_attributes.activity_type.name
        for event in events
        if event.HasField("activity_task_scheduled_event_attributes")
    }
    found: list[tuple[str, str, str]] = []
    for event in events:
        if event.event_type == FAILED:
            of = event.activity_task_failed_event_attributes
            info = of.failure.application_failure_info
            found.append((names[of.scheduled_event_id], info.type, of.failure.message))
    return found


@pytest.mark.parametrize(
    ("step", "value", "kind", "text"),
    [
        (crash, 3, "ValueError", "xxx"),
        (halve, 3, "Failure", '"number":3'),
        (overdue, 1, "TimedOut", "no value after 0.1 s"),
    ],
    ids=["raises", "answers with an error", "times out"],
)
def test_a_step_that_fails_is_shown_as_failed_and_so_is_its_call(
    step: AnyFlow, value: object, kind: str, text: str, backend: TemporalBackend, sdk: Sdk
) -> None:
    flow = (step >> double).named(f"shown-{uuid4().hex}")
    single = submit(step(value), on=backend).unwrap()
    call = submit(flow(value), on=backend).unwrap()
    for ref in (single, call):
        assert isinstance(result(ref, on=backend, timeout=120), Failure)
    alone = sdk.run(lambda client: client.get_activity_handle(single.id).describe())
    assert alone.status == ActivityExecutionStatus.FAILED
    assert sdk.describe(call.id).status == WorkflowExecutionStatus.FAILED
    [(name, shown, said)] = failed_steps(sdk, call.id)
    assert (name, shown) == (step.name, kind)
    assert text in said

    async def listed(client: Client) -> list[str]:
        query = f'WorkflowType = "{flow.name}" AND ExecutionStatus = "Failed"'
        return [each.id async for each in client.list_workflows(query)]

    async def alone_is_listed(client: Client) -> bool:
        query = f'ActivityType = "{step.name}" AND ExecutionStatus = "Failed"'
        return single.id in [each.activity_id async for each in client.list_activities(query)]

    until(
        lambda: sdk.run(listed) == [call.id] and sdk.run(alone_is_listed),
        within=120,
        otherwise=lambda: "the list of what failed has not both",
    )


def test_what_was_rescued_failed_and_its_call_did_not(backend: TemporalBackend, sdk: Sdk) -> None:
    ref = submit((inc >> halve.rescue(mend))(2), on=backend).unwrap()
    assert result(ref, on=backend, timeout=120) == Success(2)
    assert [name for name, _, _ in failed_steps(sdk, ref.id)] == ["halve"]
    assert sdk.describe(ref.id).status == WorkflowExecutionStatus.COMPLETED


def test_an_end_from_outside_is_shown_as_what_it_is(backend: TemporalBackend, sdk: Sdk) -> None:
    cancelled = submit((wait >> wait)(60.0), on=backend).unwrap()
    late = submit((wait >> wait)(60.0), on=backend, deadline=0.5).unwrap()
    cancel(cancelled, on=backend).unwrap()
    for ref in (cancelled, late):
        assert isinstance(result(ref, on=backend, timeout=120), Failure)
    assert sdk.describe(cancelled.id).status == WorkflowExecutionStatus.TERMINATED
    assert sdk.describe(late.id).status == WorkflowExecutionStatus.TIMED_OUT
