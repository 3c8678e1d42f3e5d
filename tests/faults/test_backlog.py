"""Lost calls are sent again before a backlog, and a backlog does not slow the search for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis import Redis
from returns.result import Success

from onward import Ref, result, status, submit, submit_all
from onward.backends.celery import celery
from onward.backends.celery.backend import CeleryBackend
from onward.backends.celery.reconciler import reconcile
from tests.engines.process import until
from tests.engines.rabbitmq import RabbitMQ
from tests.faults.overlap import begun, slow
from tests.faults.workers import Workers

pytestmark = pytest.mark.faults

LEASE = 1.0
PACE = 0.2

LONG = [pytest.mark.long, pytest.mark.timeout(1200)]
BEHIND_SO_MANY = pytest.mark.parametrize(
    ("line", "backlog"),
    [
        ("redis", 1000),
        pytest.param("rabbitmq", 1000, marks=pytest.mark.long),
        *(pytest.param(each, 200_000, marks=LONG) for each in ("redis", "rabbitmq")),
    ],
    indirect=["line"],
)


class Line(NamedTuple):
    """A client, and a function that starts a worker on its queue."""

    client: CeleryBackend
    start: Callable[[], Workers]


@pytest.fixture
def line(request: pytest.FixtureRequest, redis: str, tmp_path: Path) -> Iterator[Line]:
    broker = redis
    if request.param == "rabbitmq":
        rabbitmq: RabbitMQ = request.getfixturevalue("rabbitmq")
        broker = rabbitmq.url
    count = iter(range(9))
    with ExitStack() as stack:
        client = celery(broker, redis, queue=tmp_path.name, lease=LEASE)
        stack.callback(client.close)

        def start() -> Workers:
            command = ["tests.faults.overlap", str(LEASE), tmp_path.name, broker, redis]
            folder = tmp_path / str(next(count))
            workers = stack.enter_context(Workers(command, folder, pace=PACE))
            workers.await_start()
            return workers

        yield Line(client, start)


def popped(client: CeleryBackend) -> str:
    """Removes the next message, as if its worker had died with it; returns the call's id."""
    with client.app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        message = channel.basic_get(client.queue, no_ack=True)
        return str(message.headers["root_id"])


@BEHIND_SO_MANY
def test_steps_that_died_with_their_worker_do_not_wait_for_the_backlog(
    backlog: int, line: Line
) -> None:
    refs = submit_all([slow(n) for n in range(backlog)], on=line.client).unwrap()
    first = line.start()
    begins = list(refs[:8])
    until(
        lambda: all(begun(first.trace, ref.id) for ref in begins), within=120, otherwise=first.tail
    )
    first.__exit__()
    line.start()
    found = [result(ref, on=line.client, timeout=120) for ref in begins]
    assert found == [Success(n + 1) for n in range(8)]
    assert not status(refs[-1], on=line.client).unwrap().settled


@BEHIND_SO_MANY
def test_a_lost_message_is_sent_again_ahead_of_the_backlog(backlog: int, line: Line) -> None:
    refs = submit_all([slow(n) for n in range(backlog)], on=line.client).unwrap()
    lost = popped(line.client)
    workers = line.start()
    assert isinstance(result(slow.ref(lost), on=line.client, timeout=120), Success), workers.tail()
    assert not status(refs[-1], on=line.client).unwrap().settled


@pytest.mark.parametrize("line", ["redis", "rabbitmq"], indirect=True)
def test_a_waiting_call_is_not_sent_again(line: Line) -> None:
    refs = submit_all([slow(n) for n in range(6)], on=line.client).unwrap()
    for _ in range(5):
        assert reconcile(line.client, patience=0) == []
    workers = line.start()
    assert [result(ref, on=line.client, timeout=120) for ref in refs] == [
        Success(n + 1) for n in range(6)
    ], workers.tail()


@pytest.mark.parametrize("damage", ["no text", "another type", "no plan", "odd id"])
def test_an_unreadable_record_is_logged_once_and_does_not_disturb_others(
    damage: str, redis: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = celery(redis, lease=LEASE)
    ref: Ref[int, object] = submit(slow(1), on=client).unwrap()
    with Redis.from_url(redis) as there:
        there.delete(*there.keys("onward\x06*"))
        there.zadd("onward:open", {"bad": 1.0})
        match damage:
            case "no text":
                there.hset("onward:bad", mapping={"plan": b"{\xff", "end\xff": b"\xff"})
            case "another type":
                there.set("onward:bad", "text")
            case "no plan":
                there.hset("onward:bad", mapping={"plan": b"[]"})
            case _:
                there.zadd("onward:open", {b"\xff\xfe": 1.0, b"": 1.0})
    assert reconcile(client, patience=0) == [ref.id]
    logged = len(caplog.records)
    assert logged <= 3
    reconcile(client, patience=0)
    assert len(caplog.records) == logged
    client.close()
