"""While workers, or the broker, are killed again and again, every call ends as it would have."""

from pathlib import Path

import pytest

from tests.faults.celery_storm import CELERY
from tests.faults.storm import SHORT, storm

pytestmark = pytest.mark.faults


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param("one of the workers is killed", marks=pytest.mark.long),
        "all workers are killed",
        "the broker is killed",
    ],
)
def test_in_a_storm_every_call_ends_as_it_would_have(harm: str, tmp_path: Path) -> None:
    tally = storm(CELERY, "Onward", harm, SHORT, tmp_path)
    assert (tally.lost, tally.hung, tally.wrong) == (0, 0, 0), tally
