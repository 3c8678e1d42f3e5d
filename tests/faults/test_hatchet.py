"""On Hatchet no call is lost when workers or the engine die."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from returns.result import Failure, Success

from onward import (
    Cancelled,
    Catalog,
    Ref,
    Signal,
    awaits,
    cancel,
    fused,
    keep,
    result,
    send,
    sleep,
    status,
    submit,
)
from onward.backends.hatchet import HatchetBackend, Limit
from onward.fault import Unavailable
from onward.flows.flow import AnyFlow
from onward.testing.tasks import inc
from tests.engines.hatchet import DurableHatchet, Hatchet
from tests.engines.process import until
from tests.engines.running import running
from tests.faults.served import chain, fan_out, hold, noted, step
from tests.faults.workers import Workers
from tests.hatchet.served import backend_on, fresh, is_evicted
from tests.hatchet.worker import tidy, wait_here

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

PATIENCE = 300
"""The engine takes half a minute to miss a worker, and stalls some DAGs for minutes."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hatchet]:
    """One of our own, for it is killed."""
    yield from running(DurableHatchet, tmp_path_factory)


@pytest.fixture
def namespace() -> str:
    return fresh()


@pytest.fixture
def backend(server: Hatchet, namespace: str) -> Iterator[HatchetBackend]:
    made = backend_on(server, namespace=namespace)
    yield made
    made.close()


@pytest.fixture
def workers(
    server: Hatchet,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Workers]:
    for name, value in server.client_environment.items():
        monkeypatch.setenv(name, value)
    with Workers(["tests.hatchet.worker", "2", namespace, "60"], tmp_path, pace=0.05) as started:
        started.await_start(2)
        yield started


def is_held(ref: Ref[object, object], workers: Workers) -> bool:
    return "hold" in noted(workers.trace, ref.id)


FLOWS: dict[str, AnyFlow] = {
    "task": hold,
    "chain": hold >> hold,
    "fused": fused(hold >> hold),
}


def test_workers_that_are_killed_lose_nothing(
    backend: HatchetBackend, workers: Workers, tmp_path: Path
) -> None:
    """A task, a flow, and a fused flow, each while it runs; and all that waits behind them.

    Another worker goes on with a flow where it was: the steps that have run are not run again.
    """
    gate = tmp_path / "gate"
    refs = [submit(flow(str(gate)), on=backend).unwrap() for flow in FLOWS.values()]
    until(lambda: all(is_held(ref, workers) for ref in refs), within=120, otherwise=workers.tail)
    begun = submit((step >> wait_here >> step)(1), on=backend).unwrap()
    until(
        lambda: "wait_here 2" in noted(workers.trace, begun.id), within=120, otherwise=workers.tail
    )
    chains = [submit(chain(n), on=backend).unwrap() for n in range(10)]
    fans = [submit(fan_out([n, n]), on=backend).unwrap() for n in range(5)]
    workers.kill_all()
    gate.touch()
    for ref in refs:
        assert result(ref, on=backend, timeout=PATIENCE) == Success(str(gate)), workers.tail()
    assert result(begun, on=backend, timeout=PATIENCE) == Success(3), workers.tail()
    assert noted(workers.trace, begun.id).count("step 1") == 1
    found = [result(ref, on=backend, timeout=PATIENCE) for ref in chains]
    assert found == [Success(n + 3) for n in range(10)], workers.tail()
    found = [result(ref, on=backend, timeout=PATIENCE) for ref in fans]
    assert found == [Success(2 * n + 2) for n in range(5)], workers.tail()


DECISION = Signal("decision", bool)


@pytest.mark.long
def test_calls_that_sleep_wait_and_clean_up_survive_their_workers(
    backend: HatchetBackend, workers: Workers
) -> None:
    """Two thirds of the calls are cancelled, some while their worker dies."""
    sleeping = [submit((step >> sleep(5) >> step)(n), on=backend).unwrap() for n in range(5)]
    approval = step >> (step >> awaits(DECISION)).finally_(tidy)
    waiting = [submit(approval(1), on=backend).unwrap() for _ in range(15)]
    until(
        lambda: all(is_waiting(ref, backend) for ref in waiting),
        within=120,
        otherwise=workers.tail,
    )
    for ref in waiting[:5]:
        assert cancel(ref, on=backend) == Success(None)
    workers.kill_all()
    for ref in waiting[5:10]:
        assert cancel(ref, on=backend) == Success(None)
    for ref in waiting[10:]:
        assert send(ref, DECISION, True, on=backend) == Success(None)
    found = [result(ref, on=backend, timeout=PATIENCE) for ref in sleeping]
    assert found == [Success(n + 2) for n in range(5)], workers.tail()
    ended = [result(ref, on=backend, timeout=PATIENCE) for ref in waiting]
    assert {type(each.failure()) for each in ended[:10]} == {Cancelled}, workers.tail()
    assert ended[10:] == [Success(True)] * 5, workers.tail()
    for ref in waiting:
        assert noted(workers.trace, ref.id)[:2] == ["step 1", "step 2"]
        assert "tidy 2" in noted(workers.trace, ref.id), workers.tail()


