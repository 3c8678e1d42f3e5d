"""`local()`: many calls, threads and event loops at once."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from returns.result import Success

from onward import (
    Raised,
    TimedOut,
    aio,
    progress,
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
    Gate,
    inc,
    inc_later,
)


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
