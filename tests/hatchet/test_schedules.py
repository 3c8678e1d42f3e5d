"""What Hatchet's crons cannot do is refused before anything is made."""

from typing import Any

import pytest

from onward import Unsupported, schedule, task
from tests.hatchet.served import Engine, backend_on, fresh


@task
def inc(n: int) -> int:
    return n + 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"overlap": "skip"}, "overlap='skip' is not possible"),
        ({"overlap": "queue"}, "overlap='queue' is not possible"),
        ({"catch_up": 60}, "makes up for no run"),
    ],
)
def test_an_option_that_a_cron_lacks_is_unsupported(
    engine: Engine, options: dict[str, Any], said: str
) -> None:
    backend = backend_on(engine, namespace=fresh())
    fault = schedule(inc(1), on=backend, name="n", every=60, **options).failure()
    assert isinstance(fault, Unsupported)
    assert said in fault.message
    backend.close()
