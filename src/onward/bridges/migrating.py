"""What another engine cannot do of what an engine has, or does otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec import Struct
from returns.result import Failure, Result, Success

from onward.backend import (
    Backend,
    CallQuery,
    Cancels,
    Checks,
    ChecksSchedules,
    Diagnoses,
    Forgets,
    Histories,
    Listed,
    Lists,
    Moves,
    ReadsSchedules,
    Schedules,
    Signals,
    SubmitsUnique,
    Transacts,
)
from onward.backend.features import lacking
from onward.backend.guard import call_backend
from onward.catalog import Catalog
from onward.fault import BadPayload, Fault, Unknown
from onward.flows.flow import AnyFlow
from onward.flows.lower import travelling
from onward.plan import NO_ARGS, Plan

_OPEN: frozenset[Listed] = frozenset({"queued", "running", "waiting"})

_CAPABILITIES: dict[type, str] = {
    Cancels: "cancel calls",
    Signals: "send signals",
    Histories: "read what happened in a call, resume and fork it",
    Lists: "list calls",
    Forgets: "delete calls",
    Moves: "have calls moved away",
    SubmitsUnique: "keep one call of a key open (unique=)",
    Transacts: "submit in a transaction of the caller's",
}


class Difference(Struct, frozen=True):
    """Something that the new engine cannot do, or does otherwise.

    Args:
        what: A flow, `schedule` and its name, `call` and its ref, or `engine`.
        text: What it is, and what to do about it.
        is_wrong: Whether the new engine refuses it; otherwise it is for you to know.
    """

    what: str
    text: str
    is_wrong: bool = True


def differences(
    old: Backend, new: Backend, catalog: Catalog, /, *, limit: int = 1000
) -> Result[list[Difference], Fault]:
    """Finds what another engine cannot do, or does otherwise. It changes nothing on either.

    It looks at the flows, at the schedules that the old engine has, and at its open calls, whose
    arguments may be too large elsewhere.

    Args:
        old: The backend that has the calls.
        new: The backend that is to get them.
        catalog: The tasks and flows.
        limit: How many open calls it looks at, the newest ones.

    Returns:
        What it found, or the `Fault` that kept it from looking.

    Example:
        >>> from onward import Catalog, local, task
        >>> from onward.bridges import differences
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> differences(local(), local(), Catalog(double))
        <Success: []>
    """
    found = [*_of_flows(new, catalog), *_of_capabilities(old, new)]
    looks: tuple[Callable[[], Result[list[Difference], Fault]], ...] = (
        lambda: _of_schedules(old, new),
        lambda: _of_calls(old, new, limit),
        lambda: _of_engines(old, new, catalog),
    )
    for look in looks:
        more = look()
        if isinstance(more, Failure):
            return Failure(more.failure())
        found += more.unwrap()
    return Success(found)


def _of_flows(new: Backend, catalog: Catalog) -> Iterator[Difference]:
    flows: dict[str, AnyFlow] = {**catalog.tasks, **catalog.flows}
    for name in catalog:
        form = travelling(flows[name])
        if isinstance(form, BadPayload):
            continue  # no engine takes it
        root, version = form
        for fault in _refused(
            new, Plan(v=version, id="0" * 32, flow=name, root=root, args=NO_ARGS)
        ):
            yield Difference(name, str(fault))


def _refused(new: Backend, plan: Plan) -> list[Fault]:
    refused: list[Fault] = [*lacking(new, plan)]
    return [*refused, *new.check(plan)] if isinstance(new, Checks) else refused


def _of_capabilities(old: Backend, new: Backend) -> Iterator[Difference]:
    for capability, text in _CAPABILITIES.items():
        if isinstance(old, capability) and not isinstance(new, capability):
            yield Difference("engine", f"{new!r} cannot {text}, and {old!r} can", is_wrong=False)


def _of_schedules(old: Backend, new: Backend) -> Result[list[Difference], Fault]:
    if not isinstance(old, Schedules):
        return Success([])
    listed = call_backend(old.schedules)
    if isinstance(listed, Failure):
        return Failure(listed.failure())
    found: list[Difference] = []
    reads = old if isinstance(old, ReadsSchedules) else None
    for schedule in listed.unwrap():
        what = f"schedule {schedule.name}"
        if not isinstance(new, Schedules):
            found.append(Difference(what, f"{new!r} has no schedules"))
            continue
        if isinstance(new, ChecksSchedules):
            found += [Difference(what, str(fault)) for fault in new.check_schedule(schedule)]
        read = None if reads is None else call_backend(reads.scheduled, schedule.name)
        if isinstance(read, Success):
            found += [Difference(what, str(fault)) for fault in _refused(new, read.unwrap().plan)]
        if schedule.every is not None:
            text = f"its interval of {schedule.every} s begins anew when it is handed over"
            found.append(Difference(what, text, is_wrong=False))
    return Success(found)


def _of_calls(old: Backend, new: Backend, limit: int) -> Result[list[Difference], Fault]:
    if not isinstance(old, Lists) or not isinstance(old, Histories):
        text = f"the open calls of {old!r} cannot be read, so their sizes are not known"
        return Success([Difference("engine", text, is_wrong=False)])
    found: list[Difference] = []
    histories: Histories = old
    after, seen = "", 0
    while seen < limit:
        page = call_backend(old.calls, CallQuery(_OPEN, limit=min(100, limit - seen)), after)
        if isinstance(page, Failure):
            return Failure(page.failure())
        for call in page.unwrap().calls:
            seen += 1
            read = call_backend(histories.history, call.id, "", 1)
            if isinstance(read, Failure) and not isinstance(read.failure(), Unknown):
                return Failure(read.failure())
            plan = read.map(lambda page: page.plan).value_or(None)
            if plan is not None:
                refused = _refused(new, plan)
                found += [Difference(f"call {call.id}", str(fault)) for fault in refused]
        after = page.unwrap().next
        if not after:
            break
    return Success(found)


def _of_retention(
    old: Backend, new: Backend, before: float | None, after: float | None
) -> Iterator[Difference]:
    """Whether calls that have ended are kept for as long as before, in seconds."""
    silent = [repr(on) for on, keeps in ((old, before), (new, after)) if keeps is None]
    if before is None or after is None:
        text = f"{' and '.join(silent)} does not say how long a call that has ended is kept"
        yield Difference("engine", text, is_wrong=False)
    elif before != after:
        lasts = "for no longer than that" if after < before else "for longer than before"
        text = (
            f"{new!r} keeps a call that has ended for {_span(after)}, and {old!r} for "
            f"{_span(before)}: results, histories and keys are known {lasts}"
        )
        yield Difference("engine", text, is_wrong=False)


def _span(seconds: float) -> str:
    """A time in words.

    Example:
        >>> _span(86400), _span(30 * 86400), _span(5400), _span(90)
        ('1 day', '30 days', '1.5 hours', '90 seconds')
    """
    for unit, size in (("day", 86400), ("hour", 3600)):
        if seconds >= size:
            number = seconds / size
            return f"{number:g} {unit}{'' if number == 1 else 's'}"
    return f"{seconds:g} seconds"


def _of_engines(old: Backend, new: Backend, catalog: Catalog) -> Result[list[Difference], Fault]:
    """What their diagnoses say of names, of workers, and of how long calls are kept."""
    if not isinstance(new, Diagnoses):
        return Success([])
    diagnosis = call_backend(new.diagnose, catalog.queues)
    if isinstance(diagnosis, Failure):
        return Failure(diagnosis.failure())
    seen, found = diagnosis.unwrap(), list[Difference]()
    if isinstance(old, Diagnoses):
        there = call_backend(old.diagnose, catalog.queues)
        if isinstance(there, Failure):
            return Failure(there.failure())
        found += _of_retention(old, new, there.unwrap().keeps, seen.keeps)
    if not seen.knows_capitals:
        by_lower: dict[str, str] = {}
        for name in catalog:
            other = by_lower.setdefault(name.lower(), name)
            if other != name:
                text = f"the engine does not tell it from {other}: rename one of them"
                found.append(Difference(name, text))
    served = [worker.tasks for worker in seen.workers]
    if seen.tells_workers and None not in served:
        known = frozenset().union(*(tasks or frozenset() for tasks in served))
        for name in sorted(catalog.tasks):
            if (name if seen.knows_capitals else name.lower()) not in known:
                text = "no worker of the new engine serves it yet"
                found.append(Difference(name, text, is_wrong=False))
    return Success(found)
