"""Temporal behind a network that drops connections, is half-open, or is slow."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from uuid import uuid4

import pytest
from returns.result import Result, Success

from onward import Catalog, Unavailable, result, run, status, submit, task
from onward.backends.temporal import TemporalBackend
from onward.backends.temporal import temporal as temporal_at
from tests.engines.server import HOST
from tests.engines.temporal import Temporal
from tests.faults.proxy import Proxy

pytestmark = pytest.mark.faults

ENDS = 60.0
"""How long anything may take before it counts as a hang, in seconds."""


HEARS = 60.0
"""How long a worker may take to hear again once the network is well, in seconds."""


@task
def double(n: int) -> int:
    return 2 * n


catalog = Catalog(double)


def at(port: int, queue: str) -> TemporalBackend:
    return temporal_at(HOST, port, task_queue=queue, heartbeat=2.0)


@pytest.mark.long
def test_every_call_of_a_client_ends_and_works_again_once_the_network_does(
    temporal: Temporal,
) -> None:
    queue = uuid4().hex
    with (
        Proxy(temporal.port) as network,
        closing(at(temporal.port, queue)) as near,
        closing(at(network.port, queue)) as far,
    ):
        worker = near.serve(catalog).unwrap()
        ref = submit(double(1), on=far).unwrap()
        assert result(ref, on=far, timeout=ENDS) == Success(2)
        network.swallow()
        asked: dict[str, Callable[[], Result[object, object]]] = {
            "submit": lambda: submit(double(2), on=far),
            "result": lambda: result(ref, on=far, timeout=1),
            "status": lambda: status(ref, on=far),
        }
        with ThreadPoolExecutor(len(asked)) as pool:
            answers = {name: pool.submit(ask) for name, ask in asked.items()}
            found = {name: answer.result(ENDS) for name, answer in answers.items()}
        for name in ("submit", "status"):
            assert isinstance(found[name].failure(), Unavailable), found[name]
        network.heal()
        with ThreadPoolExecutor(1) as pool:
            again = pool.submit(_until_it_works, far)
            assert again.result(2 * ENDS) == Success(6)
        worker.stop()


def _until_it_works(far: TemporalBackend) -> Result[int, object]:
    """The outcome of a call, submitted as soon as one can be."""
    while (submitted := submit(double(3), on=far)).value_or(None) is None:
        assert isinstance(submitted.failure(), Unavailable)
    return result(submitted.unwrap(), on=far, timeout=ENDS)


@pytest.mark.parametrize(
    "disruption", ["drop", "reset", "slow", pytest.param("swallow", marks=pytest.mark.long)]
)
def test_a_worker_recovers_with_the_network(temporal: Temporal, disruption: str) -> None:
    queue = uuid4().hex
    with (
        Proxy(temporal.port) as network,
        closing(at(temporal.port, queue)) as near,
        closing(at(network.port, queue)) as far,
    ):
        worker = far.serve(catalog).unwrap()
        assert run(double(1), on=near, timeout=ENDS) == Success(2)
        if disruption == "slow":
            network.latency = 0.3
        else:
            getattr(network, disruption)()
        ref = submit((double >> double)(1), on=near).unwrap()
        network.heal()
        assert result(ref, on=near, timeout=HEARS) == Success(4)
        worker.stop()
