"""The mark of tests that kill, `-m "not faults"` leaves them out; and an empty Redis for each."""

import pytest
from redis import Redis

from tests.engines.valkey import Valkey


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "faults: kills workers and brokers, which takes a while")


@pytest.fixture
def redis(valkey: Valkey) -> str:
    """The URL of an empty database that no other tests use."""
    url = f"{valkey.url.rpartition('/')[0]}/9"
    with Redis.from_url(url) as client:
        client.flushdb()
    return url
