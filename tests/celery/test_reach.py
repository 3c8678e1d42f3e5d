"""A broker that lets nobody in, or says nothing: it is told, in time, and shows no secret."""

import logging
import socket
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from redis import Redis
from returns.result import Result, Success

from onward import Catalog, Fault, Unavailable, result, run, submit, task
from onward.backends.celery import celery
from tests.engines.rabbitmq import RabbitMQ
from tests.engines.server import HOST
from tests.engines.valkey import Valkey

SECRET = "s3cret"


@task
def inc(n: int) -> int:
    return n + 1


def test_who_is_refused_hears_it_and_what_is_submitted_is_sent_by_others(
    rabbitmq: RabbitMQ, valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = rabbitmq.url.replace("guest:guest", f"guest:{SECRET}")
    queue = uuid4().hex
    with (
        closing(celery(wrong, valkey.url, queue=queue)) as refused,
        closing(celery(rabbitmq.url, valkey.url, queue=queue, lease=1.0)) as backend,
    ):
        for fault in (refused.diagnose().failure(), refused.serve(Catalog(inc)).failure()):
            assert isinstance(fault, Unavailable)
            where = f"the broker at amqp://{HOST}:{rabbitmq.port}: ACCESS_REFUSED"
            assert fault.message.startswith(where)
            assert SECRET not in str(fault)
        ref = submit(inc(1), on=refused).unwrap()
        assert "wait in the ledger until a worker sends them: the broker at amqp" in caplog.text
        worker = backend.serve(Catalog(inc)).unwrap()
        assert result(ref, on=backend, timeout=60) == Success(2)
        worker.stop()
    assert SECRET not in caplog.text


def test_a_redis_that_wants_a_password_never_has_it_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither that it has, nor another; also by what Celery and its clients log of themselves."""
    caplog.set_level(logging.DEBUG)
    with Valkey.start(tmp_path, append_only=False) as server:
        with Redis.from_url(server.url) as client:
            client.config_set("requirepass", SECRET)
        there = f"{HOST}:{server.port}/0"
        for wrong in (f"redis://:not-{SECRET}@{there}", f"redis://{there}"):
            with closing(celery(wrong)) as refused:
                asked: tuple[Result[object, Fault], ...] = (
                    refused.diagnose(),
                    submit(inc(1), on=refused),
                    refused.serve(Catalog(inc)),
                )
            for fault in (answer.failure() for answer in asked):
                assert isinstance(fault, Unavailable)
                assert fault.message.endswith(": correct the user and the password in its URL")
                assert SECRET not in repr(fault)
        with closing(celery(f"redis://:{SECRET}@{there}")) as backend:
            assert backend.diagnose().unwrap().findings
            worker = backend.serve(Catalog(inc)).unwrap()
            assert run(inc(1), on=backend, timeout=30) == Success(2)
            worker.stop()
    assert SECRET not in caplog.text


def test_a_broker_that_says_nothing_is_not_waited_for(valkey: Valkey) -> None:
    with socket.socket() as silent:
        silent.bind((HOST, 0))
        silent.listen()
        url = f"redis://{HOST}:{silent.getsockname()[1]}/0"
        with closing(celery(url, valkey.url)) as backend:
            fault = backend.diagnose().failure()
        assert isinstance(fault, Unavailable)
        assert fault.message.startswith("the broker at redis://")
        assert fault.message.endswith("see that it runs, and whether it speaks TLS")
