"""A client works from several threads, loops and processes, and its process ends cleanly."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from returns.result import Success

from onward import Unavailable, aio, result, run, status, submit
from onward.backends.temporal import TemporalBackend
from onward.backends.temporal import temporal as temporal_at
from tests.engines.server import HOST
from tests.engines.temporal import Temporal
from tests.temporal.conftest import ROOT
from tests.temporal.served import double, hold, inc, wait

PATIENCE = 120.0


@contextmanager
def client_of(temporal: Temporal) -> Iterator[TemporalBackend]:
    """Another client, for the worker that all tests share."""
    with closing(temporal_at(HOST, temporal.port, task_queue="tests")) as made:
        yield made


def test_many_threads_share_one_client(backend: TemporalBackend) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = list(
            pool.map(lambda n: run((inc >> double)(n), on=backend, timeout=PATIENCE), range(48))
        )
    assert found == [Success(2 * (n + 1)) for n in range(48)]


def test_one_loop_after_another_shares_one_client(backend: TemporalBackend) -> None:
    async def main(n: int) -> object:
        return await aio.run((inc >> double)(n), on=backend, timeout=PATIENCE)

    assert [asyncio.run(main(n)) for n in range(5)] == [Success(2 * (n + 1)) for n in range(5)]


def test_loops_on_several_threads_share_one_client(backend: TemporalBackend) -> None:
    async def main(n: int) -> object:
        found = await asyncio.gather(
            *(aio.run(inc(n + more), on=backend, timeout=PATIENCE) for more in range(4))
        )
        return list(found)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: asyncio.run(main(n)), range(8)))
    assert found == [[Success(n + more + 1) for more in range(4)] for n in range(8)]


def test_blocking_and_awaiting_callers_work_at_the_same_time(backend: TemporalBackend) -> None:
    async def main() -> None:
        ref = (await aio.submit(wait(0.3), on=backend)).unwrap()
        here = asyncio.create_task(aio.result(ref, on=backend, timeout=PATIENCE))
        there = asyncio.to_thread(result, ref, backend, timeout=PATIENCE)
        assert await there == await here == Success(0.3)

    asyncio.run(main())


def test_an_abandoned_wait_does_not_disturb_another_one(backend: TemporalBackend) -> None:
    async def main() -> None:
        ref = (await aio.submit(wait(0.5), on=backend)).unwrap()
        kept = asyncio.create_task(aio.result(ref, on=backend, timeout=PATIENCE))
        given_up = asyncio.create_task(aio.result(ref, on=backend))
        await asyncio.sleep(0.1)
        given_up.cancel()
        assert await kept == Success(0.5)
        assert await aio.result(ref, on=backend) == Success(0.5)

    asyncio.run(main())


def test_two_backends_work_in_one_process(temporal: Temporal, backend: TemporalBackend) -> None:
    with client_of(temporal) as other:
        ref = submit(inc(1), on=other).unwrap()
        assert result(ref, on=backend, timeout=PATIENCE) == Success(2)
    assert run(inc(1), on=backend, timeout=PATIENCE) == Success(2)


def test_a_closed_backend_returns_faults(temporal: Temporal) -> None:
    with client_of(temporal) as made:
        ref = submit(wait(0.1), on=made).unwrap()
    made.close()
    for found in (submit(inc(1), on=made), result(ref, on=made), status(ref, on=made)):
        fault = found.failure()
        assert isinstance(fault, Unavailable)
        assert "closed" in fault.message
    assert isinstance(asyncio.run(aio.run(inc(1), on=made)).failure(), Unavailable)


def test_a_wait_ends_when_its_backend_is_closed(
    temporal: Temporal, tmp_path: Path, backend: TemporalBackend
) -> None:
    with client_of(temporal) as made, ThreadPoolExecutor() as pool:
        ref = submit(hold(str(tmp_path)), on=made).unwrap()
        waiting = pool.submit(result, ref, made, timeout=PATIENCE)
        begun = threading.Event()
        threading.Timer(0.2, begun.set).start()
        begun.wait()
        made.close()
        assert isinstance(waiting.result(10).failure(), Unavailable)
    (tmp_path / "let-go").touch()
    assert result(ref, on=backend, timeout=PATIENCE) == Success(str(tmp_path))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_gets_a_fault_that_says_to_make_another_backend(
    backend: TemporalBackend,
) -> None:
    assert run(inc(1), on=backend, timeout=PATIENCE) == Success(2)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            fault = submit(inc(1), on=backend).failure()
            is_right = isinstance(fault, Unavailable) and "fork" in fault.message
            os.write(writing, b"right" if is_right else b"wrong")
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        assert answer.read() == "right"
    os.waitpid(child, 0)
    assert run(inc(1), on=backend, timeout=PATIENCE) == Success(2)


def test_a_connection_is_made_only_when_it_is_needed() -> None:
    made = temporal_at(HOST, 1)
    assert not [thread for thread in threading.enumerate() if thread.name == "onward-temporal-1"]
    made.close()


# -- short-lived processes ------------------------------------------------------------------------

BEGIN = """
import asyncio, sys, threading, time
from onward import Catalog, aio, result, run, submit
from onward.backends.temporal import temporal
from tests.temporal.served import inc, wait
backend = temporal("127.0.0.1", int(sys.argv[1]), task_queue=sys.argv[2])
"""

SHORT = {
    "run": "run(inc(1), on=backend).unwrap()",
    "run and close": "run(inc(1), on=backend).unwrap(); backend.close()",
    "awaited": "asyncio.run(aio.run(inc(1), on=backend)).unwrap()",
    "awaited and closed": "asyncio.run(aio.run(inc(1), on=backend)).unwrap(); backend.close()",
    "submitted": "submit((inc >> inc)(1), on=backend).unwrap()",
    "submitted and closed": "submit(inc(1), on=backend).unwrap(); backend.close()",
    "raised": "run(inc(1), on=backend).unwrap(); sys.exit(7)",
    "waited for meanwhile": (
        "ref = submit(wait(2.0), on=backend).unwrap()\n"
        "threading.Thread(target=result, args=(ref, backend), daemon=True).start()\n"
        "time.sleep(0.05)"
    ),
    "waited for meanwhile and closed": (
        "ref = submit(wait(2.0), on=backend).unwrap()\n"
        "threading.Thread(target=result, args=(ref, backend), daemon=True).start()\n"
        "time.sleep(0.05); backend.close()"
    ),
    "served": "backend.serve(Catalog(inc)).unwrap(); run(inc(1), on=backend).unwrap()",
    "served and stopped": (
        "worker = backend.serve(Catalog(inc)).unwrap(); run(inc(1), on=backend).unwrap()\n"
        "worker.stop(); backend.close()"
    ),
    "gave up its wait": "run(wait(2.0), on=backend, timeout=0.05)",
}


def short(temporal: Temporal, how: str) -> subprocess.CompletedProcess[str]:
    """Runs a short-lived process."""
    # A process that serves has a task queue of its own, because it does not know all tasks.
    return python(SHORT[how], temporal, "served" if "served" in how else "tests")


def python(script: str, temporal: Temporal, task_queue: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BEGIN + script, str(temporal.port), task_queue],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


OFTEN = ("awaited and closed", "submitted", "waited for meanwhile", "served and stopped")
"""Those that every run of the tests tries; the long form tries all."""


@pytest.mark.parametrize(
    "how", [pytest.param(how, marks=[] if how in OFTEN else pytest.mark.long) for how in SHORT]
)
def test_a_short_lived_process_ends_cleanly(
    how: str, temporal: Temporal, backend: TemporalBackend
) -> None:
    """With the SDK alone, about one in ten of them crashed."""
    ended = short(temporal, how)
    assert ended.returncode == (7 if how == "raised" else 0), ended.stderr
    assert ended.stderr == ""
    assert ended.stdout == ""


def test_large_values_log_no_warnings(temporal: Temporal) -> None:
    """The SDK alone writes a line for each value of more than 512 KB."""
    script = (
        "from tests.temporal.served import blob, same, size\n"
        "worker = backend.serve(Catalog(blob, same, size)).unwrap()\n"
        "assert run((blob >> same >> size)(1_900_000), on=backend).unwrap() == 1_900_000\n"
        "assert len(run(blob(1_900_000), on=backend).unwrap()) == 1_900_000\n"
        "assert run(size('x' * 1_900_000), on=backend).unwrap() == 1_900_000\n"
        "worker.stop(); backend.close()"
    )
    ended = python(script, temporal, "large")
    assert (ended.returncode, ended.stderr, ended.stdout) == (0, "", "")
