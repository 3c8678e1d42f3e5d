"""What each interpreter does, written once for blocking and for awaiting callers."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar, cast

from msgspec.structs import replace
from returns.result import Failure, Result, Success

from onward.backend import (
    Backend,
    Cancels,
    Forgets,
    Schedule,
    Schedules,
    SchedulesHere,
    Signals,
    Status,
    Submission,
    Submits,
    SubmitsUnique,
)
from onward.backend.additions import additions_of
from onward.backend.features import lacking
from onward.context import slot_lent
from onward.fault import Conflict, Fault, Moved, Unsupported
from onward.flows.flow import AnyFlow, Flow, Ref
from onward.interpret.callers import Caller
from onward.interpret.prepare import (
    Timeout,
    Waiting,
    check_backend,
    check_ref,
    read,
    refs_of,
    timeout_seconds,
    unsupported,
)
from onward.outcome import Outcome, moved_by
from onward.sealing import all_incoming, incoming, opening, outgoing, outgoing_value

if TYPE_CHECKING:
    from onward.catalog import Catalog, Tasks
    from onward.flows.signals import Signal
    from onward.observer import Observer
    from onward.served import Surrounds

T = TypeVar("T")
Value = TypeVar("Value")
Error = TypeVar("Error")


async def run(
    caller: Caller,
    flow: Flow[..., Value, Error],
    prepared: Submission | Fault,
    on: Backend,
    timeout: Timeout,
) -> Result[Value, Error | Fault]:
    """See `onward.run`."""
    run_here = _run_here_of(on)
    if run_here is None:
        check_backend(on, "submit", "outcome")
    wait = timeout_seconds(timeout)
    if wait is not None and isinstance(wait, Fault):
        return Failure(wait)
    if not isinstance(prepared, Submission):
        return Failure(prepared)
    if lacks := lacking(on, prepared.plan):
        return Failure(lacks[0])
    if wait is None and prepared.plan.key is None and prepared.unique is None:
        added = additions_of(on)
        if run_here is not None and not added.observers:
            if added.sealer is None and added.middleware is None:
                return _read(flow, await caller.ask(run_here, prepared))
            ready = outgoing(on, [prepared])
            if isinstance(ready, Failure):
                return ready
            answer = await caller.ask(run_here, *_surrounded(on, ready.unwrap()))
            return read(Ref(prepared.plan.id, flow), incoming(on, answer), None)
    submitted = await submit(caller, flow, prepared, on)
    if isinstance(submitted, Failure):
        return Failure(submitted.failure())
    return await result(caller, submitted.unwrap(), on, wait)


def _read(
    flow: Flow[..., Value, Error], answer: Result[Outcome, Fault]
) -> Result[Value, Error | Fault]:
    if isinstance(answer, Success):
        return flow.read(answer.unwrap())
    return Failure(answer.failure())


def _run_here_of(on: Backend) -> Callable[[Submission], Result[Outcome, Fault]] | None:
    """`RunsHere.run_here` of a backend that has it; `isinstance` takes longer than many a task."""
    found: Callable[[Submission], Result[Outcome, Fault]] | None = getattr(on, "run_here", None)
    return found


async def submit(
    caller: Caller, flow: Flow[..., Value, Error], prepared: Submission | Fault, on: Submits
) -> Result[Ref[Value, Error], Fault]:
    """See `onward.submit`."""
    check_backend(on, "submit")
    if isinstance(prepared, Fault):
        return Failure(prepared)
    return (await submit_plan(caller, prepared, on)).map(flow.ref)


async def submit_plan(caller: Caller, prepared: Submission, on: Submits) -> Result[str, Fault]:
    """Submits a plan whose flow may not be known here, and returns the call's id."""
    if lacks := lacking(on, prepared.plan):
        return Failure(lacks[0])
    send = on.submit
    if prepared.unique is not None:
        if not isinstance(on, SubmitsUnique):
            return Failure(Unsupported(prepared.plan.flow, f"{on!r} has no unique calls"))
        send = on.submit_unique
    sealed = outgoing(on, [prepared])
    if isinstance(sealed, Failure):
        return sealed
    with _observing(on, sealed.unwrap()) as (ready, answered):
        submitted = await caller.ask(send, *ready)
        answered(submitted)
    return submitted


async def submit_all(
    caller: Caller, prepared: tuple[Sequence[AnyFlow], Sequence[Submission]] | Fault, on: Submits
) -> Result[list[Ref[Any, Any]], Fault]:
    """See `onward.submit_all`."""
    check_backend(on, "submit_all")
    if isinstance(prepared, Fault):
        return Failure(prepared)
    flows, submissions = prepared
    plans = {id(each.plan.root): each.plan for each in submissions}  # often one flow
    for plan in plans.values():
        if lacks := lacking(on, plan):
            return Failure(lacks[0])
    sealed = outgoing(on, submissions)
    if isinstance(sealed, Failure):
        return sealed
    with _observing(on, sealed.unwrap()) as (ready, answered):
        submitted = await caller.ask(on.submit_all, ready)
        answered(submitted)
    return submitted.map(lambda ids: refs_of(flows, ids))


