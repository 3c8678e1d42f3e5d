"""Where brokers and ledgers may be: what is taken works on real servers, the rest is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from returns.result import Success

from onward import Catalog, connect, each, run, task
from onward.backends.celery import CeleryBackend, celery
from onward.backends.celery.address import Sentinels, sentinels_at
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
        assert run((double >> double)(1), on=backend, timeout=30) == Success(4)
        assert run(each(double)([1, 2]), on=backend, timeout=30) == Success([2, 4])
        assert backend.diagnose().unwrap().findings
        worker.stop()


def test_of_several_rabbitmqs_one_that_is_there_is_taken(
    rabbitmq: RabbitMQ, valkey: Valkey
) -> None:
    nobody = RabbitMQ.reserve_port(rabbitmq)  # which nobody listens on
    urls = f"amqp://guest:guest@{HOST}:{nobody}//;{rabbitmq.url}"
    url = f"celery+{urls}?queue={uuid4().hex}&result_backend={valkey.url}"
    with closing(connected(url)) as backend:
        worker = backend.serve(Catalog(double)).unwrap()
        assert run((double >> double)(1), on=backend, timeout=60) == Success(4)
        worker.stop()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("sentinel://:s3cret@one:26379/0", "master_name"),
        ("sentinel://:s3cret@one:26379;redis://:s3cret@two?master_name=m", "each Sentinel is"),
        ("sentinel://:s3cret@one:26379/0?master_name=m&timeout=3", "no parameter 'timeout'"),
        ("sentinel://:s3cret@one:26379/mail?master_name=m", "number of a database"),
        ("sentinel://:s3@cret@one:port?master_name=m", "percent-encode"),
        ("redis+sentinel://:s3cret@one:26379/0", "master_name"),
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
    said = connect(f"celery+{url}").failure().message
    assert why in said
    assert "s3cret" not in said


def test_brokers_of_two_schemes_are_refused() -> None:
    with pytest.raises(ValueError, match="of one scheme"):
        celery("amqp://one//;amqps://two//", "redis://localhost")
    url = "celery+amqp://one//;amqps://two//?result_backend=redis://localhost"
    assert "of one scheme" in connect(url).failure().message


def test_sentinels_of_a_url_have_users_and_passwords_of_their_own() -> None:
    url = (
        "sentinel://ann:p%40ss@one:1/3;sentinel://[::1]?master_name=m&sentinel_username=sue"
        "&sentinel_password=s%26"
    )
    assert sentinels_at(url) == Sentinels(
        (("one", 1), ("::1", 26379)), "m", 3, "ann", "p@ss", {"username": "sue", "password": "s&"}
    )
