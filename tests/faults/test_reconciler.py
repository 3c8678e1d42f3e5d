"""What the reconciler sends again is lost indeed: what waits, runs or is over, it leaves alone."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from returns.result import Failure, Success

from onward import Call, Catalog, each, fused, result, submit, task
from onward import plan as plans
from onward.backends.celery import celery
from onward.backends.celery.backend import CeleryBackend
from onward.backends.celery.reconcile import MOST, reconcile
from onward.fault import Fault, Lost, Unknown
from onward.prepare import prepare
from tests.engines.process import until
from tests.engines.rabbitmq import RabbitMQ
from tests.faults.served import catalog, chain, step, unserved

pytestmark = pytest.mark.faults


@task(queue="slow")
def slow(n: int) -> int:
    """The same, in a queue of its own."""
    return n


@pytest.fixture
def backend(redis: str) -> Iterator[CeleryBackend]:
    made = celery(redis, lease=1.0)
    yield made
    made.close()


@pytest.fixture
def other(redis: str) -> Iterator[CeleryBackend]:
    """The same calls, seen from another process."""
    made = celery(redis, lease=1.0)
    yield made
    made.close()


@pytest.fixture
def on_rabbitmq(redis: str, rabbitmq: RabbitMQ, request: pytest.FixtureRequest) -> CeleryBackend:
    made = celery(rabbitmq.url, redis, queue=request.node.name, lease=1.0)
    request.addfinalizer(made.close)
    return made


def written_down(call: Call[int], backend: CeleryBackend) -> str:
    """The id of a call whose client died after it was in the ledger, and before it was sent."""
    prepared = prepare(call, None, 0.0, None, None, None)
    assert not isinstance(prepared, Fault)
    plan = prepared.plan
    assert backend.ledger.open(plan.id, plans.encode(plan), 0.0)
    return plan.id


def test_a_call_whose_client_died_before_it_sent_it_is_sent(backend: CeleryBackend) -> None:
    id = written_down(chain(1), backend)
    worker = backend.serve(catalog).unwrap()
    assert result(chain.ref(id), on=backend, timeout=30) == Success(4)
    worker.stop()


def test_a_call_that_waits_in_its_queue_is_left_there(
    backend: CeleryBackend, other: CeleryBackend
) -> None:
    submit(chain(1), on=backend).unwrap()
    assert reconcile(other, patience=0) == []


@pytest.mark.parametrize(
    ("call", "queue"),
    [
        (step(1), "elsewhere"),
        (slow(1), None),
        ((step >> slow)(1), None),
        (fused(step >> slow, queue="slow")(1), None),
        ((slow >> step).rescue(slow)(1) if False else slow.named("it")(1), None),
    ],
)
def test_a_call_that_waits_in_a_queue_of_other_workers_is_left_there(
    call: Call[int], queue: str | None, backend: CeleryBackend, other: CeleryBackend
) -> None:
    ref = submit(call, on=backend, queue=queue).unwrap()
    for _ in range(MOST + 1):
        assert reconcile(other, patience=0) == []
    assert result(ref, on=backend, timeout=0).failure().__class__ is not Lost


def test_a_branch_that_waits_in_a_queue_of_other_workers_is_left_there(
    backend: CeleryBackend, other: CeleryBackend
) -> None:
    ref = submit(each(slow)([1, 2]), on=backend).unwrap()
    worker = other.serve(catalog).unwrap()
    until(
        lambda: bool(other.ledger.look(ref.id)) and _waits(other, "slow") == 2,
        within=10,
        otherwise=lambda: "the branches are in no queue",
    )
    assert reconcile(other, patience=0) == []
    worker.stop()


def test_however_many_look_at_once_a_lost_call_is_sent_once(
    backend: CeleryBackend, redis: str
) -> None:
    id = written_down(chain(1), backend)
    until(lambda: backend.ledger.silent(0.5) == [id], within=5, otherwise=lambda: "heard of")
    others = [celery(redis, lease=1.0) for _ in range(4)]
    start = threading.Barrier(len(others))
    sent: list[str] = []

    def look(at: CeleryBackend) -> None:
        start.wait(10)
        sent.extend(reconcile(at, patience=0.5))

    threads = [threading.Thread(target=look, args=(each,)) for each in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sent == [id]
    for each_ in others:
        each_.close()


def test_a_call_that_is_lost_time_and_again_ends_as_lost(backend: CeleryBackend) -> None:
    id = written_down(chain(1), backend)
    for _ in range(MOST + 1):
        reconcile(backend, patience=0)
        with backend.app.connection_for_write() as connection:
            connection.default_channel.queue_purge(backend.queue)
    found = result(chain.ref(id), on=backend, timeout=5).failure()
    assert isinstance(found, Lost)


def test_on_rabbitmq_a_call_that_waits_is_left_there(on_rabbitmq: CeleryBackend) -> None:
    submit(chain(1), on=on_rabbitmq).unwrap()
    assert reconcile(on_rabbitmq, patience=0) == []


def test_on_rabbitmq_a_call_that_is_in_no_queue_is_sent(on_rabbitmq: CeleryBackend) -> None:
    id = written_down(chain(1), on_rabbitmq)
    assert reconcile(on_rabbitmq, patience=0) == [id]
    worker = on_rabbitmq.serve(catalog).unwrap()
    assert result(chain.ref(id), on=on_rabbitmq, timeout=30) == Success(4)
    worker.stop()


def test_a_step_that_no_worker_knows_ends_its_call_as_unknown(backend: CeleryBackend) -> None:
    worker = backend.serve(catalog).unwrap()
    for flow in (
        unserved.named("it"),
        step >> unserved >> step,
        each(unserved) if False else unserved,
    ):
        found = result(submit(flow(1), on=backend).unwrap(), on=backend, timeout=30)
        assert isinstance(found, Failure)
        assert isinstance(found.failure(), Unknown)
    fanned = result(submit(each(unserved)([1, 2]), on=backend).unwrap(), on=backend, timeout=30)
    assert isinstance(fanned.failure(), Unknown)
    worker.stop()


def _waits(backend: CeleryBackend, queue: str) -> int:
    with backend.app.connection_for_read() as connection:
        return int(connection.default_channel.queue_declare(queue, passive=True).message_count)
