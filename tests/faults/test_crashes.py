"""A worker that dies at any point loses no call, and recorded steps do not run again."""

from pathlib import Path

import pytest
from returns.result import Success

from onward import Call, each, fork, result, sleep, submit
from onward.backends.celery import celery
from tests.engines.process import until
from tests.engines.rabbitmq import RabbitMQ
from tests.faults.celery_served import POINTS
from tests.faults.celery_storm import onward_workers
from tests.faults.served import THREADS, add_up, chain, fan_out, noted, pairs, step, stumble

pytestmark = pytest.mark.faults

CALLS: dict[str, tuple[Call[object], object, int]] = {
    "chain": (chain(1), 4, 3),
    "fan-out": (fan_out([1, 2, 3]), 9, 4),
    "pairs": (pairs(1), 7, 6),
    "retries": (each(stumble)([1, 2]), [1, 2], 4),
    "sleep": ((step >> sleep(0.2) >> step)(1), 3, 2),
    "sleeps": ((each(step >> sleep(0.2) >> step) >> add_up)([1, 2, 3]), 12, 7),
}
"""A call, its value, and how many starts of steps it takes."""


WHERE = {
    "popped": ["chain", "pairs"],
    "begun": ["chain"],
    "recorded": ["chain", "fan-out", "pairs", "retries"],
    "put off": ["retries"],
    "sent": ["chain", "pairs"],
    "counted": ["pairs"],
    "gathered": ["pairs"],
    "settled": ["chain"],
    "made": [],  # by a schedule: see test_schedules
    "held": ["sleeps"],
    "claimed": ["sleep"],
    "published": ["sleeps"],
}
"""At each point, the calls during which a worker dies."""


@pytest.mark.parametrize(
    ("point", "what"),
    [
        pytest.param(point, what, marks=[pytest.mark.long] if point in ("held", "claimed") else [])
        for point in POINTS
        for what in WHERE[point]
    ],
)
def test_a_worker_that_dies_loses_no_call_and_recorded_steps_run_once(
    point: str, what: str, redis: str, tmp_path: Path
) -> None:
    call, value, starts = CALLS[what]
    flag = tmp_path / "flag"
    flag.touch()
    # A ledger at the same URL sends messages itself, in the script that records the outcome.
    ledger = redis.replace("127.0.0.1", "localhost") if point == "sent" else redis
    backend = celery(redis, ledger, lease=1.0)
    with onward_workers(tmp_path, redis, ledger, crash=(point, flag)) as workers:
        ref = submit(call, on=backend).unwrap()
        assert result(ref, on=backend, timeout=120) == Success(value), workers.tail()
        until(lambda: not flag.exists(), within=120, otherwise=lambda: "nobody died")
        again = len(noted(workers.trace, ref.id)) - starts
        # Of a fan-out, the worker that died may have been at several steps.
        assert 0 <= again <= (0 if what in ("chain", "sleep") else THREADS), noted(
            workers.trace, ref.id
        )
    backend.close()


@pytest.mark.parametrize(
    ("point", "what"),
    [
        ("begun", "chain"),
        ("recorded", "pairs"),
        ("gathered", "pairs"),
        pytest.param("published", "sleeps", marks=pytest.mark.long),
    ],
)
def test_on_rabbitmq_a_worker_that_dies_loses_no_call(
    point: str, what: str, rabbitmq: RabbitMQ, redis: str, tmp_path: Path
) -> None:
    call, value, _ = CALLS[what]
    flag = tmp_path / "flag"
    flag.touch()
    backend = celery(rabbitmq.url, redis, lease=1.0)
    with onward_workers(tmp_path, rabbitmq.url, redis, crash=(point, flag)) as workers:
        ref = submit(call, on=backend).unwrap()
        assert result(ref, on=backend, timeout=120) == Success(value), workers.tail()
        until(lambda: not flag.exists(), within=120, otherwise=lambda: "nobody died")
    backend.close()


@pytest.mark.parametrize("point", ["begun", pytest.param("recorded", marks=pytest.mark.long)])
def test_a_call_that_goes_on_from_another_one_survives_its_worker(
    point: str, redis: str, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    backend = celery(redis, lease=1.0)
    with onward_workers(tmp_path, redis, crash=(point, flag)) as workers:
        ref = submit(chain(1), on=backend).unwrap()
        assert result(ref, on=backend, timeout=120) == Success(4), workers.tail()
        flag.touch()
        again = fork(ref, "1", on=backend).unwrap()
        assert result(again, on=backend, timeout=120) == Success(4), workers.tail()
        until(lambda: not flag.exists(), within=120, otherwise=lambda: "nobody died")
        assert noted(workers.trace, again.id) == ["step 2", "step 3"]
    backend.close()