async def result(
    caller: Caller, ref: Ref[Value, Error], on: Backend, timeout: Timeout
) -> Result[Value, Error | Fault]:
    """See `onward.result`."""
    check_backend(on, "outcome")
    wait = timeout_seconds(timeout)
    if isinstance(wait, Fault):
        return Failure(wait)
    with slot_lent():
        answer = await outcome(caller, check_ref(ref).id, on, wait)
    return read(ref, answer, wait)


async def outcome(
    caller: Caller, id: str, on: Backend, timeout: float | None
) -> Result[Outcome | None, Fault]:
    """Waits for the outcome of a call, wherever it has been moved to.

    Args:
        caller: Who waits.
        id: The call's id.
        on: The backend that it was submitted to.
        timeout: The longest wait, in seconds; None for no limit.
    """
    end = None if timeout is None else time.monotonic() + timeout
    answer = incoming(on, await caller.wait(on.outcome, id, timeout))
    moved = moved_by(answer.unwrap()) if isinstance(answer, Success) else None
    if moved is None or not can_follow(on, moved):
        return answer
    left = None if end is None else max(0.0, end - time.monotonic())
    return await _outcome_there(caller, moved, on, left)


async def _outcome_there(
    caller: Caller, moved: Moved, on: Backend, timeout: float | None
) -> Result[Outcome | None, Fault]:
    """Waits for the outcome of a call that was moved."""
    return await _follow(caller, on, moved, lambda id, to: outcome(caller, id, to, timeout))


async def _follow(
    caller: Caller,
    on: Backend,
    moved: Moved,
    ask: Callable[[str, Backend], Awaitable[Result[T, Fault]]],
) -> Result[T, Fault]:
    """Asks the backend that a call was moved to; see `following.follow`."""
    from onward.interpret.following import follow  # only callers of moved calls pay for it

    return await follow(caller, on, moved, ask)


async def settled(
    caller: Caller, waiting: Waiting[Value, Error], on: Backend
) -> Result[Mapping[str, Outcome], Fault]:
    """Waits for the next outcomes that `onward.results` gives."""
    with slot_lent():
        answer = await caller.wait(on.settled, waiting.pending, waiting.left)
    found = all_incoming(on, answer)
    if isinstance(found, Failure):
        return found
    outcomes = dict(found.unwrap())
    for id, each in found.unwrap().items():
        moved = moved_by(each)
        if moved is not None and can_follow(on, moved):
            elsewhere = await _outcome_there(caller, moved, on, waiting.left)
            if isinstance(elsewhere, Failure):
                return Failure(elsewhere.failure())
            del outcomes[id]
            if (ended := elsewhere.unwrap()) is not None:
                outcomes[id] = ended
    return Success(outcomes)


async def status(caller: Caller, ref: Ref[Value, Error], on: Backend) -> Result[Status, Fault]:
    """See `onward.status`."""
    check_backend(on, "status")
    answer = await caller.ask(on.status, check_ref(ref).id)
    if isinstance(answer, Success) and answer.unwrap().state == "moved":
        moved = await _moved(caller, ref.id, on)
        if moved is not None:
            return await _follow(
                caller, on, moved, lambda id, to: status(caller, Ref(id, ref.flow), to)
            )
    return answer


async def _moved(caller: Caller, id: str, on: Backend) -> Moved | None:
    """Where a call went; None if it was not moved, or cannot be followed."""
    if additions_of(on).reach is None:
        return None
    answer = await caller.wait(on.outcome, id, 0.0)
    moved = moved_by(answer.unwrap()) if isinstance(answer, Success) else None
    return moved if moved is not None and can_follow(on, moved) else None


def can_follow(on: Backend, moved: Moved) -> bool:
    """Whether a URL names the backend that a call was moved to."""
    return bool(moved.to) and additions_of(on).reach is not None


async def cancel(caller: Caller, ref: Ref[Value, Error], on: Cancels) -> Result[None, Fault]:
    """See `onward.cancel`."""
    missing = unsupported(on, check_ref(ref).flow.name, "cancel")
    if missing is not None:
        return Failure(missing)
    answer = await caller.ask(on.cancel, ref.id)
    moved = await _moved(caller, ref.id, on) if isinstance(answer, Success) else None
    if moved is None:
        return answer
    return await _follow(
        caller, on, moved, lambda id, to: cancel(caller, Ref(id, ref.flow), cast(Cancels, to))
    )


async def forget(caller: Caller, ref: Ref[Value, Error], on: Forgets) -> Result[None, Fault]:
    """See `onward.forget`."""
    missing = unsupported(on, check_ref(ref).flow.name, "forget")
    if missing is None:
        return await caller.ask(on.forget, ref.id)
    message = f"{on!r} has no forget: its engine deletes calls by its own retention alone"
    return Failure(Unsupported(missing.task, message))


