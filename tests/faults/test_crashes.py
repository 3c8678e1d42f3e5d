"""A worker that dies at the worst moment loses no call, and a step with an outcome runs once."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from returns.result import Success

from onward import Call, each, result, submit
from onward.backends.celery import celery
from onward.backends.celery.backend import CeleryBackend
from tests.engines.valkey import Valkey
from tests.faults.lanes import onward_workers
from tests.faults.served import POINTS, chain, fan_out, noted, pairs, stumble

pytestmark = pytest.mark.faults

CALLS: dict[str, tuple[Call[int], int, int]] = {
    "a chain": (chain(1), 4, 3),
    "a fan-out": (fan_out([1, 2, 3]), 9, 4),
    "branches, and then each": (pairs(1), 7, 6),
    "retries": (each(stumble)([1, 2]), [1, 2], 4),
}
"""A call, its value, and how many starts of steps it takes."""


@pytest.mark.parametrize("what", CALLS)
@pytest.mark.parametrize("point", POINTS)
def test_a_worker_that_dies_loses_no_call(
    point: str, what: str, valkey: Valkey, tmp_path: Path
) -> None:
    if point == "put off" and what != "retries":
        pytest.skip("there is nothing to put off")
    call, value, starts = CALLS[what]
    broker = f"{valkey.url[:-1]}{1 + len(point) % 8}"
    flag = tmp_path / "flag"
    flag.touch()
    backend = celery(broker, lease=1.0)
    with onward_workers(tmp_path, broker, crash=(point, flag)) as workers:
        ref = submit(call, on=backend).unwrap()
        assert result(ref, on=backend, timeout=30) == Success(value), workers.tail()
        assert not flag.exists(), "nobody died"
        print(point, what, len(noted(workers.trace, ref.id)), "of", starts)
    backend.close()
