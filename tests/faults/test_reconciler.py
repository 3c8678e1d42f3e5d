"""The reconciler sends only lost calls again, and no call that waits, runs or has ended."""

import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from typing import Any

import pytest
from redis import Redis
from returns.result import Success

from onward import Call, Limit, each, fused, limited, result, status, submit, task
from onward import plan as plans
from onward.backends.celery import celery
from onward.backends.celery.backend import CeleryBackend
from onward.backends.celery.ledger import NewCall
from onward.backends.celery.reconciler import MAX_SENDS, reconcile
from onward.fault import Fault, Lost, Unknown
from onward.interpret.prepare import prepare
from onward.observe import Attempt, Sending, observed_catalog
from tests.engines.process import until
from tests.engines.rabbitmq import RabbitMQ
from tests.faults.served import catalog, chain, step, unserved

pytestmark = pytest.mark.faults


@task(queue="slow")
def slow(n: int) -> int:
    """Returns its argument, in a queue of its own."""
    return n


class Notes:
    """An observer that collects attempts."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []

    def sending(self, sending: Sending) -> AbstractContextManager[None]:
        return nullcontext()

    def attempt(self, attempt: Attempt) -> AbstractContextManager[None]:
        self.attempts.append(attempt)
        return nullcontext()


@pytest.fixture
def backend(redis: str) -> Iterator[CeleryBackend]:
    made = celery(redis, lease=1.0)
    yield made
    made.close()


@pytest.fixture
def other(redis: str) -> Iterator[CeleryBackend]:
    """A second backend on the same ledger, like one in another process."""
    made = celery(redis, lease=1.0)
    yield made
    made.close()


@pytest.fixture
def on_rabbitmq(
    redis: str, rabbitmq: RabbitMQ, request: pytest.FixtureRequest
) -> Iterator[CeleryBackend]:
    made = celery(rabbitmq.url, redis, queue=request.node.name, lease=1.0)
    yield made
    made.close()


def not_sent(call: Call[int], backend: CeleryBackend) -> str:
    """Stores a call in the ledger without sending it, as if its client had died; returns its id."""
    prepared = prepare(call, None, 0.0, None, {})
    assert not isinstance(prepared, Fault)
    plan = prepared.plan
    assert backend.ledger.add([NewCall(plan.id, plans.encode(plan))]) == [True]
    return plan.id


def waiting(backend: CeleryBackend, queue: str) -> int:
    """How many messages are in a queue of Redis, of all priorities."""
    with backend.app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        return int(channel._size(queue))


@contextmanager
def serving(backend: CeleryBackend) -> Iterator[None]:
    """Runs a worker in this process while entered."""
    worker = backend.serve(catalog).unwrap()
    try:
        yield
    finally:
        worker.stop()


def test_a_call_whose_client_died_before_sending_is_sent(backend: CeleryBackend) -> None:
    id = not_sent(chain(1), backend)
    with serving(backend):
        assert result(chain.ref(id), on=backend, timeout=120) == Success(4)


def test_a_call_in_the_ledger_is_submitted_although_the_broker_is_away(
    backend: CeleryBackend, redis: str
) -> None:
    # Otherwise another client that submitted the same key meanwhile would lose it.
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens
        nowhere = f"amqp://127.0.0.1:{closed.getsockname()[1]}//"
        once = {"task_publish_retry_policy": {"max_retries": 1, "interval_start": 0}}
        client = celery(nowhere, redis, lease=1.0, options=once)
        ref = submit(chain(1), on=client).unwrap()
        with serving(backend):
            assert result(ref, on=client, timeout=120) == Success(4)
        client.close()


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
    ],
)
def test_a_call_that_waits_in_a_queue_of_other_workers_is_left_there(
    call: Call[int], queue: str | None, backend: CeleryBackend, other: CeleryBackend
) -> None:
    ref = submit(call, on=backend, queue=queue).unwrap()
    for _ in range(MAX_SENDS + 1):
        assert reconcile(other, patience=0) == []
    assert not status(ref, on=backend).unwrap().settled


def test_a_call_of_a_backend_on_another_queue_is_left_there(
    backend: CeleryBackend, redis: str
) -> None:
    """It may belong to another app on the same Redis, whose workers are busy or away."""
    with closing(celery(redis, queue="of-another-app", lease=1.0)) as another:
        submit(chain(1), on=another).unwrap()
        for _ in range(MAX_SENDS + 1):
            assert reconcile(backend, patience=0) == []
        assert waiting(another, "of-another-app") == 1


def test_a_lost_call_of_a_backend_on_another_queue_is_sent_there(
    backend: CeleryBackend, redis: str
) -> None:
    with closing(celery(redis, queue="of-another-app", lease=1.0)) as another:
        ref = submit(chain(1), on=another).unwrap()
        with Redis.from_url(redis) as client:
            client.delete(*client.keys("of-another-app*"))
        assert reconcile(backend, patience=0) == [ref.id]
        assert waiting(another, "of-another-app") == 1


def test_a_branch_that_waits_in_a_queue_of_other_workers_is_left_there(
    backend: CeleryBackend, other: CeleryBackend
) -> None:
    ref = submit(each(slow)([1, 2]), on=backend).unwrap()
    with serving(other):
        until(
            lambda: waiting(other, "slow") == 2,
            within=120,
            otherwise=lambda: "the branches are in no queue",
        )
        assert reconcile(other, patience=0) == []
        assert not status(ref, on=backend).unwrap().settled


def test_a_call_with_a_postponed_branch_is_left_until_then(backend: CeleryBackend) -> None:
    waiting, lost = not_sent(chain(1), backend), not_sent(chain(2), backend)
    backend.ledger.postpone(waiting, "0[0]", "holder", 60.0)
    backend.ledger.record_outcome(waiting, "0[1]", "holder", b"{}")  # as another branch goes on
    until(
        lambda: lost in backend.ledger.find_lost(2.0),
        within=120,
        otherwise=lambda: "still heard of",
    )
    assert reconcile(backend, patience=1.0) == [lost]


def test_of_lost_calls_of_a_limited_flow_only_those_with_a_place_are_sent(
    backend: CeleryBackend,
) -> None:
    """A worker that died can have taken them before it looked for their places."""
    flow = limited((step >> step).named("one-at-a-time"), Limit(concurrency=1))
    ids = {not_sent(flow(n), backend) for n in range(3)}
    sent = reconcile(backend, patience=0)
    assert len(sent) == 1
    assert reconcile(backend, patience=0) in ([], sent)
    assert all(backend.status(id).unwrap().limit == "one-at-a-time" for id in ids - {*sent})


def test_a_lost_call_is_sent_once_even_if_several_reconcile_at_once(
    backend: CeleryBackend, redis: str
) -> None:
    id = not_sent(chain(1), backend)
    until(lambda: backend.ledger.find_lost(0.5) == [id], within=120, otherwise=lambda: "heard of")
    others = [celery(redis, lease=1.0) for _ in range(4)]
    start = threading.Barrier(len(others))
    sent: list[str] = []

    def look(at: CeleryBackend) -> None:
        start.wait(60)
        sent.extend(reconcile(at, patience=0.5))

    threads = [threading.Thread(target=look, args=(at,)) for at in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sent == [id]
    for at in others:
        at.close()


def test_a_call_that_is_lost_too_often_fails_as_lost(backend: CeleryBackend) -> None:
    notes = Notes()
    tasks = observed_catalog(catalog, [notes]).tasks
    id = not_sent(chain(1), backend)
    for _ in range(MAX_SENDS + 1):
        reconcile(backend, patience=0, tasks=tasks)
        with backend.app.connection_for_write() as connection:
            channel: Any = connection.default_channel
            channel.queue_purge(backend.queue)
    found = result(chain.ref(id), on=backend, timeout=120).failure()
    assert isinstance(found, Lost)
    assert [(each.context.id, each.error) for each in notes.attempts] == [(id, found)]


def test_on_rabbitmq_a_call_that_waits_is_left_there(on_rabbitmq: CeleryBackend) -> None:
    submit(chain(1), on=on_rabbitmq).unwrap()
    assert reconcile(on_rabbitmq, patience=0) == []


def test_on_rabbitmq_a_call_that_is_in_no_queue_is_sent(on_rabbitmq: CeleryBackend) -> None:
    id = not_sent(chain(1), on_rabbitmq)
    assert reconcile(on_rabbitmq, patience=0) == [id]
    with serving(on_rabbitmq):
        assert result(chain.ref(id), on=on_rabbitmq, timeout=120) == Success(4)


def test_on_rabbitmq_a_call_that_was_never_sent_does_not_wait_for_a_backlog(
    on_rabbitmq: CeleryBackend,
) -> None:
    submit(chain(1), on=on_rabbitmq).unwrap()
    id = not_sent(chain(2), on_rabbitmq)
    assert reconcile(on_rabbitmq, patience=0) == [id]
    assert reconcile(on_rabbitmq, patience=0) == []


def test_a_step_that_no_worker_knows_ends_its_call_as_unknown(backend: CeleryBackend) -> None:
    with serving(backend):
        for call in (unserved(1), (step >> unserved >> step)(1), each(unserved)([1, 2])):
            found = result(submit(call, on=backend).unwrap(), on=backend, timeout=60).failure()
            assert isinstance(found, Unknown)
            assert found.task == "unserved"


def test_a_step_that_ends_after_its_call_was_deleted_leaves_no_key(
    backend: CeleryBackend, redis: str
) -> None:
    backend.ledger.record_outcome("forgotten", "0", "holder", b"{}")
    backend.ledger.update("forgotten", progress="1.0 - almost")
    with Redis.from_url(redis) as client:
        assert client.keys("onward:*forgotten*") == []
