"""`local()`: how a backend, a program and a run end."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from returns.result import Failure, Success

from onward import (
    Cancelled,
    Catalog,
    Constant,
    Raised,
    Retry,
    Unavailable,
    aio,
    cancel,
    local,
    result,
    results,
    run,
    status,
    submit,
    submit_all,
    task,
)
from onward.backends.local import Local
from tests.local.common import (
    PATIENCE,
    inc,
    inc_later,
    never,
    until,
)


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
