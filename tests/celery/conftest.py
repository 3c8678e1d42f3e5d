"""A ledger for tests with several processes' backends, on Redis and on RabbitMQ."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from onward.backends.celery import celery
from onward.backends.celery.backend import CeleryBackend
from tests.celery.making import Make
from tests.engines.valkey import Valkey


@pytest.fixture
def ledger(valkey: Valkey) -> Iterator[Any]:
    """A client of the ledger that `make` uses, which is empty."""
    with Redis.from_url(f"{valkey.url.rpartition('/')[0]}/14") as client:
        client.flushdb()
        yield client


@pytest.fixture(params=["redis", pytest.param("rabbitmq", marks=pytest.mark.long)])
def make(request: pytest.FixtureRequest, valkey: Valkey, ledger: Any) -> Make:
    """Makes a backend, as each process does."""
    url = f"{valkey.url.rpartition('/')[0]}/14"
    broker = url if request.param == "redis" else request.getfixturevalue("rabbitmq").url
    return partial(celery, broker, url, queue=uuid4().hex, lease=1.0)


@pytest.fixture
def client(make: Make) -> Iterator[CeleryBackend]:
    """A backend that serves nothing."""
    with closing(make()) as made:
        yield made
