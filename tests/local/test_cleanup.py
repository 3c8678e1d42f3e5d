"""`f.finally_(g)` on `local()`: cancel, deadline, callers that leave, a process that ends."""

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from returns.result import Failure, Result, Success

from onward import (
    Cancelled,
    Expired,
    Fault,
    Raised,
    aio,
    cancel,
    each,
    fused,
    given,
    local,
    result,
    run,
    status,
    submit,
    task,
)
from onward.backends.local import Local
from tests.local.common import PATIENCE, Gate, inc, never, until


class Undo:
    """A cleanup that notes what it was given, and may be held up."""

    def __init__(self) -> None:
        self.ran: list[object] = []
        self.open = threading.Event()
        self.entered = threading.Event()
        self.open.set()

        @task
        def undo(n: int) -> str:
            self.entered.set()
            assert self.open.wait(PATIENCE)
            self.ran.append(n)
            return "undone"

        self.step = undo


@pytest.fixture
def undo() -> Iterator[Undo]:
    undo = Undo()
    yield undo
    undo.open.set()


@task
def halve(n: int) -> Result[int, str]:
    return Failure("odd") if n % 2 else Success(n // 2)


@task
def broken(n: int) -> int:
    raise ValueError(n)


def test_it_runs_after_a_value_an_error_and_a_fault(backend: Local, undo: Undo) -> None:
    for n, flow in (
        (2, halve.finally_(undo.step)),
        (3, halve.finally_(undo.step)),
        (4, broken.finally_(undo.step)),
    ):
        whole = inc >> flow
        assert str(run(whole(n - 1), on=backend)) == str(run((flow)(n), on=backend))
    assert undo.ran == [2, 2, 3, 3, 4, 4]
    assert run(halve.finally_(undo.step)(2), on=backend) == Success(1)
    assert run(halve.finally_(undo.step)(3), on=backend) == Failure("odd")


def test_it_does_not_run_if_its_flow_has_not_begun(backend: Local, undo: Undo) -> None:
    whole = broken >> inc.finally_(undo.step)
    assert isinstance(run(whole(1), on=backend).failure(), Raised)
    waiting = submit(inc.finally_(undo.step)(1), on=backend, delay=600).unwrap()
    assert cancel(waiting, on=backend) == Success(None)
    assert status(waiting, on=backend).unwrap().state == "cancelled"
    before = submit((never >> inc.finally_(undo.step))(1), on=backend).unwrap()
    until(lambda: status(before, on=backend).unwrap().state == "running")
    assert cancel(before, on=backend) == Success(None)
    assert status(before, on=backend).unwrap().state == "cancelled"
    assert undo.ran == []


def test_the_outcome_stays_and_a_failed_cleanup_is_logged(
    backend: Local, caplog: pytest.LogCaptureFixture
) -> None:
    @task
    def no_undo(n: int) -> Result[None, str]:
        return Failure("refused")

    @task
    def accept(error: str | Fault) -> None:
        assert error == "refused"

    for cleanup in (broken, no_undo, no_undo.rescue(accept)):
        assert run(inc.finally_(cleanup)(1), on=backend) == Success(2)
    errors = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
    assert errors == [
        "broken failed: ValueError: 1",
        "no_undo returned the domain error str, in a cleanup",
    ]


@task
def identity_of(error: Fault, n: int) -> int:
    return n


def test_a_cancelled_call_is_cancelling_until_it_is_cleaned_up(backend: Local, undo: Undo) -> None:
    undo.open.clear()
    flow = inc >> (never.rescue(given(identity_of, 7)) >> inc).finally_(undo.step)
    ref = submit(flow(1), on=backend).unwrap()
    until(lambda: status(ref, on=backend).unwrap().task == "never")
    for _ in range(2):
        assert cancel(ref, on=backend) == Success(None)
    assert undo.entered.wait(PATIENCE)
    assert status(ref, on=backend).unwrap().state == "cancelling"
    assert not status(ref, on=backend).unwrap().settled
    undo.open.set()
    assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Cancelled)
    assert status(ref, on=backend).unwrap().state == "cancelled"
    assert undo.ran == [2]


def test_a_call_past_its_deadline_is_cleaned_up(backend: Local, undo: Undo) -> None:
    begun = threading.Event()

    @task
    async def rest(n: int) -> int:
        begun.set()
        return await asyncio.Future()

    for seconds in (0.1, 1.0, 10.0):  # in which it has to begin
        ref = submit(rest.finally_(undo.step)(1), on=backend, deadline=seconds).unwrap()
        assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Expired)
        assert status(ref, on=backend).unwrap().state == "expired"
        if begun.is_set():
            break
    assert undo.ran == [1]


def test_a_step_in_a_thread_learns_of_the_cancel(backend: Local, gate: Gate, undo: Undo) -> None:
    ref = submit(each(gate.step.finally_(undo.step))([1, 2]), on=backend).unwrap()
    gate.await_entry()
    gate.await_entry()
    assert cancel(ref, on=backend) == Success(None)
    assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Cancelled)
    assert sorted(map(str, undo.ran)) == ["1", "2"]


def test_a_caller_that_stops_waiting_has_its_call_cleaned_up(backend: Local, undo: Undo) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await aio.run(never.finally_(undo.step)(1), on=backend)

    asyncio.run(main())
    until(lambda: undo.ran == [1])


def test_closing_the_backend_waits_for_cleanups(undo: Undo) -> None:
    backend = local()
    ref = submit(never.finally_(undo.step)(1), on=backend).unwrap()
    until(lambda: status(ref, on=backend).unwrap().task == "never")
    backend.close()
    assert undo.ran == [1]


PROGRAM = """
import asyncio, os, signal, sys, time
from onward import aio, local, run, submit, status, task

@task
async def wait(n: int) -> int:
    if sys.argv[1] == "interrupted":
        os.kill(os.getpid(), signal.SIGINT)
    await asyncio.sleep(600)
    return n

@task
def block(n: int) -> int:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(600)
    return n

@task
def undo(n: int) -> None:
    time.sleep(0.05)
    print("undone", n, flush=True)

flow = (block if sys.argv[1] == "blocked" else wait).finally_(undo)
if sys.argv[1] == "left":
    backend = local()
    ref = submit(flow(1), on=backend).unwrap()
    while status(ref, on=backend).unwrap().task != "wait":
        time.sleep(0.01)
else:
    run(flow(1), on=local())
"""


@pytest.mark.parametrize("how", ["left", "interrupted", "blocked"])
def test_a_process_that_ends_cleans_up_first(how: str) -> None:
    """Also after Ctrl-C, in a step that awaits and in one that blocks."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, how],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ended.stdout == "undone 1\n"
    assert ("KeyboardInterrupt" in ended.stderr) == (how != "left")


def test_what_runs_in_one_delivery_has_its_cleanup_around_it(backend: Local, undo: Undo) -> None:
    flow = inc.finally_(undo.step)
    for make in (fused, lambda flow: each(flow, chunk=2)):
        with pytest.raises(TypeError, match=r"fused\(f\).finally_\(g\)"):
            make(inc >> flow)
    assert run(fused(inc >> inc).finally_(undo.step)(1), on=backend) == Success(3)
    assert undo.ran == [1]
