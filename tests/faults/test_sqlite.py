"""Every call on a SQLite file ends correctly while its processes are killed and stopped."""

from pathlib import Path

import pytest

from tests.faults.sqlite_storm import SQLITE
from tests.faults.storm import SHORT, storm

pytestmark = pytest.mark.faults

IN_SHORT = {"all processes are killed, the client too"}
"""The worst disruption. All of them together take minutes."""


@pytest.mark.parametrize(
    "disruption",
    [
        pytest.param(name, marks=() if name in IN_SHORT else pytest.mark.long)
        for name in SQLITE.disruptions
    ],
)
def test_every_call_ends_correctly_in_a_storm(disruption: str, tmp_path: Path) -> None:
    tally = storm(SQLITE, "Onward", disruption, SHORT, tmp_path)
    assert (tally.lost, tally.hung, tally.wrong) == (0, 0, 0), tally
