"""Hands a schedule over from one backend to another, so that one of them has it.

On the old backend the schedule is marked and paused, on the new one it is made, and on the old one
it is removed. Whoever does it again after a crash goes on where it stopped: the mark says that the
pause is not the user's.
"""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime

from msgspec.structs import replace
from returns.result import Failure, Result, Success

from onward.backend import ReadsSchedules, Schedule, Scheduled, Schedules, Submission
from onward.backend.guard import call_backend
from onward.fault import Fault, Unknown
from onward.plan import Plan

_MARK = "onward-handover"
_PAUSED = "paused"

_CLOSE = 3.0
"""How close the next run may be when a schedule is paused, in seconds: it may begin meanwhile."""

_TRIES = 3


def hand_over(name: str, old: ReadsSchedules, to: Schedules) -> Result[Schedule, Fault]:
    """Hands a schedule over.

    Args:
        name: The schedule's name.
        old: The backend that has it.
        to: The backend that gets it.

    Returns:
        The schedule on the new backend. `Unknown` if the old one has none of this name; what the
        new one refuses, after which the old one goes on with it.
    """
    answer = _away_from_its_run(name, old)
    if isinstance(answer, Failure):
        return Failure(answer.failure())
    found = answer.unwrap()
    schedule, plan = replace(found.schedule, paused=False, next_at=None), _unmarked(found.plan)
    mark = found.plan.trace.get(_MARK)
    if mark is None:
        mark = _mark_of(found.schedule)
        marked = replace(plan, trace=plan.trace | {_MARK: mark})
        noted = call_backend(old.schedule, schedule, marked)
        if isinstance(noted, Failure):
            return noted
    paused = call_backend(old.pause_schedule, name)
    if isinstance(paused, Failure):
        return Failure(paused.failure())
    is_paused, due = mark == _PAUSED, _due_of(mark)
    was_made = isinstance(to, ReadsSchedules) and isinstance(
        call_backend(to.scheduled, name), Success
    )
    made = _made(schedule, plan, to, is_paused=is_paused)
    if isinstance(made, Failure):
        _give_back(schedule, plan, old, is_paused=is_paused)
        return made
    if due is not None and due <= time.time() and not was_made:
        missed = call_backend(to.submit, Submission(replace(plan, id=_id_of_run(name, due))))
        if isinstance(missed, Failure):
            return Failure(missed.failure())
    again = call_backend(old.scheduled, name)
    if isinstance(again, Success) and _MARK not in again.unwrap().plan.trace:
        # Somebody declared it meanwhile, with other arguments or times.
        schedule = replace(again.unwrap().schedule, paused=False, next_at=None)
        made = _made(schedule, again.unwrap().plan, to, is_paused=is_paused)
        if isinstance(made, Failure):
            return made
    gone = call_backend(old.unschedule, name)
    if isinstance(gone, Failure) and not isinstance(gone.failure(), Unknown):
        return Failure(gone.failure())
    return made


def _away_from_its_run(name: str, old: ReadsSchedules) -> Result[Scheduled, Fault]:
    """Reads a schedule, if possible at a moment at which it is not about to run."""
    answer = call_backend(old.scheduled, name)
    for _ in range(_TRIES):
        due = answer.unwrap().schedule.next_at if isinstance(answer, Success) else None
        left = _CLOSE if due is None else (due - datetime.now(UTC)).total_seconds()
        if left >= _CLOSE:
            break
        time.sleep(max(0.1, min(left, _CLOSE) + 0.1))
        answer = call_backend(old.scheduled, name)
    return answer


def _made(
    schedule: Schedule, plan: Plan, to: Schedules, *, is_paused: bool
) -> Result[Schedule, Fault]:
    made = call_backend(to.schedule, replace(schedule, paused=is_paused), plan)
    if isinstance(made, Success) and is_paused:
        return call_backend(to.pause_schedule, schedule.name).bind(lambda _: made)
    return made


def _give_back(schedule: Schedule, plan: Plan, old: Schedules, *, is_paused: bool) -> None:
    call_backend(old.schedule, schedule, plan)
    if not is_paused:
        call_backend(old.resume_schedule, schedule.name)


def _unmarked(plan: Plan) -> Plan:
    return replace(plan, trace={name: it for name, it in plan.trace.items() if name != _MARK})


def _mark_of(schedule: Schedule) -> str:
    """Whether a schedule was paused before, or else when it would run next."""
    if schedule.paused:
        return _PAUSED
    return "" if schedule.next_at is None else repr(schedule.next_at.timestamp())


def _due_of(mark: str) -> float | None:
    try:
        return float(mark)
    except ValueError:
        return None


def _id_of_run(name: str, due: float) -> str:
    """The id of a run that neither backend has made; the same for everybody."""
    return hashlib.sha256(f"{name}\n{due}".encode()).hexdigest()[:32]