async def send(
    caller: Caller, ref: Ref[Value, Error], signal: Signal[T], value: T, on: Signals
) -> Result[None, Fault]:
    """See `onward.send`."""
    missing = unsupported(on, check_ref(ref).flow.name, "send")
    if missing is not None:
        return Failure(missing)
    from onward.interpret.signals import signal_value  # only calls with signals pay for it

    raw = signal_value(ref.flow, signal, value)
    if isinstance(raw, Fault):
        return Failure(raw)
    sealed = outgoing_value(on, raw)
    if isinstance(sealed, Failure):
        return Failure(sealed.failure())
    answer = await caller.ask(on.send, ref.id, signal.name, sealed.unwrap())
    is_over = isinstance(answer, Failure) and isinstance(answer.failure(), Conflict)
    moved = await _moved(caller, ref.id, on) if is_over else None
    if moved is None:
        return answer

    def send_there(id: str, to: Backend) -> Awaitable[Result[None, Fault]]:
        return send(caller, Ref(id, ref.flow), signal, value, cast(Signals, to))

    return await _follow(caller, on, moved, send_there)


async def schedule(
    caller: Caller, name: str, prepared: tuple[Schedule, Submission] | Fault, on: Schedules
) -> Result[Schedule, Fault]:
    """See `onward.schedule`."""
    missing = unsupported(on, name, "schedule")
    if missing is not None:
        return Failure(missing)
    if isinstance(prepared, Fault):
        return Failure(prepared)
    declared, submission = prepared
    if lacks := lacking(on, submission.plan):
        return Failure(lacks[0])
    sealed = outgoing(on, [submission])
    if isinstance(sealed, Failure):
        return sealed
    [ready] = _surrounded(on, sealed.unwrap())
    if isinstance(on, SchedulesHere):
        if observers := additions_of(on).observers:
            from onward.observe import following_attempts

            ready = following_attempts(ready, observers)
        return await caller.ask(on.schedule_here, declared, ready)
    return await caller.ask(on.schedule, declared, ready.plan)


async def schedules(caller: Caller, on: Schedules) -> Result[list[Schedule], Fault]:
    """See `onward.schedules`."""
    missing = unsupported(on, "", "schedules")
    return Failure(missing) if missing else await caller.ask(on.schedules)


async def pause_schedule(caller: Caller, name: str, on: Schedules) -> Result[None, Fault]:
    """See `onward.pause_schedule`."""
    fault = _schedule_fault(on, name, "pause_schedule")
    return Failure(fault) if fault else await caller.ask(on.pause_schedule, name)


async def resume_schedule(caller: Caller, name: str, on: Schedules) -> Result[None, Fault]:
    """See `onward.resume_schedule`."""
    fault = _schedule_fault(on, name, "resume_schedule")
    return Failure(fault) if fault else await caller.ask(on.resume_schedule, name)


async def unschedule(caller: Caller, name: str, on: Schedules) -> Result[None, Fault]:
    """See `onward.unschedule`."""
    fault = _schedule_fault(on, name, "unschedule")
    return Failure(fault) if fault else await caller.ask(on.unschedule, name)


def _schedule_fault(on: Schedules, name: str, method: str) -> Fault | None:
    """Why a backend cannot do something with the schedule of a name."""
    from onward.interpret.scheduling import name_fault  # only programs with schedules pay for it

    return unsupported(on, name, method) or name_fault(name)


def served_catalog(catalog: Catalog, on: Backend, *more: Observer) -> Catalog:
    """The catalog as a worker serves it.

    Its tasks decrypt secrets, the backend's middleware surrounds attempts, and observers see them.
    """
    catalog, added = opening(on, catalog), additions_of(on)
    if added.middleware is not None:
        catalog = catalog.with_tasks(_within(catalog.tasks, added.middleware))
    if not (observers := (*added.observers, *more)):
        return catalog
    from onward.observe import observed_catalog

    return observed_catalog(catalog, observers)


def _surrounded(on: object, submissions: list[Submission]) -> list[Submission]:
    """Submissions whose attempts in this process go through the backend's middleware."""
    middleware = additions_of(on).middleware
    if middleware is None:
        return submissions
    return [
        each if each.tasks is None else replace(each, observed=_within(each.tasks, middleware))
        for each in submissions
    ]


def _within(tasks: Tasks, middleware: Surrounds) -> Tasks:
    from onward.served import ServedTasks

    served = ServedTasks(tasks)
    served.middleware = middleware
    return served


def _observing(
    on: Submits, submissions: list[Submission]
) -> AbstractContextManager[tuple[list[Submission], Callable[[Result[Any, Fault]], None]]]:
    """Notifies the backend's observers, if it has any, of a submission."""
    submissions = _surrounded(on, submissions)
    if not (observers := additions_of(on).observers):
        return nullcontext((submissions, lambda _: None))
    from onward.observe import submitting  # only calls with observers pay for it

    return submitting(submissions, observers)
