"""Celery passes the suite: in one process, on Redis, and with signed calls on RabbitMQ."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from onward.backends.celery import celery
from onward.backends.celery.backend import CeleryBackend
from onward.backends.celery.signing import MIN_KEY_SIZE
from onward.testing import BackendSuite
from tests.engines.rabbitmq import RabbitMQ
from tests.engines.valkey import Valkey


def served(backend: CeleryBackend) -> Iterator[CeleryBackend]:
    worker = backend.serve(BackendSuite.catalog).unwrap()
    yield backend
    worker.stop()
    backend.close()


class TestCeleryInMemory(BackendSuite):
    examples = 3

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, traces: Path) -> Iterator[CeleryBackend]:
        yield from served(celery("memory://"))


class TestCeleryOnRedis(BackendSuite):
    examples = 4

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, traces: Path, valkey: Valkey) -> Iterator[CeleryBackend]:
        yield from served(celery(valkey.url))


class TestCeleryOnRabbitMQ(BackendSuite):
    examples = 3

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, traces: Path, valkey: Valkey, rabbitmq: RabbitMQ) -> Iterator[CeleryBackend]:
        ledger = f"{valkey.url.rpartition('/')[0]}/10"
        yield from served(celery(rabbitmq.url, ledger, signing_keys=[b"k" * MIN_KEY_SIZE]))


@pytest.mark.long
class TestCeleryOnRedisThoroughly(TestCeleryOnRedis):
    """With more examples than `make test` has time for."""

    examples = 30


@pytest.mark.long
class TestCeleryOnRabbitMQThoroughly(TestCeleryOnRabbitMQ):
    examples = 30
