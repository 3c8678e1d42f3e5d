"""The embedded backend: what runs, when, how often, and how it ends."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import pytest
from msgspec import Raw
from returns.result import Failure, Success

from onward import (
    Cancelled,
    Catalog,
    Constant,
    Expired,
    Raised,
    Ref,
    Retry,
    Task,
    TimedOut,
    Unavailable,
    Unknown,
    aio,
    cancel,
    current,
    each,
    fused,
    local,
    progress,
    result,
    results,
    run,
    status,
    submit,
    submit_all,
    task,
    together,
)
from onward.backend import Submission
from onward.backends.local import Local
from onward.flows.flow import AnyFlow
from onward.outcome import Outcome
from onward.plan import VERSION, Args, Plan
from onward.pool import Slots

PATIENCE = 30.0
"""How long to wait for what has to come, in seconds."""


def until(condition: Callable[[], bool]) -> None:
    """Waits for what has to come to be true, and fails if it does not."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came to be true"
        time.sleep(0.002)


class Gate:
    """A sync step that waits until it is let through, so that a test knows where it is."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()

        @task
        def wait_at_gate(n: int) -> int:
            self.entered.release()
            assert self.open.wait(PATIENCE)
            return n

        self.step = wait_at_gate

    def await_entry(self) -> None:
        assert self.entered.acquire(timeout=PATIENCE)


@task
def inc(n: int) -> int:
    return n + 1


@task
async def inc_later(n: int) -> int:
    await asyncio.sleep(0)
    return n + 1


@task
async def never(n: int) -> int:
    return await asyncio.Future()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


@pytest.fixture
def backend() -> Iterator[Local]:
    backend = local()
    yield backend
    backend.close()


@pytest.fixture
def single() -> Iterator[Local]:
    """A backend on which one sync step runs at a time."""
    backend = local(workers=1)
    yield backend
    backend.close()


# -- retries and timeouts ---------------------------------------------------------------------


@pytest.mark.parametrize("is_submitted", [True, False])
def test_a_step_is_tried_until_it_succeeds_or_its_attempts_are_used_up(
    backend: Local, is_submitted: bool
) -> None:
    seen: list[int] = []

    @task(retry=Retry(attempts=4, backoff=Constant(0.0)))
    def fails_below(limit: int) -> int:
        seen.append(current().attempt)
        if current().attempt < limit:
            raise ConnectionResetError("not yet")
        return limit

    def outcome(limit: int) -> object:
        if is_submitted:
            return result(submit(fails_below(limit), on=backend).unwrap(), on=backend)
        return run(fails_below(limit), on=backend)

    assert outcome(3) == Success(3)
    assert seen == [1, 2, 3]
    seen.clear()
    failed = outcome(9)
    assert isinstance(failed, Failure)
    assert isinstance(failed.failure(), Raised)
    assert failed.failure().attempts == 4
    assert seen == [1, 2, 3, 4]


def test_an_async_step_that_takes_too_long_is_cancelled_and_tried_again(backend: Local) -> None:
    ended: list[int] = []

    @task(timeout=0.02, retry=Retry(attempts=3, backoff=Constant(0.0)))
    async def slow_at_first(n: int) -> int:
        if current().attempt == 3:
            return n
        try:
            return await asyncio.Future()
        finally:
            ended.append(current().attempt)

    assert run(slow_at_first(7), on=backend) == Success(7)
    assert ended == [1, 2]


def test_a_sync_step_that_takes_too_long_is_told_and_left_behind(backend: Local) -> None:
    noticed = threading.Event()

    @task(timeout=0.05)
    def looks() -> None:
        until(lambda: current().cancelled)
        noticed.set()

    fault = run(looks(), on=backend).failure()
    assert isinstance(fault, TimedOut)
    assert (fault.seconds, fault.attempts, fault.still_running) == (0.05, 1, False)
    assert noticed.wait(PATIENCE)


def test_only_retried_timeouts_are_tried_again(backend: Local) -> None:
    for retry, attempts in (
        (Retry(3, Constant(0), on=(TimeoutError,)), 3),
        (Retry(3, Constant(0), on=(ConnectionError,)), 1),
        (Retry(3, Constant(0), never=(TimeoutError,)), 1),
    ):
        fault = run(never.with_(timeout=0.01, retry=retry)(1), on=backend).failure()
        assert isinstance(fault, TimedOut)
        assert fault.attempts == attempts


def test_a_step_that_swallows_its_cancellation_holds_up_nobody(backend: Local) -> None:
    @task
    async def stubborn(n: int) -> int:
        while not current().cancelled:
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue
        return n

    fault = run(stubborn.with_(timeout=0.05)(1), on=backend).failure()
    assert isinstance(fault, TimedOut)
    ref = submit(stubborn(1), on=backend).unwrap()
    until(lambda: status(ref, on=backend).unwrap().state == "running")
    assert cancel(ref, on=backend) == Success(None)
    assert isinstance(result(ref, on=backend).failure(), Cancelled)


# -- cancelling -------------------------------------------------------------------------------


def is_cancelled(ref: Ref[int], backend: Local) -> bool:
    assert cancel(ref, on=backend) == Success(None)
    assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Cancelled)
    return status(ref, on=backend).unwrap().state == "cancelled"


def test_an_async_step_is_interrupted_where_it_awaits(backend: Local) -> None:
    started, ended = threading.Event(), threading.Event()

    @task
    async def waits(n: int) -> int:
        started.set()
        try:
            return await asyncio.Future()
        finally:
            ended.set()

    ref = submit((waits >> inc)(1), on=backend).unwrap()
    assert started.wait(PATIENCE)
    assert is_cancelled(ref, backend)
    assert ended.wait(PATIENCE)


def test_a_sync_step_can_see_that_it_was_cancelled(backend: Local) -> None:
    started, seen = threading.Event(), threading.Event()

    @task
    def looks(n: int) -> int:
        started.set()
        until(lambda: current().cancelled)
        seen.set()
        return n

    ref = submit(looks(1), on=backend).unwrap()
    assert started.wait(PATIENCE)
    assert is_cancelled(ref, backend)
    assert seen.wait(PATIENCE)


def test_a_call_that_waits_for_its_turn_is_cancelled(single: Local, gate: Gate) -> None:
    first = submit(gate.step(1), on=single).unwrap()
    gate.await_entry()
    waiting = [submit(inc(n), on=single).unwrap() for n in range(3)]
    assert is_cancelled(waiting[1], single)
    gate.open.set()
    assert [result(ref, on=single) for ref in (first, waiting[0], waiting[2])] == [
        Success(1),
        Success(1),
        Success(3),
    ]


def test_a_call_that_waits_to_be_tried_again_is_cancelled(backend: Local) -> None:
    failed = threading.Event()

    @task(retry=Retry(attempts=2, backoff=Constant(3600)))
    def fails(n: int) -> int:
        failed.set()
        raise OSError("down")

    ref = submit(fails(1), on=backend).unwrap()
    assert failed.wait(PATIENCE)
    assert is_cancelled(ref, backend)


def test_a_delayed_call_is_cancelled_before_it_starts(backend: Local) -> None:
    ran = threading.Event()

    @task
    def runs(n: int) -> int:
        ran.set()
        return n

    assert is_cancelled(submit(runs(1), on=backend, delay=3600).unwrap(), backend)
    assert not ran.is_set()


def test_a_call_that_is_done_keeps_its_outcome(backend: Local) -> None:
    ref = submit(inc(1), on=backend).unwrap()
    assert result(ref, on=backend) == Success(2)
    assert cancel(ref, on=backend) == Success(None)
    assert result(ref, on=backend) == Success(2)
    assert status(ref, on=backend).unwrap().state == "done"


def test_cancelling_twice_is_cancelling_once(backend: Local) -> None:
    ref = submit(never(1), on=backend).unwrap()
    assert is_cancelled(ref, backend)
    assert is_cancelled(ref, backend)


# -- keys -------------------------------------------------------------------------------------


def test_a_key_is_submitted_once_from_however_many_threads(backend: Local) -> None:
    ran: list[str | None] = []
    together_now = threading.Barrier(20)

    @task
    def once(n: int) -> int:
        ran.append(current().key)
        return n

    def submits(n: int) -> Ref[int]:
        together_now.wait(PATIENCE)
        return submit(once(n), on=backend, key="order-7").unwrap()

    with ThreadPoolExecutor(20) as threads:
        refs = set(threads.map(submits, range(20)))
    [ref] = refs
    outcome = result(ref, on=backend)
    assert outcome.unwrap() in range(20)
    assert result(submit(once(99), on=backend, key="order-7").unwrap(), on=backend) == outcome
    assert run(once(99), on=backend, key="order-7") == outcome
    assert ran == ["order-7"]


def test_a_key_belongs_to_one_flow(backend: Local) -> None:
    flows: list[AnyFlow] = [inc, inc >> inc, each(inc), together(inc, inc), inc.named("other")]
    refs = [submit(flow(1), on=backend, key="k").unwrap() for flow in flows if flow != each(inc)]
    refs.append(submit(each(inc)([1]), on=backend, key="k").unwrap())
    assert len({ref.id for ref in refs}) == len(flows)


# -- delay, deadline, priority ----------------------------------------------------------------


def test_a_step_knows_its_calls_deadline(backend: Local) -> None:
    @task
    def when() -> datetime | None:
        return current().deadline

    deadline = datetime.now(UTC) + timedelta(hours=1)
    told = run(when(), on=backend, deadline=deadline).unwrap()
    assert told is not None
    assert abs(told - deadline) < timedelta(milliseconds=1)
    assert run(when(), on=backend) == Success(None)


def test_a_deadline_that_passes_ends_a_call_wherever_it_is(single: Local, gate: Gate) -> None:
    submit(gate.step(1), on=single)
    gate.await_entry()
    running = submit(never(1), on=single, deadline=0.1).unwrap()
    in_line = submit(inc(1), on=single, deadline=0.1).unwrap()
    delayed = submit(inc(1), on=single, delay=3600, deadline=timedelta(seconds=0.1)).unwrap()
    for ref in (running, in_line, delayed):
        assert isinstance(result(ref, on=single, timeout=PATIENCE).failure(), Expired)
        assert status(ref, on=single).unwrap().state == "expired"


def test_the_most_urgent_of_those_that_wait_goes_first(single: Local, gate: Gate) -> None:
    order: list[str] = []

    @task
    def note(name: str) -> None:
        order.append(name)

    first = submit(gate.step(0), on=single).unwrap()
    gate.await_entry()
    refs = [
        submit(note("least"), on=single, priority=0).unwrap(),
        submit(note("as usual"), on=single).unwrap(),
        submit(note("most"), on=single, priority=9).unwrap(),
        submit(note("also most"), on=single, priority=9).unwrap(),
        submit(note.with_(priority=7)("its own"), on=single, priority=1).unwrap(),
    ]
    until(lambda: all(status(ref, on=single).unwrap().state == "running" for ref in refs))
    gate.open.set()
    for ref in (first, *refs):
        assert isinstance(result(ref, on=single, timeout=PATIENCE), Success)
    assert order == ["most", "also most", "its own", "as usual", "least"]


# -- how many at a time -----------------------------------------------------------------------


def test_so_many_sync_steps_run_at_a_time_and_no_more(gate: Gate) -> None:
    backend = local(workers=3)
    refs = submit_all([gate.step(n) for n in range(5)], on=backend).unwrap()
    for _ in range(3):
        gate.await_entry()
    # What waits for a thread waits for good: had a fourth one started, this would tell.
    assert run(inc_later(1), on=backend) == Success(2)
    assert not gate.entered.acquire(blocking=False)
    gate.open.set()
    assert [result(ref, on=backend) for ref in refs] == [Success(n) for n in range(5)]


def test_a_place_given_to_who_has_just_left_is_given_to_the_next() -> None:
    async def main() -> None:
        slots = Slots(1)
        await slots.take(None)
        leaving, staying = (asyncio.create_task(slots.take(None)) for _ in range(2))
        await asyncio.sleep(0)
        slots.add(1)
        leaving.cancel()
        await asyncio.wait_for(staying, PATIENCE)
        slots.add(1)
        await asyncio.wait_for(slots.take(None), PATIENCE)

    asyncio.run(main())


def test_async_steps_take_no_workers(single: Local, gate: Gate) -> None:
    held = submit(gate.step(1), on=single).unwrap()
    gate.await_entry()
    assert run(each(inc_later)([1, 2, 3]), on=single) == Success([2, 3, 4])
    gate.open.set()
    assert result(held, on=single) == Success(1)


Wrap: TypeAlias = Callable[[Task[[int], int], Local], AnyFlow]
WAITING: dict[str, Wrap] = {}


def waits(make: Wrap) -> Wrap:
    WAITING[make.__name__] = make
    return make


@waits
def a_sync_step(inner: Task[[int], int], on: Local) -> AnyFlow:
    @task
    def outer(n: int) -> int:
        return run(inner(n), on=on, timeout=10).unwrap()

    return outer


@waits
def a_sync_step_that_submits(inner: Task[[int], int], on: Local) -> AnyFlow:
    @task
    def outer(n: int) -> int:
        refs = submit_all([inner(n), inner(n)], on=on).unwrap()
        found = dict(results(refs, on=on, timeout=10))
        return found[refs[0]].unwrap()

    return outer


@waits
def a_sync_step_with_a_timeout(inner: Task[[int], int], on: Local) -> AnyFlow:
    @task(timeout=10)
    def outer(n: int) -> int:
        return result(submit(inner(n), on=on).unwrap(), on=on, timeout=10).unwrap()

    return outer


@waits
def a_sync_step_with_a_loop_of_its_own(inner: Task[[int], int], on: Local) -> AnyFlow:
    @task
    def outer(n: int) -> int:
        return asyncio.run(aio.run(inner(n), on=on, timeout=10)).unwrap()

    return outer


@waits
def an_async_step(inner: Task[[int], int], on: Local) -> AnyFlow:
    @task
    async def outer(n: int) -> int:
        return (await aio.run(inner(n), on=on, timeout=10)).unwrap()

    return outer


@waits
def a_fused_sync_step(inner: Task[[int], int], on: Local) -> AnyFlow:
    return fused(a_sync_step(inner, on))


@waits
def a_fused_async_step(inner: Task[[int], int], on: Local) -> AnyFlow:
    return fused(an_async_step(inner, on))


@pytest.mark.parametrize("make", WAITING.values(), ids=WAITING)
def test_a_step_that_waits_for_another_call_does_not_wait_for_its_own_place(
    single: Local, make: Wrap
) -> None:
    flow = make(inc.with_(timeout=10), single)
    ref = submit(flow(1), on=single).unwrap()
    assert result(ref, on=single, timeout=10) == Success(2)
    # And its place is there for the next ones, once.
    gate = Gate()
    refs = submit_all([gate.step(n) for n in range(2)], on=single).unwrap()
    gate.await_entry()
    assert run(inc_later(1), on=single) == Success(2)
    assert not gate.entered.acquire(blocking=False)
    gate.open.set()
    assert [result(ref, on=single) for ref in refs] == [Success(0), Success(1)]


# -- many at once -----------------------------------------------------------------------------


def test_many_threads_and_event_loops_share_one_backend(backend: Local) -> None:
    flow = inc >> inc_later >> inc

    def blocks(n: int) -> list[int]:
        refs = submit_all([flow(n + i) for i in range(20)], on=backend).unwrap()
        return [result(ref, on=backend, timeout=PATIENCE).unwrap() for ref in refs]

    def awaits(n: int) -> list[int]:
        async def main() -> list[int]:
            found = await asyncio.gather(*(aio.run(flow(n + i), on=backend) for i in range(20)))
            return [each.unwrap() for each in found]

        return asyncio.run(main())

    with ThreadPoolExecutor(8) as threads:
        futures = [threads.submit(blocks if n % 2 else awaits, n) for n in range(16)]
        for n, future in enumerate(futures):
            assert future.result(PATIENCE) == [n + i + 3 for i in range(20)]


def test_a_thousand_calls_come_as_they_complete(backend: Local) -> None:
    refs = submit_all([inc_later(n) for n in range(1000)], on=backend).unwrap()
    seen: list[tuple[int, int]] = []
    found = dict(results(refs, on=backend, progress=lambda done, of: seen.append((done, of))))
    assert [found[ref] for ref in refs] == [Success(n + 1) for n in range(1000)]
    assert seen == [(done, 1000) for done in range(1, 1001)]


def test_what_completes_first_comes_first(backend: Local, gate: Gate) -> None:
    slow = submit(gate.step(1), on=backend).unwrap()
    quick = submit(inc(1), on=backend).unwrap()
    coming = results([slow, quick], on=backend)
    assert next(coming) == (quick, Success(2))
    gate.open.set()
    assert list(coming) == [(slow, Success(1))]


def test_what_is_late_comes_as_still_running(backend: Local, gate: Gate) -> None:
    slow = submit(gate.step(1), on=backend).unwrap()
    quick = submit(inc(1), on=backend).unwrap()
    result(quick, on=backend)
    found = dict(results([slow, quick, slow], on=backend, timeout=0.05))
    assert found[quick] == Success(2)
    fault = found[slow].failure()
    assert isinstance(fault, TimedOut)
    assert fault.still_running
    gate.open.set()
    assert result(slow, on=backend) == Success(1)


def test_status_goes_through_the_states(backend: Local, gate: Gate) -> None:
    @task
    def reports(n: int) -> int:
        progress(3, total=10, note="rows")
        return gate.step.fn(n)

    @task
    def fails(n: int) -> int:
        raise OSError("down")

    waiting = submit(inc(1), on=backend, delay=3600).unwrap()
    assert status(waiting, on=backend).unwrap().state == "queued"
    ref = submit((inc >> reports >> inc)(1), on=backend).unwrap()
    gate.await_entry()
    now = status(ref, on=backend).unwrap()
    assert (now.state, now.task, now.step, now.attempt, now.settled) == (
        "running",
        "reports",
        "1",
        1,
        False,
    )
    assert now.progress is not None
    assert (now.progress.done, now.progress.total, now.progress.note) == (3, 10, "rows")
    gate.open.set()
    assert result(ref, on=backend) == Success(3)
    done = status(ref, on=backend).unwrap()
    assert (done.state, done.task, done.settled) == ("done", "inc", True)
    broken = submit(fails(1), on=backend).unwrap()
    assert isinstance(result(broken, on=backend).failure(), Raised)
    assert status(broken, on=backend).unwrap().state == "failed"


def test_one_bad_call_among_many_and_none_is_submitted(backend: Local) -> None:
    ran: list[int] = []

    @task
    def runs(n: int) -> int:
        ran.append(n)
        return n

    wrong = runs("three")  # type: ignore[arg-type]  # which is what is tried
    fault = submit_all([runs(1), wrong, runs(2)], on=backend).failure()
    assert fault.task == "runs"
    assert run(runs(5), on=backend) == Success(5)
    assert ran == [5]


# -- keeping and forgetting -------------------------------------------------------------------


def test_an_outcome_is_kept_as_long_as_was_asked_for() -> None:
    backend = local(keep=0)
    ref = submit(inc(1), on=backend, key="k").unwrap()
    assert result(ref, on=backend) == Success(2)

    def is_forgotten() -> bool:
        submit(inc(0), on=backend)  # it is then that what is too old is looked for
        return isinstance(status(ref, on=backend), Failure)

    until(is_forgotten)
    assert isinstance(result(ref, on=backend).failure(), Unknown)
    assert isinstance(status(ref, on=backend).failure(), Unknown)
    assert result(submit(inc(5), on=backend, key="k").unwrap(), on=backend) == Success(6)


def test_a_call_that_runs_is_not_forgotten(gate: Gate) -> None:
    backend = local(keep=0)
    ref = submit(gate.step(1), on=backend).unwrap()
    gate.await_entry()
    for n in range(10):
        submit(inc(n), on=backend)
    assert status(ref, on=backend).unwrap().state == "running"
    gate.open.set()
    assert result(ref, on=backend) == Success(1)


# -- the end ----------------------------------------------------------------------------------


def threads_of_ours() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name.startswith("onward")]


def used() -> Local:
    backend = local()
    refs = submit_all([inc(n) for n in range(10)] + [inc_later(1)], on=backend).unwrap()
    for ref in refs:
        assert isinstance(result(ref, on=backend), Success)
    return backend


def test_no_thread_is_left_once_a_backend_is_closed() -> None:
    before = set(threads_of_ours())
    backend = used()
    assert set(threads_of_ours()) - before
    backend.close()
    backend.close()
    del backend
    until(lambda: not set(threads_of_ours()) - before)


def test_no_thread_is_left_once_nobody_holds_a_backend() -> None:
    before = set(threads_of_ours())
    backend = used()
    submit(never(1), on=backend)
    del backend
    gc.collect()
    until(lambda: not set(threads_of_ours()) - before)


def test_a_backend_that_was_never_used_has_no_threads() -> None:
    before = set(threads_of_ours())
    backend = local()
    assert run(inc(1), on=backend) == Success(2)
    assert set(threads_of_ours()) == before


def test_who_waits_while_a_backend_is_closed_hears_of_it() -> None:
    backend = local()
    ref = submit(never(1), on=backend).unwrap()
    waits: list[Callable[[], object]] = [
        lambda: result(ref, on=backend),
        lambda: next(iter(results([ref], on=backend)))[1],
        lambda: asyncio.run(aio.result(ref, on=backend)),
        lambda: run(never(1), on=backend),
    ]
    with ThreadPoolExecutor(len(waits)) as threads:
        answers = [threads.submit(wait) for wait in waits]
        time.sleep(0.05)  # so that most of them wait; whoever does not hears of it all the same
        backend.close()
        for answer in answers:
            found = answer.result(PATIENCE)
            assert isinstance(found, Failure)
            assert isinstance(found.failure(), Unavailable | Cancelled)
            assert "closed" in found.failure().message


def test_a_closed_backend_is_unavailable() -> None:
    backend = used()
    ref = inc_later.ref("whatever")
    worker = backend.serve(Catalog(inc)).unwrap()
    backend.close()
    for answer in (
        submit(inc_later(1), on=backend),
        submit_all([inc_later(1)], on=backend),
        run(inc_later(1), on=backend),
        result(ref, on=backend),
        status(ref, on=backend),
        cancel(ref, on=backend),
        asyncio.run(aio.run(inc_later(1), on=backend)),
        dict(results([ref], on=backend))[ref],
    ):
        assert isinstance(answer.failure(), Unavailable)
    worker.stop()


def script(body: str) -> list[str]:
    """A program that defines tasks in its own `__main__`, as a command."""
    return [sys.executable, "-W", "error", "-c", PRELUDE + textwrap.dedent(body)]


PRELUDE = """
import asyncio, os, signal, sys, threading, time
from onward import *

