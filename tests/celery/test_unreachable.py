"""If a broker refuses a client or does not answer, the fault comes soon and shows no secret."""

import logging
import socket
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis
from returns.result import Result, Success

from onward import Catalog, Fault, Unavailable, result, run, status, submit, task
from onward.backends.celery import celery
from tests.engines.rabbitmq import RabbitMQ
from tests.engines.server import HOST
from tests.engines.valkey import Valkey

SECRET = "s3cret"


@task
def inc(n: int) -> int:
    return n + 1


def test_a_refused_client_gets_a_fault_and_workers_send_its_calls(
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
        assert result(ref, on=backend, timeout=120) == Success(2)
        worker.stop()
    assert SECRET not in caplog.text


@pytest.mark.parametrize("wrong", [f":not-{SECRET}@", ""])
def test_nothing_shows_the_password_of_a_redis(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    """Neither the right password nor a wrong one, also in the logs of Celery and its clients."""
    caplog.set_level(logging.DEBUG)
    with Valkey.start(tmp_path, append_only=False) as server:
        with Redis.from_url(server.url) as client:
            client.config_set("requirepass", SECRET)
        there = f"{HOST}:{server.port}/0"
        with closing(celery(f"redis://{wrong}{there}")) as refused:
            answers: tuple[Result[object, Fault], ...] = (
                refused.diagnose(),
                submit(inc(1), on=refused),
                refused.serve(Catalog(inc)),
            )
        for fault in (answer.failure() for answer in answers):
            assert isinstance(fault, Unavailable)
            assert fault.message.endswith(": correct the user and the password in its URL")
            assert SECRET not in repr(fault)
        with closing(celery(f"redis://:{SECRET}@{there}")) as backend:
            assert backend.diagnose().unwrap().findings
            worker = backend.serve(Catalog(inc)).unwrap()
            assert run(inc(1), on=backend, timeout=120) == Success(2)
            worker.stop()
    assert SECRET not in caplog.text


def test_a_wrong_password_is_not_tried_again(tmp_path: Path) -> None:
    with (
        Valkey.start(tmp_path, append_only=False) as server,
        Redis.from_url(server.url) as there,
        closing(celery(f"redis://:wrong@{HOST}:{server.port}/0", connect_timeout=60)) as backend,
    ):
        client: Any = there
        client.config_set("requirepass", SECRET)
        for ask in (
            backend.diagnose,
            lambda: submit(inc(1), on=backend),
            lambda: status(inc.ref("1" * 32), on=backend),
            lambda: backend.serve(Catalog(inc)),
        ):
            client.execute_command("ACL", "LOG", "RESET")
            assert isinstance(ask().failure(), Unavailable)
            assert 1 <= sum(entry["count"] for entry in client.acl_log()) <= 2


def test_a_client_gives_up_on_a_broker_that_does_not_answer(valkey: Valkey) -> None:
    with socket.socket() as silent:
        silent.bind((HOST, 0))
        silent.listen()
        url = f"redis://{HOST}:{silent.getsockname()[1]}/0"
        with closing(celery(url, valkey.url)) as backend:
            fault = backend.diagnose().failure()
        assert isinstance(fault, Unavailable)
        assert fault.message.startswith("the broker at redis://")
        assert fault.message.endswith("check that it runs, and whether it uses TLS")
