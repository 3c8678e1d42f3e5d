"""Whatever is killed, a call that is moved from engine to engine ends once, and right."""

import os
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.engines.hatchet import DurableHatchet
from tests.engines.server import Server
from tests.engines.temporal import Temporal
from tests.engines.valkey import Valkey
from tests.faults.moving_storm import ROUTES, moving_storm
from tests.faults.storm import Size

pytestmark = [pytest.mark.faults, pytest.mark.long, pytest.mark.timeout(400)]

SERVERS: dict[str, type[Server]] = {
    "Celery": Valkey,
    "Temporal": Temporal,
    "Hatchet": DurableHatchet,
}


@pytest.mark.parametrize("route", ROUTES, ids=" to ".join)
def test_calls_that_move_under_kills_end_once(route: Sequence[str], tmp_path: Path) -> None:
    for name in route:
        if name in SERVERS and (reason := SERVERS[name].missing()):
            pytest.skip(reason)
    with patch.dict(os.environ):  # Hatchet's clients find their engine by it
        tally = moving_storm(route, Size(chains=24, fan_outs=0, kills=8, pace=0.05), tmp_path)
    assert (tally.lost, tally.hung, tally.wrong) == (0, 0, 0), tally
