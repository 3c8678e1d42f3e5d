"""Moves calls that are under way to another backend, and finds calls that were moved."""

from __future__ import annotations

import time
from typing import TypeVar

from msgspec.structs import replace
from returns.result import Failure, Result, Success

from onward.backend import Backend, Checks, Finds, Moves, Submits
from onward.backend.additions import additions_of
from onward.backend.features import lacking
from onward.fault import Conflict, Fault, Moved, Unavailable, Unknown
from onward.flows.flow import Ref
from onward.interpret import core
from onward.interpret.callers import Caller
from onward.interpret.continuing import continued, continued_id, send_again, submission_of
from onward.interpret.prepare import check_backend, check_ref, unsupported
from onward.interpret.recorded import Recorded, recorded, without_plan
from onward.outcome import moved_by
from onward.plan import Plan

V = TypeVar("V")
E = TypeVar("E")


async def move(caller: Caller, ref: Ref[V, E], on: Moves, to: Backend) -> Result[Ref[V, E], Fault]:
    """See `onward.move`."""
    missing = unsupported(on, check_ref(ref).flow.name, "history", "give_up")
    if missing is not None:
        return Failure(missing)
    check_backend(to, "submit", "outcome")
    answer = await recorded(caller, ref, on)
    if isinstance(answer, Failure):
        return Failure(answer.failure())
    found = answer.unwrap()
    plan = found.plan
    if plan is None:
        return Failure(without_plan(ref, found))
    moved = moved_by(found.outcome)
    if moved is None:
        if found.outcome is not None:
            return Failure(_ended(ref, found))
        id = await _free_id(caller, found.plan_id or plan.id, to)
        if isinstance(id, Failure):
            return Failure(id.failure())
        next_plan = continued(plan, found, id.unwrap())
        refused = _refused_by(to, next_plan)
        if refused:
            return Failure(refused[0])
        starts = found.call.starts
        said = Moved(
            plan.flow,
            f"it was moved to {address_of(to) or repr(to)}",
            address_of(to),
            next_plan.id,
            None if starts is None else starts.timestamp(),
        )
        given_up = await caller.ask(on.give_up, ref.id, said)
        if isinstance(given_up, Failure):
            return Failure(given_up.failure())
        answer = await recorded(caller, ref, on)
        if isinstance(answer, Failure):
            return Failure(_to_repeat(answer.failure(), said))
        found = answer.unwrap()
        moved = moved_by(found.outcome)
    if moved is None:
        return Failure(_ended(ref, found))
    if moved.to != address_of(to):
        advice = "Move it again, to the backend that it was moved to."
        return Failure(Conflict(ref.id, moved.message, advice))
    return await _go_on(caller, ref, found, moved, to)


def _refused_by(to: Backend, plan: Plan) -> list[Fault]:
    """What keeps a backend from running a plan; found before anything is changed."""
    refused: list[Fault] = [*lacking(to, plan)]
    return [*refused, *to.check(plan)] if isinstance(to, Checks) else refused


async def _free_id(caller: Caller, id: str, to: Backend) -> Result[str, Fault]:
    """The id that a call gets on a backend: that of its plan, so that its key holds there too.

    If the backend knows that already, because it had the call before, the id is another one.
    """
    if isinstance(to, Finds):
        known = await caller.ask(to.find, id)
    else:
        known = (await caller.ask(to.status, id)).map(lambda _: id)
    if isinstance(known, Success):
        return Success(continued_id(id, "move"))
    return Success(id) if isinstance(known.failure(), Unknown) else known


async def _go_on(
    caller: Caller, ref: Ref[V, E], found: Recorded, moved: Moved, to: Backend
) -> Result[Ref[V, E], Fault]:
    assert found.plan is not None
    delay = 0.0 if moved.starts is None else max(0.0, moved.starts - time.time())
    plan = continued(found.plan, found, moved.id)
    submission = replace(submission_of(plan, ref.flow), delay=delay)
    submitted = await core.submit(caller, ref.flow, submission, to)
    if isinstance(submitted, Failure):
        return Failure(_to_repeat(submitted.failure(), moved))
    sent = await send_again(caller, found.signals, submitted.unwrap(), to)
    if isinstance(sent, Failure):
        return Failure(_to_repeat(sent.failure(), moved))
    return submitted


def _ended(ref: Ref[V, E], found: Recorded) -> Conflict:
    advice = "A failed one goes on elsewhere by resume(ref, on=..., to=...)."
    return Conflict(ref.id, f"the call is {found.call.state}, so it cannot be moved", advice)


def _to_repeat(fault: Fault, moved: Moved) -> Fault:
    """The fault of a call that has left one backend and not reached the other."""
    message = f"{moved.message}, and has not arrived there: {fault}"
    return Unavailable(moved.task, message, "Move it again, to the same backend.")


def address_of(backend: Submits) -> str:
    """The URL that a backend was connected by, without credentials."""
    return additions_of(backend).address
