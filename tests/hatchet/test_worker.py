"""A worker does not disturb its process, and leaves no step behind when it stops."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from returns.result import Success

from onward import Catalog, current, result, run, status, submit, task
from onward.backends.hatchet import HatchetBackend
from onward.fault import Cancelled, TimedOut, Unknown
from tests.hatchet.double import Double
from tests.hatchet.served import PATIENCE, Engine, backend_on, fresh, long_on_the_engine, serving


def _begin(gate: str) -> None:
    Path(gate).with_name(f"begun-{os.urandom(4).hex()}").touch()


def _is_open(gate: str) -> bool:
    return Path(gate).exists()


@task
def inc(n: int) -> int:
    return n + 1


@task
async def hold(gate: str) -> str:
    """Notes that it has begun, and waits until it may end."""
    _begin(gate)
    while not _is_open(gate):  # noqa: ASYNC110 - what it waits for is in another process
        await asyncio.sleep(0.01)
    return gate


@task
def hold_thread(gate: str) -> str:
    """Does the same in a thread, and checks whether it was cancelled."""
    _begin(gate)
    while not (_is_open(gate) or current().cancelled):
        time.sleep(0.01)
    Path(gate).with_name("ended").touch()
    return gate


@task
async def block(gate: str) -> str:
    """Blocks the loop that it runs on, as a task should not."""
    _begin(gate)
    while not _is_open(gate):
        time.sleep(0.01)  # noqa: ASYNC251 - that is the point
    return gate


@task
def note(text: str, file: str) -> None:
    with Path(file).open("a") as opened:
        opened.write(f"{text}\n")


@task(queue="rare")
def rare(n: int) -> int:
    return n


catalog = Catalog(inc, hold, hold_thread, block, note)


def until(condition: Callable[[], bool], patience: float = PATIENCE) -> None:
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "it did not become true in time"
        time.sleep(0.01)


def begun(folder: Path) -> int:
    return len(list(folder.glob("begun-*")))


def waiting(backend: HatchetBackend) -> set[str]:
    """What the diagnosis says of steps that wait."""
    return {each.text for each in backend.diagnose().unwrap().findings if each.what == "waiting"}


def children() -> set[str]:
    """The child processes of this process."""
    tasks = Path("/proc/self/task").glob("*/children")
    return {pid for file in tasks for pid in file.read_text().split()}


def test_a_worker_sets_no_signal_handlers_starts_no_processes_and_ends_its_threads(
    engine: Engine,
) -> None:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
    before = [signal.getsignal(number) for number in numbers]
    processes, threads = children(), set(threading.enumerate())
    with serving(engine, catalog, namespace=fresh()) as backend:
        assert run(inc(1), on=backend, timeout=PATIENCE) == Success(2)
        assert [signal.getsignal(number) for number in numbers] == before
        assert children() == processes
    assert children() == processes
    ours = {thread for thread in threading.enumerate() if thread.name.startswith("onward")}
    for thread in ours - threads:
        thread.join(30)
        assert not thread.is_alive()


@long_on_the_engine
def test_a_worker_can_be_served_from_any_thread(engine: Engine) -> None:
    found: list[object] = []

    def live() -> None:
        with serving(engine, catalog, namespace=fresh()) as backend:
            found.append(run(inc(1), on=backend, timeout=PATIENCE))

    thread = threading.Thread(target=live)
    thread.start()
    thread.join(90)
    assert found == [Success(2)]


def test_stop_waits_for_running_steps(engine: Engine, tmp_path: Path) -> None:
    backend = backend_on(engine, namespace=fresh())
    worker = backend.serve(catalog).unwrap()
    gate = tmp_path / "gate"
    ref = submit(hold(str(gate)), on=backend).unwrap()
    until(lambda: begun(tmp_path) == 1)
    stopping = threading.Thread(target=worker.stop, args=(30.0,))
    stopping.start()
    assert not worker.wait(0.2)
    gate.touch()
    stopping.join(30)
    assert worker.wait(0)
    assert result(ref, on=backend, timeout=PATIENCE) == Success(str(gate))
    assert begun(tmp_path) == 1
    backend.close()


def test_another_worker_takes_unfinished_steps_at_once(engine: Engine, tmp_path: Path) -> None:
    """A running step, and a flow that waits for a step."""
    namespace = fresh()
    backend = backend_on(engine, namespace=namespace)
    worker = backend.serve(catalog).unwrap()
    gate = tmp_path / "gate"
    ref = submit(hold(str(gate)), on=backend).unwrap()
    flow = submit((hold >> hold)(str(gate)), on=backend).unwrap()
    until(lambda: begun(tmp_path) == 2)
    worker.stop(grace=0.1)
    # Without being returned, the real engine would give them out after 30 s, and the double never.
    with serving(engine, catalog, namespace=namespace):
        until(lambda: begun(tmp_path) == 4)
        gate.touch()
        assert result(ref, on=backend, timeout=PATIENCE) == Success(str(gate))
        assert result(flow, on=backend, timeout=PATIENCE) == Success(str(gate))
    backend.close()


def test_a_cancelled_step_sees_that_it_is_cancelled(engine: Engine, tmp_path: Path) -> None:
    """A sync step sees it when it checks."""
    with serving(engine, catalog, namespace=fresh()) as backend:
        ref = submit(hold_thread(str(tmp_path / "gate")), on=backend).unwrap()
        until(lambda: begun(tmp_path) == 1)
        assert backend.cancel(ref.id) == Success(None)
        assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Cancelled)
        until((tmp_path / "ended").exists)


def test_cancelling_a_flow_cancels_its_running_step(engine: Engine, tmp_path: Path) -> None:
    with serving(engine, catalog, namespace=fresh()) as backend:
        ref = submit((hold_thread >> hold)(str(tmp_path / "gate")), on=backend).unwrap()
        until(lambda: begun(tmp_path) == 1)
        assert backend.cancel(ref.id) == Success(None)
        until((tmp_path / "ended").exists)
        assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Cancelled)
        assert begun(tmp_path) == 1


def test_a_step_that_blocks_its_loop_blocks_no_request(engine: Engine, tmp_path: Path) -> None:
    """The connection has its own loop."""
    with serving(engine, catalog, namespace=fresh()) as backend:
        gate = tmp_path / "gate"
        ref = submit(block(str(gate)), on=backend).unwrap()
        until(lambda: begun(tmp_path) == 1)
        until(lambda: status(ref, on=backend).unwrap().task == "block")
        for _ in range(5):
            assert status(ref, on=backend).unwrap().state == "running"
        gate.touch()
        assert result(ref, on=backend, timeout=PATIENCE) == Success(str(gate))


@pytest.mark.long
def test_a_step_longer_than_its_lease_runs_once(hatchet: Engine, tmp_path: Path) -> None:
    """The worker renews the lease. The double has none."""
    with serving(hatchet, catalog, namespace=fresh(), lease=10.0) as backend:
        gate = tmp_path / "gate"
        ref = submit(hold(str(gate)), on=backend).unwrap()
        assert isinstance(result(ref, on=backend, timeout=14).failure(), TimedOut)
        gate.touch()
        assert result(ref, on=backend, timeout=PATIENCE) == Success(str(gate))
        assert begun(tmp_path) == 1


def test_a_step_that_the_engine_failed_to_start_is_started_again() -> None:
    """Even the first step of a task, when it is not known yet whether the task is declared."""
    with Double() as double, serving(double, catalog) as backend:
        for count in (1, 2, 1):
            double.break_off(count)
            assert run((inc >> inc)(1), on=backend, timeout=PATIENCE) == Success(3)


def test_urgent_calls_run_first(engine: Engine, tmp_path: Path) -> None:
    """Among the calls that wait for the same task."""
    trace, gate = str(tmp_path / "trace"), tmp_path / "gate"
    with serving(engine, catalog, namespace=fresh(), concurrency=1) as backend:
        first = submit(hold(str(gate)), on=backend).unwrap()
        until(lambda: begun(tmp_path) == 1)
        refs = [
            submit(note(str(priority), trace), on=backend, priority=priority).unwrap()
            for priority in (0, None, 9)
            for _ in range(2)
        ]
        until(lambda: "6 steps of note wait" in waiting(backend))
        gate.touch()
        result(first, on=backend, timeout=PATIENCE)
        for ref in refs:
            result(ref, on=backend, timeout=PATIENCE)
    assert Path(trace).read_text().split() == ["9", "9", "None", "None", "0", "0"]


def test_a_queue_is_served_by_workers_that_name_it(engine: Engine) -> None:
    """A step of another queue waits for a worker of that queue."""
    namespace = fresh()
    with serving(engine, Catalog(inc, rare), namespace=namespace) as backend:
        assert run((inc >> rare)(1), on=backend, timeout=PATIENCE) == Success(2)
        ref = submit(inc(1), on=backend, queue="elsewhere").unwrap()
        assert isinstance(result(ref, on=backend, timeout=1).failure(), TimedOut)
        assert status(ref, on=backend).unwrap().state == "queued"
        with serving(engine, Catalog(inc), namespace=namespace, queue="elsewhere"):
            assert result(ref, on=backend, timeout=PATIENCE) == Success(2)


@long_on_the_engine
def test_a_worker_takes_steps_only_from_its_queues(engine: Engine) -> None:
    """It takes no steps without a queue, and no flows."""
    backend = backend_on(engine, namespace=fresh())
    worker = backend.serve(Catalog(inc, rare), queues=["rare"]).unwrap()
    assert run(rare(1), on=backend, timeout=PATIENCE) == Success(1)
    refs = [submit(flow(1), on=backend).unwrap() for flow in (inc, inc >> rare)]
    for ref in refs:
        assert isinstance(result(ref, on=backend, timeout=1).failure(), TimedOut)
    other = backend.serve(Catalog(inc, rare), queues=["onward"]).unwrap()
    assert [result(ref, on=backend, timeout=PATIENCE) for ref in refs] == [Success(2), Success(2)]
    worker.stop()
    other.stop()
    backend.close()


def test_a_reassigned_flow_keeps_its_running_steps(tmp_path: Path) -> None:
    """The first worker of the flow does not cancel the steps that the second one waits for."""
    gate = tmp_path / "gate"
    with Double() as double, serving(double, catalog, namespace=fresh()) as backend:
        ref = submit((hold >> hold)(str(gate)), on=backend).unwrap()
        until(lambda: begun(tmp_path) == 1)
        double.take_away(ref.id)
        assert isinstance(result(ref, on=backend, timeout=1).failure(), TimedOut)
        gate.touch()
        assert result(ref, on=backend, timeout=PATIENCE) == Success(str(gate))
        assert begun(tmp_path) == 2


@pytest.mark.parametrize("grace", [0.0, 5.0])
def test_a_worker_whose_backend_is_closed_first_can_still_be_stopped(
    engine: Engine, grace: float
) -> None:
    backend = backend_on(engine, namespace=fresh())
    worker = backend.serve(catalog).unwrap()
    backend.close()
    worker.stop(grace)
    assert worker.wait(60)


def test_an_outcome_that_the_engines_database_refuses_is_reported_again(tmp_path: Path) -> None:
    """The engine answers as for an invalid request. The step does not run again."""
    with Double() as double, serving(double, catalog, namespace=fresh()) as backend:
        double.lose_its_database(events=5)
        gate = tmp_path / "gate"
        gate.touch()
        assert run(hold(str(gate)), on=backend, timeout=PATIENCE) == Success(str(gate))
        assert begun(tmp_path) == 1


def test_a_worker_logs_that_the_engine_is_back(caplog: pytest.LogCaptureFixture) -> None:
    """It gives no advice about TLS for an engine that it has reached before."""
    caplog.set_level("INFO", "onward.hatchet")
    with Double() as double, serving(double, catalog, namespace=fresh()) as backend:
        double.go_away()
        until(lambda: "the worker cannot reach the engine" in caplog.text, 30)
        double.come_back()
        until(lambda: "the worker reaches the engine again" in caplog.text, 30)
        assert "TLS" not in caplog.text
        assert run(inc(1), on=backend, timeout=PATIENCE) == Success(2)


def test_a_call_waits_a_moment_until_a_worker_declares_its_task(engine: Engine) -> None:
    """So does a step of a flow. If none declares it, it is Unknown."""
    namespace = fresh()
    backend = backend_on(engine, namespace=namespace, undeclared=30.0)
    with ThreadPoolExecutor() as pool:
        submitting = pool.submit(submit, inc(1), backend)
        time.sleep(0.7)
        with serving(engine, Catalog(inc), namespace=namespace) as hurried:
            assert result(submitting.result(60).unwrap(), on=backend, timeout=PATIENCE) == Success(
                2
            )
            assert isinstance(submit(rare(1), on=hurried).failure(), Unknown)
            found = run((inc >> rare)(1), on=hurried, timeout=PATIENCE).failure()
            assert isinstance(found, Unknown)
    backend.close()


@long_on_the_engine
def test_a_task_that_no_worker_serves_any_more_is_unknown(engine: Engine) -> None:
    """As long as there are other workers. Without any, its calls wait."""
    namespace = fresh()
    with serving(engine, Catalog(inc, note), namespace=namespace):
        pass
    backend = backend_on(engine, namespace=namespace)
    ref = submit(note("text", "file"), on=backend).unwrap()
    assert isinstance(result(ref, on=backend, timeout=2).failure(), TimedOut)
    with serving(engine, Catalog(inc), namespace=namespace, unserved=1.0) as other:
        for each in (backend, other):
            fault = result(ref, on=each, timeout=PATIENCE).failure()
            assert isinstance(fault, Unknown)
            assert fault.task == "note"
        assert run(inc(1), on=other, timeout=PATIENCE) == Success(2)
    backend.close()
