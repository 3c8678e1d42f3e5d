"""Closing a backend closes all of its connections, and no connection of another backend."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from returns.result import Success

from onward import Catalog, run, submit, task
from onward.backends.celery import celery
from tests.engines.rabbitmq import RabbitMQ
from tests.engines.valkey import Valkey

SCRIPT = """
import sys
from onward import connect, submit, task

@task
def inc(n: int) -> int:
    return n + 1

backend = connect(sys.argv[1]).unwrap()
submit(inc(1), on=backend).unwrap()
submit((inc >> inc)(1), on=backend).unwrap()
backend.close()
"""


@task
def inc(n: int) -> int:
    return n + 1


def test_a_script_that_submits_over_amqp_and_closes_leaves_no_connection_open(
    rabbitmq: RabbitMQ, valkey: Valkey, tmp_path: Path
) -> None:
    url = f"celery+{rabbitmq.url}?queue={uuid4().hex}&result_backend={valkey.url}"
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", SCRIPT, url],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    # Python warns on stderr of connections that are still open, with the same exit code.
    assert (done.returncode, done.stderr) == (0, "")


def test_another_backend_on_the_same_broker_keeps_working(
    rabbitmq: RabbitMQ, valkey: Valkey
) -> None:
    queue = uuid4().hex
    one, other = (celery(rabbitmq.url, valkey.url, queue=queue) for _ in range(2))
    with closing(other):
        worker = other.serve(Catalog(inc)).unwrap()
        with closing(one):
            submit(inc(1), on=one).unwrap()
        assert run((inc >> inc)(1), on=other, timeout=120) == Success(3)
        worker.stop()


@pytest.fixture
def threads_that_alternate() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("threads_that_alternate")
def test_backends_in_memory_close_while_other_threads_open_and_close_theirs() -> None:
    def use(_: int) -> bool:
        with closing(celery("memory://", queue=uuid4().hex)) as backend:
            return isinstance(submit(inc(1), on=backend), Success)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(use, range(200)))
