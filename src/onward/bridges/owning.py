"""Which backend of a bridge has a schedule: the first, until it is handed over to the second."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from returns.result import Failure, Result, Success

from onward.backend import (
    Backend,
    ReadsSchedules,
    Schedule,
    Scheduled,
    Schedules,
    SchedulesHere,
    Submission,
)
from onward.bridges.asking import ask
from onward.bridges.placing import Pair
from onward.fault import Fault, Unknown


async def has(backend: Backend, name: str) -> Result[bool, Fault]:
    """Whether a backend has a schedule of this name."""
    if isinstance(backend, ReadsSchedules):
        read = await ask(backend.scheduled, name)
        if isinstance(read, Failure) and isinstance(read.failure(), Unknown):
            return Success(False)
        return read.map(lambda _: True)
    listed = await ask(cast(Schedules, backend).schedules)
    return listed.map(lambda found: any(each.name == name for each in found))


async def declare(
    pair: Pair, schedule: Schedule, submission: Submission
) -> Result[Schedule, Fault]:
    """Declares a schedule on the backend that has it; a new one on the first.

    So however many processes declare it while it is handed over, it ends up on one of them: who
    hands it over makes it on the second one before it removes it from the first.
    """
    owned = await has(pair.second, schedule.name)
    if isinstance(owned, Failure):
        return Failure(owned.failure())
    if not owned.unwrap():
        made = await _declared(pair.first, schedule, submission)
        owned = await has(pair.second, schedule.name)
        if isinstance(made, Failure) or isinstance(owned, Failure) or not owned.unwrap():
            return made
    made = await _declared(pair.second, schedule, submission)
    if isinstance(made, Failure):
        return made
    gone = await ask(cast(Schedules, pair.first).unschedule, schedule.name)
    return Failure(gone.failure()) if _is_wrong(gone) else made


async def _declared(
    backend: Backend, schedule: Schedule, submission: Submission
) -> Result[Schedule, Fault]:
    if isinstance(backend, SchedulesHere):
        return await ask(backend.schedule_here, schedule, submission)
    return await ask(cast(Schedules, backend).schedule, schedule, submission.plan)


async def listed(pair: Pair) -> Result[list[Schedule], Fault]:
    """The schedules of both backends; of a name that both have, the second one's."""
    by_name: dict[str, Schedule] = {}
    for backend in pair.sides:
        found = await ask(cast(Schedules, backend).schedules)
        if isinstance(found, Failure):
            return Failure(found.failure())
        by_name |= {each.name: each for each in found.unwrap()}
    return Success([by_name[name] for name in sorted(by_name)])


async def read(pair: Pair, name: str) -> Result[Scheduled, Fault]:
    """A schedule and its plan, of the backend that has it."""
    answer = await ask(cast(ReadsSchedules, pair.second).scheduled, name)
    if isinstance(answer, Failure) and isinstance(answer.failure(), Unknown):
        answer = await ask(cast(ReadsSchedules, pair.first).scheduled, name)
    return answer


async def change(
    pair: Pair, method: Callable[[Schedules], Callable[[str], Result[None, Fault]]], name: str
) -> Result[None, Fault]:
    """Changes a schedule on the backend that has it."""
    answer: Result[None, Fault] = Success(None)
    for backend in reversed(pair.sides):
        answer = await ask(method(cast(Schedules, backend)), name)
        if isinstance(answer, Success) or not isinstance(answer.failure(), Unknown):
            return answer
    return answer


async def remove(pair: Pair, name: str) -> Result[None, Fault]:
    """Removes a schedule from both backends; `Unknown` if neither has it."""
    answers = [
        await ask(cast(Schedules, backend).unschedule, name) for backend in reversed(pair.sides)
    ]
    wrong = [answer for answer in answers if _is_wrong(answer)]
    if wrong:
        return wrong[0]
    return next((answer for answer in answers if isinstance(answer, Success)), answers[0])


def _is_wrong(answer: Result[None, Fault]) -> bool:
    return isinstance(answer, Failure) and not isinstance(answer.failure(), Unknown)
