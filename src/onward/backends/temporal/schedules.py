"""Temporal's schedules. The note of each one stores what Onward declared."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import cast

import msgspec
from msgspec.structs import replace
from temporalio.api.common.v1 import Payload
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
from temporalio.client import Schedule as TemporalSchedule
from temporalio.service import RPCError, RPCStatusCode

from onward import plan as plans
from onward.backend import Overlap, Schedule, Scheduled
from onward.backend.schedules import CATCH_UP
from onward.backends.temporal.client import PROMPT
from onward.backends.temporal.converter import raw_value
from onward.backends.temporal.message import FlowOptions, encode, tags_memo, workflow_type
from onward.plan import Plan

_NOTE_PREFIX = "onward "
"""The prefix of the note of each schedule that Onward made."""

_OVERLAPS: dict[Overlap, ScheduleOverlapPolicy] = {
    "allow": ScheduleOverlapPolicy.ALLOW_ALL,
    "skip": ScheduleOverlapPolicy.SKIP,
    "queue": ScheduleOverlapPolicy.BUFFER_ALL,
}


async def create_or_replace(
    client: Client, schedule: Schedule, plan: Plan, options: FlowOptions, task_queue: str
) -> Schedule:
    """Makes a schedule, or replaces the one of the same name; raises RPCError."""
    made = _to_temporal(schedule, plan, options, task_queue)
    try:
        await client.create_schedule(schedule.name, made, rpc_timeout=PROMPT)
    except ScheduleAlreadyRunningError:

        def changed(given: ScheduleUpdateInput) -> ScheduleUpdate:
            if _from_note(given.description.schedule.state.note) is None:
                message = "a schedule of this name exists that Onward did not make: use another"
                raise RPCError(message, RPCStatusCode.INVALID_ARGUMENT, b"")
            made.state.paused = given.description.schedule.state.paused
            return ScheduleUpdate(made)

        await client.get_schedule_handle(schedule.name).update(changed, rpc_timeout=PROMPT)
    found = await client.get_schedule_handle(schedule.name).describe(rpc_timeout=PROMPT)
    return _shown(schedule, found.schedule.state.paused, found.info.next_action_times)


async def list_all(client: Client) -> list[Schedule]:
    """Lists the schedules that Onward made, sorted by name; raises RPCError."""
    found: list[Schedule] = []
    async for each in await client.list_schedules(rpc_timeout=PROMPT):
        declared = _from_note(each.schedule.state.note if each.schedule else None)
        if declared is None or each.schedule is None:
            continue
        times = each.info.next_action_times if each.info else ()
        found.append(_shown(declared, each.schedule.state.paused, times))
    return sorted(found, key=lambda schedule: schedule.name)


async def read(client: Client, name: str) -> Scheduled:
    """Returns a schedule and its plan; raises RPCError."""
    found = await client.get_schedule_handle(name).describe(rpc_timeout=PROMPT)
    declared = _from_note(found.schedule.state.note)
    action = found.schedule.action
    assert isinstance(action, ScheduleActionStartWorkflow)
    plan = None
    if declared is not None:
        payloads = cast("Sequence[Payload]", action.args)  # as the server gave them
        [raw, *_] = await client.data_converter.decode(payloads)
        plan = plans.decode(raw).value_or(None)
    if declared is None or plan is None:
        raise _not_ours()
    return Scheduled(
        _shown(declared, found.schedule.state.paused, found.info.next_action_times), plan
    )


async def pause(client: Client, name: str, *, is_paused: bool) -> None:
    """Pauses or resumes a schedule; raises RPCError."""

    def changed(given: ScheduleUpdateInput) -> ScheduleUpdate:
        _refuse_others(given.description)
        # The SDK's own `pause` would overwrite the note.
        given.description.schedule.state.paused = is_paused
        return ScheduleUpdate(given.description.schedule)

    await client.get_schedule_handle(name).update(changed, rpc_timeout=PROMPT)


async def remove(client: Client, name: str) -> None:
    """Deletes a schedule; raises RPCError."""
    handle = client.get_schedule_handle(name)
    _refuse_others(await handle.describe(rpc_timeout=PROMPT))
    await handle.delete(rpc_timeout=PROMPT)


def _refuse_others(found: ScheduleDescription) -> None:
    """Raises RPCError if Onward did not make a schedule, as if it did not exist."""
    if _from_note(found.schedule.state.note) is None:
        raise _not_ours()


def _not_ours() -> RPCError:
    return RPCError("Onward made no schedule of this name", RPCStatusCode.NOT_FOUND, b"")


def _to_temporal(
    schedule: Schedule, plan: Plan, options: FlowOptions, task_queue: str
) -> TemporalSchedule:
    if schedule.cron is not None:
        spec = ScheduleSpec(cron_expressions=[schedule.cron], time_zone_name=schedule.timezone)
    else:
        assert schedule.every is not None  # one of the two is given
        every = timedelta(seconds=schedule.every)
        spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)])
    declared = msgspec.json.encode(replace(schedule, paused=False, next_at=None)).decode()
    return TemporalSchedule(
        action=ScheduleActionStartWorkflow(
            workflow_type(plan.flow),
            args=[raw_value(plans.encode(plan)), raw_value(encode(options))],
            # The server appends the time. The prefix tells it apart from ids of single activities.
            id=f"schedule-{schedule.name}",
            memo=tags_memo(plan.tags),
            task_queue=task_queue,
        ),
        spec=spec,
        policy=SchedulePolicy(
            overlap=_OVERLAPS[schedule.overlap],
            catchup_window=timedelta(seconds=schedule.catch_up or CATCH_UP),
        ),
        state=ScheduleState(note=f"{_NOTE_PREFIX}{declared}", paused=schedule.paused),
    )


def _shown(schedule: Schedule, is_paused: bool, times: Sequence[datetime]) -> Schedule:
    next_at = times[0] if times and not is_paused else None
    return replace(schedule, paused=is_paused, next_at=next_at)


def _from_note(note: str | None) -> Schedule | None:
    if note is None or not note.startswith(_NOTE_PREFIX):
        return None
    try:
        return _DECODER.decode(note.removeprefix(_NOTE_PREFIX))
    except msgspec.MsgspecError:
        return None


_DECODER = msgspec.json.Decoder(Schedule)
