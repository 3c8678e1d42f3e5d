"""Dropped connections change no outcome, and no step runs twice at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from returns.result import Result, Success

from onward import Fault, given, result, submit
from onward.backends.celery import celery
from onward.backends.celery.backend import CeleryBackend
from tests.engines.process import until
from tests.engines.rabbitmq import RabbitMQ
from tests.engines.valkey import Valkey
from tests.faults.overlap import begun, chain, fan_out, held, overlapping, slow
from tests.faults.proxy import Proxy
from tests.faults.workers import Workers, every

pytestmark = pytest.mark.faults

LEASE = 3.0


class Dropping(NamedTuple):
    """A worker whose connections may drop, and a client whose connections stay."""

    network: Proxy
    workers: Workers
    client: CeleryBackend


REDIS_AND_RABBITMQ = ["redis", "rabbitmq"]


@pytest.fixture
def dropping(
    request: pytest.FixtureRequest, redis: str, valkey: Valkey, tmp_path: Path
) -> Iterator[Dropping]:
    with ExitStack() as stack:
        if request.param == "redis":
            network = stack.enter_context(Proxy(valkey.port))
            broker, queue, ledger = redis, "onward", network.url(redis)
        else:
            rabbitmq: RabbitMQ = request.getfixturevalue("rabbitmq")
            network = stack.enter_context(Proxy(rabbitmq.port))
            broker, queue, ledger = rabbitmq.url, tmp_path.name, redis
        client = celery(broker, redis, queue=queue, lease=LEASE)
        stack.callback(client.close)
        command = ["tests.faults.overlap", str(LEASE), queue, network.url(broker), ledger]
        workers = stack.enter_context(Workers(command, tmp_path, pace=0.2))
        workers.await_start()
        yield Dropping(network, workers, client)


@pytest.mark.parametrize("dropping", REDIS_AND_RABBITMQ, indirect=True)
def test_a_redelivered_message_is_ignored_while_its_step_runs(
    dropping: Dropping, tmp_path: Path
) -> None:
    network, workers, client = dropping
    gate = str(tmp_path / "gate")
    twice = held >> given(held, gate=gate)
    refs = [submit(twice(n, gate), on=client).unwrap() for n in range(3)]
    ids = [ref.id for ref in refs]
    until(lambda: all(begun(workers.trace, id) for id in ids), within=120, otherwise=workers.tail)
    network.drop()
    # Redelivered messages come before this one.
    after = submit(slow(1), on=client).unwrap()
    assert result(after, on=client, timeout=120) == Success(2), workers.tail()
    Path(gate).touch()
    found = [result(ref, on=client, timeout=120) for ref in refs]
    assert found == [Success(n + 2) for n in range(3)], workers.tail()
    assert [begun(workers.trace, id) for id in ids] == [{"0": 1, "1": 1}] * 3


@pytest.mark.parametrize(
    ("dropping", "calls", "drops"),
    [
        ("redis", 24, 3),
        pytest.param("rabbitmq", 24, 3, marks=pytest.mark.long),
        *(
            pytest.param(each, 300, 30, marks=[pytest.mark.long, pytest.mark.timeout(600)])
            for each in REDIS_AND_RABBITMQ
        ),
    ],
    indirect=["dropping"],
)
def test_calls_have_the_same_outcomes_when_connections_drop(
    calls: int, drops: int, dropping: Dropping
) -> None:
    network, workers, client = dropping
    with every(1.0, network.drop, drops) as disruption:
        sent = [
            (n + 3, submit(chain(n), on=client).unwrap())
            if n % 4
            else (2 * n + 2, submit(fan_out([n, n]), on=client).unwrap())
            for n in range(calls)
        ]
        disruption.join()
    found: list[Result[int, Fault]] = [result(ref, on=client, timeout=120) for _, ref in sent]
    assert found == [Success(value) for value, _ in sent], workers.tail()
    assert [step for _, ref in sent for step in overlapping(workers.trace, ref.id)] == []
