"""A worker that dies at the worst moment loses no call, and a step with an outcome runs once."""

from pathlib import Path

import pytest
from returns.result import Success

from onward import Call, each, result, submit
from onward.backends.celery import celery
from tests.engines.process import until
from tests.faults.lanes import onward_workers
from tests.faults.served import POINTS, chain, fan_out, noted, pairs, stumble

pytestmark = pytest.mark.faults

CALLS: dict[str, tuple[Call[object], object, int]] = {
    "chain": (chain(1), 4, 3),
    "fan-out": (fan_out([1, 2, 3]), 9, 4),
    "pairs": (pairs(1), 7, 6),
    "retries": (each(stumble)([1, 2]), [1, 2], 4),
}
"""A call, its value, and how many starts of steps it takes."""


WHERE = {"put off": ["retries"], "counted": ["pairs"], "gathered": ["pairs"], "settled": ["chain"]}
"""The calls that come by a point; by the others come all."""


@pytest.mark.parametrize(
    ("point", "what"), [(point, what) for point in POINTS for what in WHERE.get(point, CALLS)]
)
def test_a_worker_that_dies_loses_no_call_and_what_it_recorded_is_not_run_again(
    point: str, what: str, redis: str, tmp_path: Path
) -> None:
    call, value, starts = CALLS[what]
    flag = tmp_path / "flag"
    flag.touch()
    backend = celery(redis, lease=1.0)
    with onward_workers(tmp_path, redis, crash=(point, flag)) as workers:
        ref = submit(call, on=backend).unwrap()
        assert result(ref, on=backend, timeout=30) == Success(value), workers.tail()
        until(lambda: not flag.exists(), within=10, otherwise=lambda: "nobody died")
        assert len(noted(workers.trace, ref.id)) == starts, noted(workers.trace, ref.id)
    backend.close()
