"""Whatever is killed while a system changes its engine, each key ends once, and right."""

import os
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.engines.hatchet import DurableHatchet
from tests.engines.server import Server
from tests.engines.temporal import Temporal
from tests.engines.valkey import Valkey
from tests.faults.switching_storm import ROUTES, switching_storm

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

SERVERS: dict[str, type[Server]] = {
    "Celery": Valkey,
    "Temporal": Temporal,
    "Hatchet": DurableHatchet,
}


def need(route: tuple[str, str]) -> None:
    """Skips a test whose engines are not installed."""
    for name in route:
        if reason := SERVERS[name].missing():
            pytest.skip(reason)


@pytest.mark.long
def test_a_few_keys_end_once(tmp_path: Path) -> None:
    """From Celery to Temporal; a worker of each is killed twice."""
    need(ROUTES[0])
    found = switching_storm(ROUTES[0], tmp_path, count=30, pace=0.0, interval=3600, kills=0)
    assert found.is_right, found
    assert 0 < found.on_new < found.calls


@pytest.mark.long
@pytest.mark.parametrize("route", ROUTES, ids=" to ".join)
def test_each_key_ends_once(route: tuple[str, str], tmp_path: Path) -> None:
    need(route)
    with patch.dict(os.environ):  # Hatchet's clients find their engine by it
        found = switching_storm(route, tmp_path, count=300, pace=0.05, interval=5, kills=15)
    assert found.is_right, found
    assert 0 < found.on_new < found.calls
