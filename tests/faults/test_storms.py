"""While workers or the broker are killed again and again, no call changes its outcome."""

from pathlib import Path

import pytest

from tests.faults.celery_storm import CELERY
from tests.faults.storm import SHORT, storm

pytestmark = pytest.mark.faults


@pytest.mark.parametrize(
    "disruption",
    [
        pytest.param("one of the workers is killed", marks=pytest.mark.long),
        "all workers are killed",
        "the broker is killed",
    ],
)
def test_a_storm_changes_no_outcome(disruption: str, tmp_path: Path) -> None:
    tally = storm(CELERY, "Onward", disruption, SHORT, tmp_path)
    assert (tally.lost, tally.hung, tally.wrong) == (0, 0, 0), tally
