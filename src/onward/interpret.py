"""What takes calls and refs: run, submit, result and the others, for callers that block.

`onward.aio` has their awaitable twins. What the two share has no colour, and is here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar, cast

from returns.result import Failure, Result, Success

from onward.backend import (
    Backend,
    Cancels,
    Checks,
    RunsHere,
    Schedule,
    Schedules,
    Status,
    StopsRemotely,
    Submission,
    Worker,
)
from onward.backend.guard import asked
from onward.catalog import Catalog
from onward.context import slot_lent
from onward.fault import Fault, Unavailable
from onward.flows.flow import Call, Ref
from onward.prepare import (
    Deadline,
    Waiting,
    check_backend,
    check_ref,
    prepare,
    prepare_all,
    prepare_schedule,
    read,
    refs_of,
    unsupported,
    wrong_name,
    wrong_timeout,
    wrong_work,
)
from onward.sealing import all_incoming, incoming, opening, outgoing

if TYPE_CHECKING:
    import threading

    from onward.observe import Observer

R = TypeVar("R")
E = TypeVar("E")


def run(
    call: Call[R, E],
    /,
    on: Backend,
    *,
    key: str | None = None,
    delay: float | timedelta = 0.0,
    deadline: Deadline = None,
    queue: str | None = None,
    priority: int | None = None,
    timeout: float | None = None,
) -> Result[R, E | Fault]:
    """Runs a call and waits for what comes of it.

    Args:
        call: A flow applied to its arguments.
        on: Where it runs.
        key: An idempotency key: with the same key, the same flow runs only once.
        delay: How long it waits before it starts, in seconds or as a timedelta.
        deadline: How long it may take in all, in seconds or as a timedelta, or until when.
        queue: The queue of those steps whose task names none.
        priority: The priority of those steps whose task has none, from 0 (least) to 9.
        timeout: How long to wait, in seconds. The call goes on after that.

    Returns:
        The value; or the domain error that a task answered with; or the `Fault` that ended it.

    Example:
        >>> from onward import local, run, task
        >>> @task
        ... def divide(a: int, b: int) -> int:
        ...     return a // b
        >>> run(divide(7, 2), on=local())
        <Success: 3>
        >>> run(divide(7, 0), on=local()).failure().message
        'integer division or modulo by zero'
    """
    check_backend(on, "submit", "outcome")
    prepared = wrong_timeout(timeout) or prepare(call, key, delay, deadline, queue, priority)
    if isinstance(prepared, Fault):
        return Failure(prepared)
    observers = getattr(on, "observers", ())
    if timeout is None and key is None and not observers and isinstance(on, RunsHere):
        ready = outgoing(on, [prepared])
        if isinstance(ready, Failure):
            return ready
        here = asked(on.run_here, *ready.unwrap())
        return read(Ref(prepared.plan.id, call.flow), incoming(on, here), None)
    submitted = _submitted(on, prepared, observers)
    if isinstance(submitted, Failure):
        return submitted
    return result(Ref(submitted.unwrap(), call.flow), on, timeout=timeout)


def submit(
    call: Call[R, E],
    /,
    on: Backend,
    *,
    key: str | None = None,
    delay: float | timedelta = 0.0,
    deadline: Deadline = None,
    queue: str | None = None,
    priority: int | None = None,
) -> Result[Ref[R, E], Fault]:
    """Hands a call over to be run, and does not wait.

    Args:
        call: A flow applied to its arguments.
        on: Where it runs.
        key: An idempotency key: with the same key, the same flow is submitted once, and every
            submission gives the same ref.
        delay: How long it waits before it starts, in seconds or as a timedelta.
        deadline: How long it may take in all, in seconds or as a timedelta, or until when.
        queue: The queue of those steps whose task names none.
        priority: The priority of those steps whose task has none, from 0 (least) to 9.

    Returns:
        The ref by which any process can ask for it; or the `Fault` why it was not submitted.

    Example:
        >>> from onward import local, result, submit, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> backend = local()
        >>> ref = submit(double(21), on=backend, key="order-7").unwrap()
        >>> result(ref, on=backend)
        <Success: 42>
    """
    check_backend(on, "submit")
    prepared = prepare(call, key, delay, deadline, queue, priority)
    if isinstance(prepared, Fault):
        return Failure(prepared)
    return _submitted(on, prepared, getattr(on, "observers", ())).map(call.flow.ref)


def _submitted(
    on: Backend, submission: Submission, observers: tuple[Observer, ...]
) -> Result[str, Fault]:
    sealed = outgoing(on, [submission])
    if isinstance(sealed, Failure):
        return sealed
    if not observers:
        return asked(on.submit, *sealed.unwrap())
    from onward.observe import told  # what nobody watches does not pay for it

    with told(sealed.unwrap(), observers) as ([ready], answered):
        submitted = asked(on.submit, ready)
        answered(submitted)
    return submitted


def submit_all(
    calls: Iterable[Call[R, E]],
    /,
    on: Backend,
    *,
    delay: float | timedelta = 0.0,
    deadline: Deadline = None,
    queue: str | None = None,
    priority: int | None = None,
) -> Result[list[Ref[R, E]], Fault]:
    """Hands many calls over at once; faster than one by one where the engine can take them so.

    If one of them cannot be submitted for what it is (a bad argument), none is.

    Args:
        calls: Flows applied to their arguments.
        on: Where they run.
        delay: How long each waits before it starts, in seconds or as a timedelta.
        deadline: How long each may take in all, in seconds or as a timedelta, or until when.
        queue: The queue of those steps whose task names none.
        priority: The priority of those steps whose task has none, from 0 (least) to 9.

    Returns:
        Their refs, in the order of the calls; or the `Fault` why they were not submitted.

    Example:
        >>> from onward import local, result, submit_all, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> backend = local()
        >>> refs = submit_all([double(1), double(2)], on=backend).unwrap()
        >>> [result(ref, on=backend).unwrap() for ref in refs]
        [2, 4]
    """
    check_backend(on, "submit_all")
    prepared = prepare_all(calls, delay, deadline, queue, priority)
    if isinstance(prepared, Fault):
        return Failure(prepared)
    flows, submissions = prepared
    sealed = outgoing(on, submissions)
    if isinstance(sealed, Failure):
        return sealed
    submissions = sealed.unwrap()
    if not (observers := getattr(on, "observers", ())):
        return asked(on.submit_all, submissions).map(lambda ids: refs_of(flows, ids))
    from onward.observe import told

    with told(submissions, observers) as (ready, answered):
        submitted = asked(on.submit_all, ready)
        answered(submitted)
    return submitted.map(lambda ids: refs_of(flows, ids))


def result(ref: Ref[R, E], /, on: Backend, *, timeout: float | None = None) -> Result[R, E | Fault]:
    """Waits for what comes of a submitted call.

    Args:
        ref: What `submit` gave, or `flow.ref(text)` in another process.
        on: Where it was submitted.
        timeout: How long to wait, in seconds; None for as long as it takes.

    Returns:
        The value; or the domain error that a task answered with; or the `Fault` that ended it.
        Where only the wait ended, that is `TimedOut` with `still_running`.

    Example:
        >>> from onward import local, result, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> print(result(double.ref("no-such-id"), on=local()).failure().task)
        no-such-id
    """
    check_backend(on, "outcome")
    wrong = wrong_timeout(timeout)
    if wrong is not None:
        return Failure(wrong)
    with slot_lent():
        answer = asked(on.outcome, check_ref(ref).id, timeout)
    return read(ref, incoming(on, answer), timeout)


def results(
    refs: Iterable[Ref[R, E]],
    /,
    on: Backend,
    *,
    timeout: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[Ref[R, E], Result[R, E | Fault]]]:
    """Gives what comes of many submitted calls, as they complete.

    Args:
        refs: What `submit` or `submit_all` gave.
        on: Where they were submitted.
        timeout: How long to wait in all, in seconds; None for as long as it takes. Those that have
            no outcome by then are given as `TimedOut` with `still_running`.
        progress: Is told how many have completed, and how many there are.

    Returns:
        Pairs of a ref and its result, each ref once.

    Example:
        >>> from onward import local, results, submit_all, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> backend = local()
        >>> refs = submit_all([double(n) for n in range(4)], on=backend).unwrap()
        >>> sorted(result.unwrap() for ref, result in results(refs, on=backend))
        [0, 2, 4, 6]
    """
    check_backend(on, "settled")
    waiting = Waiting(refs, timeout, progress)
    while waiting.pending:
        with slot_lent():
            answer = asked(on.settled, waiting.pending, waiting.left)
        yield from waiting.take(all_incoming(on, answer))


def status(ref: Ref[R, E], /, on: Backend) -> Result[Status, Fault]:
    """Where a submitted call is.

    Args:
        ref: What `submit` gave, or `flow.ref(text)` in another process.
        on: Where it was submitted.

    Returns:
        Its state, the step it is in and that step's progress; `Unknown` for an id that nobody
        knows.

    Example:
        >>> from onward import local, result, status, submit, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> backend = local()
        >>> ref = submit(double(21), on=backend).unwrap()
        >>> result(ref, on=backend)
        <Success: 42>
        >>> status(ref, on=backend).unwrap().state
        'done'
    """
    check_backend(on, "status")
    return asked(on.status, check_ref(ref).id)


def cancel(ref: Ref[R, E], /, on: Cancels) -> Result[None, Fault]:
    """Ends a submitted call as `Cancelled`, unless it has an outcome already.

    An async step is interrupted where it awaits; a sync one can look at `current().cancelled`.

    Args:
        ref: What `submit` gave, or `flow.ref(text)` in another process.
        on: Where it was submitted: a backend that can cancel. Of one that `connect` gave,
            `isinstance(backend, Cancels)` tells, type checkers too.

    Returns:
        None once the engine has taken note; `Unknown` for an id that nobody knows.

    Example:
        >>> from onward import cancel, local, result, submit, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> backend = local()
        >>> ref = submit(double(21), on=backend, delay=60).unwrap()
        >>> cancel(ref, on=backend)
        <Success: None>
        >>> print(result(ref, on=backend).failure())
        double: it was cancelled. Submit it again if it is still wanted.
    """
    lacking = unsupported(on, check_ref(ref).flow.name, "cancel")
    if lacking is not None:
        return Failure(lacking)
    return asked(on.cancel, check_ref(ref).id)


def schedule(
    call: Call[R, E],
    /,
    on: Schedules,
    *,
    name: str,
    cron: str | None = None,
    every: float | timedelta | None = None,
    timezone: str = "UTC",
    queue: str | None = None,
    priority: int | None = None,
) -> Result[Schedule, Fault]:
    """Has a call made again and again, by the engine's clock, for as long as it is not taken away.

    A schedule of that name which is there already is replaced, so that a deploy can declare what
    there is to be: one that was paused stays paused, and one that has not changed goes on as it
    was. Each run is a call of its own, and starts also while the one before it still runs. Runs
    that fell due while it was paused, or while the engine was away, are not owed.

    Args:
        call: A flow applied to its arguments; every run has the same.
        on: Where it runs: a backend that makes calls by the clock. Of one that `connect` gave,
            `isinstance(backend, Schedules)` tells, type checkers too.
        name: What it goes by on that engine.
        cron: When it runs, as the five fields of cron: minute, hour, day of the month, month, day
            of the week. One of the two days is `*`, for engines differ in how they read both.
        every: How long it is from one run to the next, in whole seconds or as a timedelta; either
            this or `cron` is given. The engine chooses when the first one is.
        timezone: The time zone that the cron is in, by its IANA name.
        queue: The queue of those steps whose task names none.
        priority: The priority of those steps whose task has none, from 0 (least) to 9.

    Returns:
        The schedule as it is now; or the `Fault` why there is none: `Misconfigured` for what makes
        no sense, `Unsupported` for what this backend's engine cannot do.

    Example:
        >>> from onward import Schedules, connect, schedule, task
        >>> @task
        ... def report(kind: str) -> None: ...
        >>> backend = connect("local://").unwrap()
        >>> if isinstance(backend, Schedules):
        ...     schedule(report("sales"), on=backend, name="sales", cron="30 2 * * MON").unwrap()
        ... else:
        ...     print("what it runs ends with this process, and so would a schedule")
        what it runs ends with this process, and so would a schedule
    """
    lacking = unsupported(on, name, "schedule")
    if lacking is not None:
        return Failure(lacking)
    prepared = prepare_schedule(call, name, cron, every, timezone, queue, priority)
    if isinstance(prepared, Fault):
        return Failure(prepared)
    declared, plan = prepared
    return outgoing(on, [Submission(plan)]).bind(
        lambda sealed: asked(on.schedule, declared, sealed[0].plan)
    )


def schedules(on: Schedules) -> Result[list[Schedule], Fault]:
    """The schedules there are.

    Args:
        on: A backend that makes calls by the clock.

    Returns:
        Those that were made with `schedule`, by name, with what each is to run and when.
    """
    lacking = unsupported(on, "", "schedules")
    if lacking is not None:
        return Failure(lacking)
    return asked(on.schedules)


def pause_schedule(name: str, /, on: Schedules) -> Result[None, Fault]:
    """Lets a schedule run nothing until it is resumed. What it has started goes on.

    Args:
        name: What it goes by.
        on: Where it was made.

    Returns:
        None once the engine has taken note; `Unknown` for a name that nobody knows; `Unsupported`
        where the engine can only take it away.
    """
    wrong = unsupported(on, name, "pause_schedule") or wrong_name(name)
    return Failure(wrong) if wrong else asked(on.pause_schedule, name)


def resume_schedule(name: str, /, on: Schedules) -> Result[None, Fault]:
    """Lets a paused schedule run again. What fell due meanwhile is not made up for.

    Args:
        name: What it goes by.
        on: Where it was made.

    Returns:
        None once the engine has taken note, also if it was not paused; `Unknown` for a name that
        nobody knows; `Unsupported` where the engine cannot pause.
    """
    wrong = unsupported(on, name, "resume_schedule") or wrong_name(name)
    return Failure(wrong) if wrong else asked(on.resume_schedule, name)


def unschedule(name: str, /, on: Schedules) -> Result[None, Fault]:
    """Takes a schedule away. What it has started goes on.

    Args:
        name: What it goes by.
        on: Where it was made.

    Returns:
        None once it is gone; `Unknown` for a name that nobody knows.
    """
    wrong = unsupported(on, name, "unschedule") or wrong_name(name)
    return Failure(wrong) if wrong else asked(on.unschedule, name)


def check(call: Call[R, E], /, on: Backend) -> Result[None, tuple[Fault, ...]]:
    """Tells, before anything is submitted, all that stands against a call on a backend.

    Args:
        call: A flow applied to its arguments.
        on: Where it would run.

    Returns:
        None if nothing is known to stand against it; else every fault that was found.

    Example:
        >>> from onward import check, local, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> check(double(21), on=local())
        <Success: None>
    """
    check_backend(on, "submit")
    prepared = prepare(call, None, 0.0, None, None, None)
    if isinstance(prepared, Fault):
        return Failure((prepared,))
    checks = getattr(on, "check", None)
    found = [] if checks is None else cast(Checks, on).check(prepared.plan)
    return Failure(tuple(found)) if found else Success(None)


def work(
    catalog: Catalog,
    /,
    on: Backend,
    *,
    concurrency: int | None = None,
    queues: Collection[str] | None = None,
    grace: float = 30.0,
    stop: threading.Event | None = None,
) -> Result[None, Fault]:
    """Serves a catalog until it is told to stop: by a signal, or by an event.

    The signals are SIGTERM and SIGINT (Ctrl-C), and SIGHUP and SIGQUIT where they are not ignored.

    What is running when it is told so has a grace time to end, and is else another worker's. A
    second signal ends the grace time.

    Args:
        catalog: The tasks and flows to serve; nothing else is run.
        on: Whose plans to take up.
        concurrency: How many steps to run at a time; None leaves it to the backend.
        queues: The queues to take steps from; None for the backend's own, where steps wait that
            name none, and those that the catalog names.
        grace: How long what is running may take to end, in seconds, once it is to stop.
        stop: Set by another thread to end it; signals reach the main thread alone.

    Returns:
        None once it has stopped; or the `Fault` why it could not start.

    Example:
        >>> import threading
        >>> from onward import Catalog, local, task, work
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> stop = threading.Event()
        >>> stop.set()
        >>> work(Catalog(double), on=local(), stop=stop)
        <Success: None>
    """
    check_backend(on, "serve")
    if stop is not None and not callable(getattr(stop, "is_set", None)):
        raise TypeError(f"stop is a threading.Event, not {stop!r}")
    wrong = wrong_work(catalog, concurrency, queues, grace)
    if wrong is not None:
        return Failure(wrong)
    catalog = opening(on, catalog)
    if observers := getattr(on, "observers", ()):
        from onward.observe import watched_catalog

        catalog = watched_catalog(catalog, observers)
    with _stop_signals() as came:
        served = asked(on.serve, catalog, concurrency=concurrency, queues=queues)
        if isinstance(served, Failure):
            return served
        worker = served.unwrap()
        while not (came or (stop is not None and stop.is_set()) or _is_told(worker)):
            if worker.wait(0.1) and not _is_told(worker):
                return Failure(Unavailable("", "the worker ended, and nobody had asked it to"))
        _leave(worker, grace, came)
    return Success(None)


def _is_told(worker: Worker) -> bool:
    return isinstance(worker, StopsRemotely) and worker.is_told


def _leave(worker: Worker, grace: float, came: list[int]) -> None:
    """Stops a worker; at once if another stop signal comes meanwhile."""
    import threading
    from concurrent.futures import Future, wait

    left: Future[None] = Future()

    def leave() -> None:
        try:
            worker.stop(grace)
            left.set_result(None)
        except BaseException as problem:
            left.set_exception(problem)

    told = len(came)
    threading.Thread(target=leave, name="onward-leave", daemon=True).start()
    while not left.done() and len(came) == told:
        wait([left], 0.1)
    if left.done():
        left.result()  # it raises what `stop` did
    else:
        worker.stop(0)


@contextlib.contextmanager
def _stop_signals() -> Generator[list[int]]:
    """The stop signals that came meanwhile; what handled them before is put back afterwards."""
    import signal
    import threading

    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    # The handler only takes note: an event's lock may be held by the very code it interrupts.
    # Windows has not all of them. What is ignored stays so: `nohup` ignores SIGHUP.
    names = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")
    known = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {
        each: signal.signal(each, lambda number, _: came.append(number))
        for each in known
        if signal.getsignal(each) is not signal.SIG_IGN
    }
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
