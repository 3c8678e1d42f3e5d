"""On Temporal no call is lost when workers or the server die, and calls without a worker expire."""

import gc
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from returns.result import Success

from onward import Call, Catalog, cancel, each, fused, result, status, submit, task
from onward.backends.temporal import TemporalBackend
from onward.backends.temporal import temporal as temporal_at
from onward.fault import Cancelled, Expired, TimedOut, Unavailable, Unknown
from tests.engines.process import until
from tests.engines.server import HOST
from tests.engines.temporal import Temporal
from tests.faults.served import catalog, chain, fan_out, hold, noted, step, unserved
from tests.faults.storm import SHORT, storm
from tests.faults.temporal_served import backend_at
from tests.faults.temporal_storm import HEARTBEAT, TEMPORAL, onward_workers
from tests.faults.workers import Workers

pytestmark = pytest.mark.faults

SOON = 0.5
"""When a call expires that is to, in seconds."""
BEGINS = 15.0
"""How long a worker that has started may take to begin a step, in seconds."""
OFTEN = ("all workers are killed", "the server is killed")
"""The storms of every run of the tests; the long form has them all."""
AWAY = 6.0
"""How long the server is away, in seconds."""


@task(queue="nobody")
def lonely(n: int) -> int:
    """The same, if somebody polled its queue."""
    return n


CALLS: dict[str, Call[int]] = {
    "task": step(1),
    "chain": chain(1),
    "fan-out": fan_out([1, 2]),
    "fused": fused(step >> step)(1),
}


@pytest.fixture
def backend(temporal: Temporal, request: pytest.FixtureRequest) -> Iterator[TemporalBackend]:
    """With a task queue of its own, on which there is no worker yet."""
    made = temporal_at(HOST, temporal.port, task_queue=request.node.name, heartbeat=1)
    yield made
    made.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Temporal]:
    """One of its own, which keeps on disk what it acknowledged."""
    with Temporal.start(tmp_path / "server") as started:
        yield started


@pytest.fixture
def client(server: Temporal) -> Iterator[TemporalBackend]:
    """What calls are made on, on the server that is disrupted."""
    made = backend_at(server.url, HEARTBEAT)
    yield made
    made.close()


@pytest.fixture
def workers(server: Temporal, tmp_path: Path) -> Iterator[Workers]:
    with onward_workers(tmp_path, server.url, workers=2, pace=0.05) as started:
        yield started


def refuse(server: Temporal) -> None:
    server.kill()
    time.sleep(AWAY)
    server.restart()


def freeze(server: Temporal) -> None:
    server.pause()
    time.sleep(AWAY)
    server.resume()


def gate_of(folder: Path) -> Path:
    """The file that what is held waits for."""
    return folder / "gate"


def held(folder: Path, is_flow: bool) -> Call[object]:
    """A call whose first step goes on until there is a gate."""
    call: Call[object] = hold(str(gate_of(folder)))
    return (hold >> hold)(str(gate_of(folder))) if is_flow else call


@contextmanager
def serving(backend: TemporalBackend, tasks: Catalog = catalog) -> Iterator[None]:
    """While a worker serves in this process."""
    worker = backend.serve(tasks).unwrap()
    try:
        yield
    finally:
        worker.stop()


@pytest.mark.parametrize(
    "disruption",
    [
        pytest.param(disruption, marks=[] if disruption in OFTEN else [pytest.mark.long])
        for disruption in TEMPORAL.disruptions
    ],
)
def test_a_storm_changes_no_outcome(disruption: str, tmp_path: Path) -> None:
    tally = storm(TEMPORAL, "Onward", disruption, SHORT, tmp_path)
    assert (tally.lost, tally.hung, tally.wrong) == (0, 0, 0), tally


@pytest.mark.parametrize(
    "call",
    [
        unserved(1),
        (step >> unserved >> step)(1),
        each(unserved)([1, 2]),
        fused(step >> unserved)(1),
    ],
)
def test_a_step_that_no_worker_knows_ends_its_call_as_unknown(
    call: Call[object], backend: TemporalBackend
) -> None:
    with serving(backend):
        found = result(submit(call, on=backend).unwrap(), on=backend, timeout=60).failure()
    assert isinstance(found, Unknown)
    assert found.task == "unserved"


@pytest.mark.parametrize("what", CALLS)
def test_a_call_that_no_worker_takes_expires_when_its_deadline_passes(
    what: str, backend: TemporalBackend
) -> None:
    ref = submit(CALLS[what], on=backend, deadline=SOON).unwrap()
    found = result(ref, on=backend, timeout=120).failure()
    assert isinstance(found, Expired)
    assert status(ref, on=backend).unwrap().state == "expired"