@pytest.mark.long
def test_evicted_calls_survive_an_engine_that_is_killed(server: Hatchet, namespace: str) -> None:
    """With the moments for which they wait, and what is sent to them."""
    made = backend_on(server, namespace=namespace, holds=0.1)
    worker = made.serve(Catalog(inc)).unwrap()
    sleeping = submit((inc >> sleep(45) >> inc)(1), on=made).unwrap()
    waiting = submit((inc >> keep(awaits(DECISION)))(1), on=made).unwrap()
    for ref in (sleeping, waiting):
        until(partial(is_evicted, server, ref.id), within=120, otherwise=lambda: "not evicted")
    server.kill()
    server.restart()
    server.take_over()
    assert send(waiting, DECISION, False, on=made) == Success(None)
    assert result(waiting, on=made, timeout=PATIENCE) == Success((2, False))
    assert result(sleeping, on=made, timeout=PATIENCE) == Success(3)
    worker.stop(grace=5)
    made.close()


def is_waiting(ref: Ref[object, object], backend: HatchetBackend) -> bool:
    return status(ref, on=backend).unwrap().state == "waiting"


def test_an_engine_that_is_killed_forgets_nothing(
    server: Hatchet, backend: HatchetBackend, workers: Workers, tmp_path: Path
) -> None:
    """Neither what runs, nor what waits, nor who waits for it, nor what has ended.

    While it is away, nothing can be submitted.
    """
    ended = submit(chain(1), on=backend).unwrap()
    assert result(ended, on=backend, timeout=PATIENCE) == Success(4)
    gate = tmp_path / "gate"
    held = submit((hold >> hold)(str(gate)), on=backend).unwrap()
    until(lambda: is_held(held, workers), within=120, otherwise=workers.tail)
    refs = [submit(chain(n), on=backend).unwrap() for n in range(10)]
    fans = [submit(fan_out([n, n]), on=backend).unwrap() for n in range(5)]
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(result, held, backend, timeout=PATIENCE)
        server.kill()
        gate.touch()
        assert isinstance(submit(step(1), on=backend).failure(), Unavailable)
        assert isinstance(status(ended, on=backend).failure(), Unavailable)
        server.restart()
        server.take_over()
        assert waiting.result(PATIENCE + 60) == Success(str(gate)), workers.tail()
    assert result(ended, on=backend, timeout=PATIENCE) == Success(4)
    assert result(submit(step(1), on=backend).unwrap(), on=backend, timeout=PATIENCE) == Success(2)
    found = [result(ref, on=backend, timeout=PATIENCE) for ref in refs]
    assert found == [Success(n + 3) for n in range(10)], workers.tail()
    found = [result(ref, on=backend, timeout=PATIENCE) for ref in fans]
    assert found == [Success(2 * n + 2) for n in range(5)], workers.tail()


@pytest.mark.long
def test_a_database_that_fails_again_and_again_loses_nothing(
    server: Hatchet, backend: HatchetBackend, workers: Workers
) -> None:
    """While it does, calls are submitted, steps run, and what they gave is taken at last."""
    is_over = threading.Event()

    def cut() -> None:
        while not is_over.wait(1.0):
            server.lose_its_database()

    with ThreadPoolExecutor() as pool:
        cutting = pool.submit(cut)
        try:
            refs = [submitted(chain, n, backend) for n in range(10)]
            fans = [submitted(fan_out, [n, n], backend) for n in range(5)]
            time.sleep(5)
        finally:
            is_over.set()
        cutting.result()
    found = [result(ref, on=backend, timeout=PATIENCE) for ref in refs]
    assert found == [Success(n + 3) for n in range(10)], workers.tail()
    found = [result(ref, on=backend, timeout=PATIENCE) for ref in fans]
    assert found == [Success(2 * n + 2) for n in range(5)], workers.tail()


@pytest.mark.long
def test_what_waits_for_its_rate_goes_on_after_an_engine_is_killed(
    server: Hatchet, namespace: str
) -> None:
    """Which forgets it: the worker reminds it."""
    limited = backend_on(server, namespace=namespace, limits={"inc": Limit(rate=1, per="minute")})
    worker = limited.serve(Catalog(inc)).unwrap()
    refs = [submit(inc(n), on=limited).unwrap() for n in range(2)]
    assert result(refs[0], on=limited, timeout=120) == Success(1)
    assert status(refs[1], on=limited).unwrap().state == "queued"
    server.kill()
    server.restart()
    server.take_over()
    assert result(refs[1], on=limited, timeout=300) == Success(2)
    worker.stop(grace=5)
    limited.close()


def submitted(flow: AnyFlow, value: object, backend: HatchetBackend) -> Ref[object, object]:
    """A call, submitted as often as it takes; a key has it be one."""
    key = os.urandom(8).hex()
    while isinstance(answer := submit(flow(value), on=backend, key=key), Failure):
        assert isinstance(answer.failure(), Unavailable)
    return answer.unwrap()
