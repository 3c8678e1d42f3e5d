"""Where brokers and ledgers may be: what is taken works on real servers, the rest is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from returns.result import Success

from onward import Catalog, each, run, task
from onward.backends.celery import celery
from tests.engines.rabbitmq import RabbitMQ
from tests.engines.server import HOST
from tests.engines.valkey import Valkey


@task
def double(n: int) -> int:
    return 2 * n


class OnSocket(Valkey):
    """A Valkey that listens on a socket as well."""

    def command(self) -> Sequence[str | Path]:
        return [*super().command(), "--unixsocket", self.folder / "socket"]


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[str]:
    with OnSocket.start(tmp_path / "server", append_only=False) as server:
        yield f"redis+socket://{server.folder}/socket"


@pytest.mark.parametrize("database", ["", "?virtual_host=3"])
def test_a_redis_on_a_socket_is_broker_and_ledger(socket: str, database: str) -> None:
    with closing(celery(f"{socket}{database}", queue=uuid4().hex)) as backend:
        worker = backend.serve(Catalog(double)).unwrap()
        assert run((double >> double)(1), on=backend, timeout=30) == Success(4)
        assert run(each(double)([1, 2]), on=backend, timeout=30) == Success([2, 4])
        assert backend.diagnose().unwrap().findings
        worker.stop()


def test_of_several_rabbitmqs_one_that_is_there_is_taken(
    rabbitmq: RabbitMQ, valkey: Valkey
) -> None:
    nobody = RabbitMQ.reserve_port(rabbitmq)  # which nobody listens on
    urls = f"amqp://guest:guest@{HOST}:{nobody}//;{rabbitmq.url}"
    with closing(celery(urls, valkey.url, queue=uuid4().hex)) as backend:
        worker = backend.serve(Catalog(double)).unwrap()
        assert run((double >> double)(1), on=backend, timeout=60) == Success(4)
        worker.stop()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("sentinel://:s3cret@one:26379/0", "Sentinel"),
        ("sentinel://:s3cret@one:26379;sentinel://:s3cret@two:26379", "Sentinel"),
        ("redis+sentinel://:s3cret@one:26379/0", "Sentinel"),
        ("redis+cluster://:s3cret@one:6379", "Cluster"),
        ("redis://:s3cret@one:6379/0;redis://:s3cret@two:6379/0", "not several"),
        ("redis+socket://run/redis.sock", "three slashes"),
    ],
)
def test_what_is_not_supported_is_refused_by_name_and_shows_no_password(url: str, why: str) -> None:
    for broker, ledger in ((url, None), ("amqp://localhost//", url)):
        with pytest.raises(ValueError, match=why) as refused:
            celery(broker, ledger)
        assert "s3cret" not in str(refused.value)
