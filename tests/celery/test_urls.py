"""The URLs of brokers and ledgers: supported ones work on real servers, others are refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from returns.result import Success

from onward import Catalog, connect, each, run, task
from onward.backends.celery import CeleryBackend, celery
from onward.backends.celery.urls import Sentinels, parse_sentinels
from tests.engines.rabbitmq import RabbitMQ
from tests.engines.server import HOST
from tests.engines.valkey import Valkey


@task
def double(n: int) -> int:
    return 2 * n


class OnSocket(Valkey):
    """A Valkey that also listens on a Unix socket."""

    def command(self) -> Sequence[str | Path]:
        return [*super().command(), "--unixsocket", self.folder / "socket"]


def connected(url: str) -> CeleryBackend:
    backend = connect(url).unwrap()
    assert isinstance(backend, CeleryBackend)
    return backend


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[str]:
    with OnSocket.start(tmp_path / "server", append_only=False) as server:
        yield f"redis+socket://{server.folder}/socket"


@pytest.mark.parametrize("database", ["", "?virtual_host=3"])
def test_a_redis_on_a_socket_is_broker_and_ledger(socket: str, database: str) -> None:
    url = f"{socket}{database}"
    queue = f"{'&' if database else '?'}queue={uuid4().hex}"
    for backend in (celery(url, queue=uuid4().hex), connected(f"celery+{url}{queue}")):
        worker = backend.serve(Catalog(double)).unwrap()
        assert run((double >> double)(1), on=backend, timeout=120) == Success(4)
        assert run(each(double)([1, 2]), on=backend, timeout=120) == Success([2, 4])
        assert backend.diagnose().unwrap().findings
        worker.stop()


def test_of_several_rabbitmqs_one_that_answers_is_used(rabbitmq: RabbitMQ, valkey: Valkey) -> None:
    closed = RabbitMQ.reserve_port(rabbitmq)  # nobody listens on it
    urls = f"amqp://guest:guest@{HOST}:{closed}//;{rabbitmq.url}"
    url = f"celery+{urls}?queue={uuid4().hex}&result_backend={valkey.url}"
    with closing(connected(url)) as backend:
        worker = backend.serve(Catalog(double)).unwrap()
        assert run((double >> double)(1), on=backend, timeout=120) == Success(4)
        worker.stop()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("sentinel://:s3cret@one:26379/0", "master_name"),
        (
            "sentinel://:s3cret@one:26379;redis://:s3cret@two?master_name=m",
            "write each Sentinel as",
        ),
        ("sentinel://:s3cret@one:26379/0?master_name=m&timeout=3", "no parameter 'timeout'"),
        ("sentinel://:s3cret@one:26379/mail?master_name=m", "must be a database number"),
        ("sentinel://:s3@cret@one:port?master_name=m", "percent-encode"),
        ("redis+sentinel://:s3cret@one:26379/0", "master_name"),
        ("redis+cluster://:s3cret@one:6379", "Cluster"),
        ("redis://:s3cret@one:6379/0;redis://:s3cret@two:6379/0", "must be a single Redis"),
        ("redis+socket://run/redis.sock", "three slashes"),
    ],
)
def test_an_unsupported_url_is_refused_without_showing_its_password(url: str, why: str) -> None:
    for broker, ledger in ((url, None), ("amqp://localhost//", url)):
        with pytest.raises(ValueError, match=why) as refused:
            celery(broker, ledger)
        assert "s3cret" not in str(refused.value)
    message = connect(f"celery+{url}").failure().message
    assert why in message
    assert "s3cret" not in message


def test_brokers_of_two_schemes_are_refused() -> None:
    with pytest.raises(ValueError, match="must have the same scheme"):
        celery("amqp://one//;amqps://two//", "redis://localhost")
    url = "celery+amqp://one//;amqps://two//?result_backend=redis://localhost"
    assert "must have the same scheme" in connect(url).failure().message


def test_a_url_of_sentinels_has_their_users_and_passwords_too() -> None:
    url = (
        "sentinel://ann:p%40ss@one:1/3;sentinel://[::1]?master_name=m&sentinel_username=sue"
        "&sentinel_password=s%26"
    )
    assert parse_sentinels(url) == Sentinels(
        (("one", 1), ("::1", 26379)), "m", 3, "ann", "p@ss", {"username": "sue", "password": "s&"}
    )
