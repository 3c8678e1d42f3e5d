"""The worker that makes the calls of Celery's schedules is killed, and another one goes on."""

import os
from contextlib import closing
from datetime import datetime
from pathlib import Path
from signal import SIGKILL

import pytest
from redis import Redis
from returns.result import Success

from onward import Schedule, result, schedule, schedules, unschedule
from onward.backend.schedules import Timing, advance
from onward.backends.celery import celery
from onward.backends.celery.cells import LEADER
from tests.engines.process import until
from tests.faults.celery_storm import onward_workers
from tests.faults.served import step

pytestmark = pytest.mark.faults


def calls_until(made: Schedule, end: datetime) -> list[str]:
    """The ids of the calls that a schedule makes before a time, one for each time it is due."""
    assert made.next_at is not None
    patient = Schedule(made.name, made.flow, every=made.every, catch_up=3600)
    timing, last = Timing(made.next_at.timestamp()), end.timestamp() - 0.5
    return advance(patient, timing, last, lambda id: False)[0]


def test_when_the_leader_dies_another_worker_makes_each_run_once(
    redis: str, tmp_path: Path
) -> None:
    """Also if it dies after it has submitted a run, and before it has stored that."""
    flag = tmp_path / "flag"
    flag.touch()
    with (
        closing(celery(redis, lease=1.0)) as backend,
        Redis.from_url(redis) as client,
        onward_workers(tmp_path, redis, crash=("made", flag)) as workers,
    ):

        def leader() -> int:
            name = client.get(LEADER)
            return int(name.partition(b"-")[0]) if isinstance(name, bytes) else 0

        def ran() -> set[str]:
            return {file.name for file in workers.trace.iterdir()}

        made = schedule(step(1), on=backend, name="steps", every=1).unwrap()
        until(lambda: not flag.exists(), within=120, otherwise=workers.tail)
        dead = leader()
        until(lambda: leader() not in (0, dead), within=120, otherwise=workers.tail)
        killed = leader()
        os.kill(killed, SIGKILL)
        until(lambda: leader() not in (0, killed), within=120, otherwise=workers.tail)
        before = len(ran())
        until(lambda: len(ran()) >= before + 2, within=120, otherwise=workers.tail)
        [last] = schedules(on=backend).unwrap()
        assert unschedule("steps", on=backend) == Success(None)
        assert last.next_at is not None
        calls = calls_until(made, last.next_at)
        assert len(calls) >= 4
        for id in calls:
            assert result(step.ref(id), on=backend, timeout=120) == Success(2), workers.tail()
        # One more may have been made while the schedule was removed.
        assert set(calls) <= ran()
        assert len(ran() - set(calls)) <= 1
