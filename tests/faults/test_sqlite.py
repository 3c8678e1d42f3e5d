"""While processes on a SQLite file are killed and stopped, every call ends as it would have."""

from pathlib import Path

import pytest

from tests.faults.sqlite_storm import SQLITE
from tests.faults.storm import SHORT, storm

pytestmark = pytest.mark.faults

IN_SHORT = {"all processes are killed, the client too", "a worker is stopped, continued and killed"}
"""The worst; with the others, it takes minutes."""


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(harm, marks=() if harm in IN_SHORT else pytest.mark.long)
        for harm in SQLITE.harms
    ],
)
def test_in_a_storm_every_call_ends_as_it_would_have(harm: str, tmp_path: Path) -> None:
    tally = storm(SQLITE, "Onward", harm, SHORT, tmp_path)
    assert (tally.lost, tally.hung, tally.wrong) == (0, 0, 0), tally
