"""Whatever is killed, calls that wait have their outcomes, and their cleanups run."""

import os
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.engines.hatchet import DurableHatchet
from tests.engines.rabbitmq import RabbitMQ
from tests.engines.server import Server
from tests.engines.temporal import Temporal
from tests.engines.valkey import Valkey
from tests.faults.celery_storm import CELERY
from tests.faults.hatchet_storm import HATCHET
from tests.faults.rabbitmq_storm import RABBITMQ
from tests.faults.sqlite_storm import SQLITE, NoServer
from tests.faults.storm import Engine, Size
from tests.faults.temporal_storm import TEMPORAL
from tests.faults.waiting_storm import waiting_storm

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]

SHORT = Size(chains=24, fan_outs=0, kills=2, pace=0.05)
MANY = Size(chains=150, fan_outs=0, kills=12, pace=0.05)
ENGINES: list[tuple[type[Server], Engine]] = [
    (NoServer, SQLITE),
    (Valkey, CELERY),
    (RabbitMQ, RABBITMQ),
    (Temporal, TEMPORAL),
    (DurableHatchet, HATCHET),
]


def assert_right(engine: Engine, disruption: str, folder: Path, size: Size = SHORT) -> None:
    with patch.dict(os.environ):  # Hatchet's clients find their engine by it
        tally = waiting_storm(engine, disruption, size, folder)
    assert (tally.lost, tally.hung, tally.wrong) == (0, 0, 0), tally


@pytest.mark.long
def test_workers_of_waiting_calls_are_killed(tmp_path: Path) -> None:
    assert_right(SQLITE, "one of the workers is killed", tmp_path)


@pytest.mark.long
@pytest.mark.parametrize(
    ("server", "engine", "disruption"),
    [
        pytest.param(server, engine, disruption, id=f"{server.__name__}: {disruption}")
        for server, engine in ENGINES
        for disruption in engine.waits
    ],
)
def test_a_storm_changes_no_outcome_of_waiting_calls(
    server: type[Server], engine: Engine, disruption: str, tmp_path: Path
) -> None:
    if reason := server.missing():
        pytest.skip(reason)
    assert_right(engine, disruption, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_many_calls_wait_on_hatchet_while_workers_are_killed(tmp_path: Path) -> None:
    """So many that flows which are taken over start their steps together with others' new ones."""
    if reason := DurableHatchet.missing():
        pytest.skip(reason)
    assert_right(HATCHET, "one of the workers is killed", tmp_path, MANY)