@pytest.mark.parametrize("call", [lonely(1), (step >> lonely)(1), each(lonely)([1, 2])])
def test_a_call_whose_queue_nobody_polls_expires_when_its_deadline_passes(
    call: Call[object], backend: TemporalBackend
) -> None:
    with serving(backend):
        ref = submit(call, on=backend, deadline=SOON).unwrap()
        found = result(ref, on=backend, timeout=120).failure()
    assert isinstance(found, Expired)


@pytest.mark.parametrize("what", CALLS)
def test_a_call_without_a_deadline_waits_for_a_worker(what: str, backend: TemporalBackend) -> None:
    ref = submit(CALLS[what], on=backend).unwrap()
    assert isinstance(result(ref, on=backend, timeout=SOON).failure(), TimedOut)
    assert status(ref, on=backend).unwrap().state == "queued"
    with serving(backend):
        assert isinstance(result(ref, on=backend, timeout=120), Success)


@pytest.mark.parametrize("what", CALLS)
def test_a_call_is_cancelled_though_there_is_no_worker(what: str, backend: TemporalBackend) -> None:
    ref = submit(CALLS[what], on=backend).unwrap()
    cancel(ref, on=backend).unwrap()
    assert isinstance(result(ref, on=backend, timeout=120).failure(), Cancelled)


@pytest.mark.parametrize("is_flow", [True, False])
def test_a_call_is_cancelled_though_the_worker_that_is_at_it_died(
    is_flow: bool, server: Temporal, client: TemporalBackend, tmp_path: Path
) -> None:
    ref = submit(held(tmp_path, is_flow), on=client).unwrap()
    with onward_workers(tmp_path, server.url, workers=1) as workers:
        until(lambda: bool(noted(workers.trace, ref.id)), within=120, otherwise=workers.tail)
    cancel(ref, on=client).unwrap()
    assert isinstance(result(ref, on=client, timeout=120).failure(), Cancelled)


@pytest.mark.parametrize("is_flow", [True, False])
def test_a_call_whose_worker_died_expires_when_its_deadline_passes(
    is_flow: bool, server: Temporal, client: TemporalBackend, tmp_path: Path
) -> None:
    with onward_workers(tmp_path, server.url, workers=1) as workers:
        workers.await_start()
        ref = submit(held(tmp_path, is_flow), on=client, deadline=HEARTBEAT + BEGINS).unwrap()
        until(lambda: bool(noted(workers.trace, ref.id)), within=120, otherwise=workers.tail)
    assert isinstance(result(ref, on=client, timeout=120).failure(), Expired)


@pytest.mark.parametrize("is_flow", [True, False])
def test_a_step_whose_worker_died_is_run_by_another(
    is_flow: bool, client: TemporalBackend, workers: Workers, tmp_path: Path
) -> None:
    call = held(tmp_path, is_flow)
    ref = submit(call, on=client).unwrap()
    until(lambda: bool(noted(workers.trace, ref.id)), within=120, otherwise=workers.tail)
    workers.kill_all()
    gate_of(tmp_path).touch()
    assert isinstance(result(ref, on=client, timeout=120), Success), workers.tail()
    assert noted(workers.trace, ref.id)[:2] == ["hold", "hold"]


@pytest.mark.parametrize("outage", [refuse, freeze])
def test_calls_and_waits_during_an_outage_have_their_outcomes_afterwards(
    outage: Callable[[Temporal], None],
    server: Temporal,
    client: TemporalBackend,
    workers: Workers,
    tmp_path: Path,
) -> None:
    ref = submit(held(tmp_path, is_flow=False), on=client).unwrap()
    until(lambda: bool(noted(workers.trace, ref.id)), within=120, otherwise=workers.tail)
    refs = [submit(chain(n), on=client).unwrap() for n in range(20)]
    fans = [submit(fan_out([n, n]), on=client).unwrap() for n in range(5)]
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(result, ref, client, timeout=60)
        gate_of(tmp_path).touch()  # so that its outcome comes about while nobody can be told
        outage(server)
        assert isinstance(waiting.result(60), Success), workers.tail()
    found = [result(ref, on=client, timeout=120) for ref in refs]
    assert found == [Success(n + 3) for n in range(20)], workers.tail()
    found = [result(ref, on=client, timeout=120) for ref in fans]
    assert found == [Success(2 * n + 2) for n in range(5)], workers.tail()


def test_a_worker_keeps_serving_although_nobody_keeps_its_backend(
    server: Temporal, client: TemporalBackend
) -> None:
    worker = backend_at(server.url, HEARTBEAT).serve(catalog).unwrap()
    gc.collect()
    assert result(submit(step(1), on=client).unwrap(), on=client, timeout=60) == Success(2)
    worker.stop()


def test_submitting_without_a_server_is_a_fault(server: Temporal, client: TemporalBackend) -> None:
    submit(step(1), on=client).unwrap()
    server.kill()
    assert isinstance(submit(step(1), on=client).failure(), Unavailable)
