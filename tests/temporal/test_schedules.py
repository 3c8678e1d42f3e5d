"""Schedules beside other calls, and beside schedules that Onward did not make."""

from uuid import uuid4

from returns.result import Success
from temporalio.client import Client, ScheduleActionStartWorkflow, ScheduleSpec
from temporalio.client import Schedule as Scheduled

from onward import Unknown, pause_schedule, result, schedule, schedules, unschedule
from onward.backends.temporal import TemporalBackend
from tests.engines.process import until
from tests.temporal.sdk import Sdk
from tests.temporal.served import inc, same, size


def test_a_schedule_can_have_any_name(backend: TemporalBackend, sdk: Sdk) -> None:
    """Even one that resembles the id of a single task; its calls have outcomes."""
    for name in (f"task-{uuid4().hex}", f"a/b:[{uuid4().hex}]"):
        schedule(inc(1), on=backend, name=name, every=1).unwrap()
        ids = calls_of(name, sdk)
        unschedule(name, on=backend).unwrap()
        assert result(inc.ref(ids[0]), on=backend, timeout=120) == Success(2)


def test_a_large_schedule_runs_and_can_be_replaced(backend: TemporalBackend, sdk: Sdk) -> None:
    name, text = uuid4().hex, "x" * 1_900_000
    flow = same >> size
    schedule(flow(text), on=backend, name=name, every=3600).unwrap()
    schedule(flow(text), on=backend, name=name, every=1).unwrap()
    ids = calls_of(name, sdk)
    unschedule(name, on=backend).unwrap()
    assert result(flow.ref(ids[0]), on=backend, timeout=120) == Success(len(text))


def test_a_schedule_that_onward_did_not_make_is_left_alone(
    backend: TemporalBackend, sdk: Sdk
) -> None:
    """It is not listed, paused, replaced or deleted."""
    name = uuid4().hex

    async def make(client: Client) -> None:
        action = ScheduleActionStartWorkflow("theirs", id="theirs", task_queue="theirs")
        await client.create_schedule(name, Scheduled(action=action, spec=ScheduleSpec()))

    sdk.run(make)
    ours = uuid4().hex
    schedule(inc(1), on=backend, name=ours, every=3600).unwrap()

    def listed() -> list[str]:
        return [one.name for one in schedules(on=backend).unwrap()]

    until(lambda: ours in listed(), within=120, otherwise=lambda: "it is not listed")
    assert name not in listed()
    assert isinstance(pause_schedule(name, on=backend).failure(), Unknown)
    assert isinstance(unschedule(name, on=backend).failure(), Unknown)
    schedule(inc(1), on=backend, name=name, every=3600).failure()
    found = sdk.run(lambda client: client.get_schedule_handle(name).describe())
    assert isinstance(found.schedule.action, ScheduleActionStartWorkflow)
    assert found.schedule.action.workflow == "theirs"
    unschedule(ours, on=backend).unwrap()


def calls_of(name: str, sdk: Sdk) -> list[str]:
    """Waits until a schedule has made a call; returns the ids of its calls."""

    async def found(client: Client) -> list[str]:
        return [each.id async for each in client.list_workflows() if name in each.id]

    until(lambda: bool(sdk.run(found)), within=120, otherwise=lambda: "it made no call")
    return sdk.run(found)
