"""Schedules: Temporal's own, with what Onward declared in the note that people see there."""

from __future__ import annotations

from datetime import timedelta

import msgspec
from msgspec.structs import replace
from temporalio.client import (
    Client,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleDescription,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.client import Schedule as Scheduled
from temporalio.service import RPCError, RPCStatusCode

from onward import plan as plans
from onward.backend import Schedule
from onward.backends.temporal.client import PROMPT
from onward.backends.temporal.converter import value
from onward.backends.temporal.message import How, shortened, write
from onward.plan import Plan

_OURS = "onward "
"""What the note of a schedule begins with that Onward made."""

_CATCH_UP = timedelta(seconds=60)
"""What was due while the server was away for longer is not made up for."""


async def put(
    client: Client, schedule: Schedule, plan: Plan, how: How, task_queue: str
) -> Schedule:
    """Makes a schedule, or puts it in the place of the one of that name; raises RPCError."""
    made = _made(schedule, plan, how, task_queue)
    try:
        await client.create_schedule(schedule.name, made, rpc_timeout=PROMPT)
    except ScheduleAlreadyRunningError:

        def changed(given: ScheduleUpdateInput) -> ScheduleUpdate:
            if _declared(given.description.schedule.state.note) is None:
                taken = "there is a schedule of this name that Onward did not make: use another"
                raise RPCError(taken, RPCStatusCode.INVALID_ARGUMENT, b"")
            made.state.paused = given.description.schedule.state.paused
            return ScheduleUpdate(made)

        await client.get_schedule_handle(schedule.name).update(changed, rpc_timeout=PROMPT)
    found = await client.get_schedule_handle(schedule.name).describe(rpc_timeout=PROMPT)
    times = found.info.next_action_times
    return replace(
        schedule, paused=found.schedule.state.paused, next_at=times[0] if times else None
    )


async def listed(client: Client) -> list[Schedule]:
    """The schedules that Onward made, by name; raises RPCError."""
    found: list[Schedule] = []
    async for each in await client.list_schedules(rpc_timeout=PROMPT):
        declared = _declared(each.schedule.state.note if each.schedule else None)
        if declared is None or each.schedule is None:
            continue
        times = each.info.next_action_times if each.info else ()
        next_at = times[0] if times else None
        found.append(replace(declared, paused=each.schedule.state.paused, next_at=next_at))
    return sorted(found, key=lambda schedule: schedule.name)


async def pause(client: Client, name: str, *, is_paused: bool) -> None:
    """Pauses a schedule, or lets it go on; raises RPCError."""

    def changed(given: ScheduleUpdateInput) -> ScheduleUpdate:
        _refuse_others(given.description)
        # The SDK's own pause would write over the note.
        given.description.schedule.state.paused = is_paused
        return ScheduleUpdate(given.description.schedule)

    await client.get_schedule_handle(name).update(changed, rpc_timeout=PROMPT)


async def remove(client: Client, name: str) -> None:
    """Takes a schedule away; raises RPCError."""
    handle = client.get_schedule_handle(name)
    _refuse_others(await handle.describe(rpc_timeout=PROMPT))
    await handle.delete(rpc_timeout=PROMPT)


def _refuse_others(found: ScheduleDescription) -> None:
    """Raises RPCError for a schedule that Onward did not make, as for one that is not there."""
    if _declared(found.schedule.state.note) is None:
        raise RPCError("no schedule of Onward's", RPCStatusCode.NOT_FOUND, b"")


def _made(schedule: Schedule, plan: Plan, how: How, task_queue: str) -> Scheduled:
    if schedule.cron is not None:
        spec = ScheduleSpec(cron_expressions=[schedule.cron], time_zone_name=schedule.timezone)
    else:
        assert schedule.every is not None  # one of the two is given
        every = timedelta(seconds=schedule.every)
        spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)])
    declared = msgspec.json.encode(replace(schedule, paused=False, next_at=None)).decode()
    return Scheduled(
        action=ScheduleActionStartWorkflow(
            shortened(plan.flow),
            args=[value(plans.encode(plan)), value(write(how))],
            # The server adds when it is; and no single task's id begins so.
            id=f"schedule-{schedule.name}",
            task_queue=task_queue,
        ),
        spec=spec,
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.ALLOW_ALL, catchup_window=_CATCH_UP),
        state=ScheduleState(note=f"{_OURS}{declared}"),
    )


def _declared(note: str | None) -> Schedule | None:
    if note is None or not note.startswith(_OURS):
        return None
    try:
        return _DECODER.decode(note.removeprefix(_OURS))
    except msgspec.MsgspecError:
        return None


_DECODER = msgspec.json.Decoder(Schedule)
