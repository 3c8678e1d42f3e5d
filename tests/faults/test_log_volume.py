"""While its servers are away or full, a worker logs each cause at most once a second."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis
from returns.result import Success

from onward import Catalog, run, submit_all, task
from onward.backends.celery import celery
from tests.engines.valkey import Valkey

AWAY = 4.0


@task
def inc(n: int) -> int:
    return n + 1


class Records(logging.Handler):
    """The times and tracebacks of log records, by cause."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.at: dict[object, list[float]] = defaultdict(list)
        self.tracebacks: dict[object, int] = defaultdict(int)

    def emit(self, record: logging.LogRecord) -> None:
        cause = getattr(record, "cause", None) or (record.pathname, record.lineno)
        self.at[cause].append(record.created)
        self.tracebacks[cause] += record.exc_info is not None


@pytest.fixture
def records() -> Iterator[Records]:
    records = Records()
    logging.getLogger().addHandler(records)
    yield records
    logging.getLogger().removeHandler(records)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey.start(tmp_path) as server:
        yield server


@contextmanager
def full(server: Valkey) -> Iterator[None]:
    """The server's memory is full."""
    with Redis.from_url(server.url) as redis:
        client: Any = redis
        client.config_set("maxmemory", "1mb")
        yield
        client.config_set("maxmemory", "0")


@contextmanager
def killed(server: Valkey) -> Iterator[None]:
    """The server is killed and restarted."""
    server.kill()
    yield
    server.restart()


@contextmanager
def frozen(server: Valkey) -> Iterator[None]:
    """The server accepts requests and does not answer."""
    server.pause()
    yield
    server.resume()


@pytest.mark.parametrize(
    "fails",
    [
        full,
        pytest.param(killed, marks=pytest.mark.long),
        pytest.param(frozen, marks=pytest.mark.long),
    ],
)
def test_a_cause_is_logged_once_a_second(
    fails: Callable[[Valkey], Any], server: Valkey, records: Records
) -> None:
    with closing(celery(server.url, queue=uuid4().hex, lease=1, socket_timeout=1)) as backend:
        worker = backend.serve(Catalog(inc), concurrency=8).unwrap()
        submit_all([inc(n) for n in range(300)], on=backend).unwrap()
        with fails(server):
            time.sleep(AWAY)
        assert run(inc(1), on=backend, timeout=120) == Success(2)
        worker.stop()
    assert records.at
    for cause, moments in records.at.items():
        # The throttle's clock is read a moment after the record's own time.
        assert len(moments) <= moments[-1] - moments[0] + 2, (cause, moments)
        assert records.tracebacks[cause] <= 1, cause
