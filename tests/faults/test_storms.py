"""While workers, or the broker, are killed again and again, every call ends as it would have."""

from pathlib import Path

import pytest

from tests.faults.storm import HARMS, LANES, Size, storm

pytestmark = pytest.mark.faults

SHORT = Size(chains=24, fan_outs=4, kills=3, pace=0.2)
"""`python -m benchmarks.faults` has many more."""


@pytest.mark.parametrize(
    "harm",
    ["one of the workers is killed", "all workers are killed", "the broker is killed"],
)
def test_in_a_storm_every_call_ends_as_it_would_have(harm: str, tmp_path: Path) -> None:
    tally = storm(LANES["Onward"], HARMS[harm], SHORT, tmp_path)
    assert (tally.lost, tally.hung, tally.wrong) == (0, 0, 0), tally