begun = threading.Event()

def started():
    print("started", flush=True)
    begun.set()

@task
def sleeps(n: int) -> int:
    started()
    while True:
        time.sleep(3600)

@task
async def awaits(n: int) -> int:
    started()
    return await asyncio.Future()

@task
async def stubborn(n: int) -> int:
    started()
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass

@task(retry=Retry(attempts=2, backoff=Constant(3600)))
def retries(n: int) -> int:
    started()
    raise OSError("down")

@task
def double(n: int) -> int:
    return 2 * n

backend = local()
"""


@pytest.mark.parametrize("step", ["sleeps", "awaits", "stubborn", "retries"])
def test_a_program_ends_although_a_step_never_returns(step: str) -> None:
    body = f"""
        ref = submit({step}(1), on=backend).unwrap()
        begun.wait()  # and with it the print, which Python does not let a thread do at its own end
        print("the end")
    """
    ended = subprocess.run(
        script(body), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    logged = [line for line in ended.stderr.splitlines() if "will be retried" not in line]
    assert (ended.returncode, logged) == (0, [])
    assert "the end" in ended.stdout


INTERRUPTED = """
    try:
        run({call}, on=backend)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.mark.parametrize(
    "call",
    ["sleeps(1)", "awaits(1)", "retries(1)", "sleeps.with_(timeout=60)(1)", "each(awaits)([1])"],
)
def test_control_c_ends_a_run(call: str) -> None:
    with subprocess.Popen(
        script(INTERRUPTED.format(call=call)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    # Whether the failure to be retried is logged before the signal comes is up to the machine.
    logged = [line for line in err.splitlines() if "will be retried" not in line]
    assert (out, logged, process.returncode) == ("interrupted\n", [], 0)


def test_control_c_while_an_exception_is_put_into_words_ends_a_run(backend: Local) -> None:
    class Slow(Exception):
        def __str__(self) -> str:
            signal.raise_signal(signal.SIGINT)
            return "words"

    @task(retry=Retry(attempts=2, backoff=Constant(0)))
    def fails(n: int) -> int:
        raise Slow

    with pytest.raises(KeyboardInterrupt):
        run(fails(1), on=backend)


def test_a_step_that_raises_keyboard_interrupt_itself_is_a_step_that_raised(backend: Local) -> None:
    @task
    def interrupts(n: int) -> int:
        raise KeyboardInterrupt

    for flow in (interrupts, interrupts.with_(timeout=PATIENCE), inc >> interrupts):
        fault = run(flow(1), on=backend).failure()
        assert isinstance(fault, Raised)
        assert (fault.task, fault.error_type) == ("interrupts", "KeyboardInterrupt")


def test_a_forked_process_is_told_that_it_has_not_the_backend_s_threads() -> None:
    body = """
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        run(double.with_(timeout=60)(1), on=backend)
        child = os.fork()
        if child == 0:
            outcome = run(double.with_(timeout=60)(2), on=backend)
            print("forked" in outcome.failure().message, flush=True)
            os._exit(0)
        os.waitpid(child, 0)
    """
    if not hasattr(os, "fork"):
        pytest.skip("this platform cannot fork")
    ended = subprocess.run(
        script(body), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (ended.stdout, ended.stderr) == ("True\n", "")


# -- plans without flows ----------------------------------------------------------------------


def plan_of(flow: AnyFlow, id: str, *args: bytes) -> Submission:
    """A submission as it comes from another process: without the flow."""
    return Submission(
        Plan(v=VERSION, id=id, flow=flow.name, root=flow.node, args=Args(tuple(map(Raw, args))))
    )


def outcome_of(id: str, backend: Local, timeout: float = PATIENCE) -> Outcome | None:
    return backend.outcome(id, timeout).unwrap()


def test_a_plan_waits_for_a_worker_that_serves_it(backend: Local) -> None:
    flow = inc >> inc_later
    assert backend.submit(plan_of(flow, "a", b"1")) == Success("a")
    assert outcome_of("a", backend, 0.05) is None
    assert status(flow.ref("a"), on=backend).unwrap().state == "queued"
    worker = backend.serve(Catalog(flow)).unwrap()
    assert result(flow.ref("a"), on=backend, timeout=PATIENCE) == Success(3)
    worker.stop()
    assert worker.wait(0)
    backend.submit(plan_of(flow, "b", b"1"))
    assert outcome_of("b", backend, 0.05) is None


def test_a_plan_runs_only_what_the_catalogs_name(backend: Local) -> None:
    worker = backend.serve(Catalog(inc)).unwrap()
    other = backend.serve(Catalog(inc_later)).unwrap()
    ghost = inc >> inc_later >> task(name="ghost")(inc.fn)
    backend.submit(plan_of(ghost, "a", b"1"))
    fault = result(ghost.ref("a"), on=backend, timeout=PATIENCE).failure()
    assert isinstance(fault, Unknown)
    assert fault.task == "ghost"
    assert "inc, inc_later" in fault.message
    worker.stop()
    other.stop()


def test_a_plan_is_cancelled_or_expires_while_nobody_serves(backend: Local) -> None:
    backend.submit(plan_of(inc, "a", b"1"))
    assert is_cancelled(inc.ref("a"), backend)
    sent = plan_of(inc, "b", b"1").plan
    late = Plan(v=1, id="b", flow="inc", root=sent.root, args=sent.args, deadline=time.time() + 0.1)
    backend.submit(Submission(late))
    assert isinstance(result(inc.ref("b"), on=backend, timeout=PATIENCE).failure(), Expired)


def test_a_worker_brings_places_of_its_own(single: Local, gate: Gate) -> None:
    worker = single.serve(Catalog(gate.step), concurrency=2).unwrap()
    for n in range(4):
        single.submit(plan_of(gate.step, str(n), b"1"))
    for _ in range(3):
        gate.await_entry()
    assert run(inc_later(1), on=single) == Success(2)
    assert not gate.entered.acquire(blocking=False)
    gate.open.set()
    for n in range(4):
        assert result(gate.step.ref(str(n)), on=single) == Success(1)
    worker.stop()


def test_a_worker_that_stops_lets_what_it_holds_end(backend: Local, gate: Gate) -> None:
    worker = backend.serve(Catalog(gate.step)).unwrap()
    backend.submit(plan_of(gate.step, "a", b"1"))
    gate.await_entry()
    stopping = threading.Thread(target=worker.stop)
    stopping.start()
    until(lambda: worker.wait(0))
    backend.submit(plan_of(gate.step, "b", b"1"))
    assert outcome_of("b", backend, 0.05) is None
    assert stopping.is_alive()
    gate.open.set()
    stopping.join(PATIENCE)
    assert not stopping.is_alive()
    assert result(gate.step.ref("a"), on=backend, timeout=0) == Success(1)


def test_a_worker_that_stops_does_not_wait_longer_than_it_may(backend: Local, gate: Gate) -> None:
    worker = backend.serve(Catalog(gate.step)).unwrap()
    backend.submit(plan_of(gate.step, "a", b"1"))
    gate.await_entry()
    worker.stop(grace=0.05)
    assert worker.wait(0)
    worker.stop()


def test_a_wait_within_a_step_that_ends_is_named_as_such() -> None:
    backend = local()

    @task
    def later() -> int:
        return 1

    @task
    def waits() -> str:
        ref = submit(later(), on=backend, delay=60).unwrap()
        return str(result(ref, on=backend, timeout=0.01).failure())

    text = run(waits(), on=backend).unwrap()
    assert "The task waits waits for it within a step" in text
    assert "compose them with >>" in text
    backend.close()


def test_a_closed_backend_runs_nothing_more() -> None:
    backend = local()
    backend.close()
    for call in (inc(1), each(inc)([1])):
        for answer in (
            run(call, on=backend),
            run(call, on=backend, timeout=5),
            submit(call, on=backend),
            asyncio.run(aio.run(call, on=backend)),
        ):
            fault = answer.failure()
            assert isinstance(fault, Unavailable)
            assert "was closed. Connect again" in str(fault)
