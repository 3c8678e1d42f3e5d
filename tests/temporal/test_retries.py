"""Attempts follow the step's policy, even if workers die."""

from pathlib import Path

import pytest
from returns.result import Success

from onward import Raised, fused, result, run, status, submit
from onward.backends.temporal import TemporalBackend
from onward.flows.flow import AnyFlow
from onward.policy import Constant, Retry
from tests.engines.process import until
from tests.temporal.conftest import working
from tests.temporal.sdk import Sdk
from tests.temporal.served import (
    die,
    die_and_fail,
    fatal,
    in_vain,
    inc,
    noted,
    same,
    second_time,
    twice_in_vain,
)

PATIENCE = 120.0


@pytest.mark.parametrize("flow", [twice_in_vain, twice_in_vain >> inc, fused(twice_in_vain)])
def test_a_step_knows_the_number_of_its_attempt(
    flow: AnyFlow, backend: TemporalBackend, tmp_path: Path
) -> None:
    assert run(flow(str(tmp_path)), on=backend, timeout=PATIENCE).unwrap() in (3, 4)
    assert noted(tmp_path) == ["attempt 1", "attempt 2", "attempt 3"]


@pytest.mark.parametrize("flow", [in_vain, in_vain >> inc])
def test_the_delays_between_attempts_follow_the_policy(
    flow: AnyFlow, backend: TemporalBackend, tmp_path: Path
) -> None:
    fault = run(flow(str(tmp_path)), on=backend, timeout=PATIENCE).failure()
    assert isinstance(fault, Raised)
    assert fault.attempts == 3
    first, second, third = map(float, noted(tmp_path))
    assert second - first >= 0.4 * 0.9
    assert third - second >= 0.8 * 0.9


def test_the_next_delay_has_jitter(backend: TemporalBackend, sdk: Sdk, tmp_path: Path) -> None:
    """Calls that failed at the same time are not retried at the same time."""
    retry = Retry(attempts=2, backoff=Constant(60.0, jitter=0.5))
    waiting = in_vain.with_(retry=retry)
    refs = [submit(waiting(str(tmp_path)), on=backend).unwrap() for _ in range(8)]
    until(lambda: len(noted(tmp_path)) == 8, within=120, otherwise=lambda: "some did not begin")

    def wait(id: str) -> float:
        def found() -> float:
            single = sdk.run(lambda client: client.get_activity_handle(id).describe())
            interval = single.current_retry_interval
            return 0.0 if interval is None else interval.total_seconds()

        until(lambda: found() > 0, within=120, otherwise=lambda: "it does not wait")
        return found()

    waits = [wait(ref.id) for ref in refs]
    assert all(30 <= seconds <= 90 for seconds in waits)
    assert len(set(waits)) == len(waits)
    for ref in refs:
        assert status(ref, on=backend).unwrap().state == "running"


@pytest.mark.parametrize("kind", ["never", "other"])
def test_only_exceptions_that_the_policy_names_are_retried(
    kind: str, backend: TemporalBackend
) -> None:
    for flow in (fatal, fatal >> inc):
        fault = run(flow(kind), on=backend, timeout=PATIENCE).failure()
        assert isinstance(fault, Raised)
        assert fault.attempts == 1


def test_the_steps_of_a_fused_flow_have_their_own_attempts(backend: TemporalBackend) -> None:
    """They are retried inside the activity, before the activity itself is."""
    assert run(fused(inc >> second_time >> inc)(1), on=backend, timeout=PATIENCE) == Success(3)


def test_a_fused_flow_is_retried_as_a_whole(backend: TemporalBackend, tmp_path: Path) -> None:
    retry = Retry(attempts=2, backoff=Constant(0.01))
    flow = fused(twice_in_vain.with_(retry=Retry(attempts=2, backoff=Constant(0.0))), retry=retry)
    fault = run(flow(str(tmp_path)), on=backend, timeout=PATIENCE).failure()
    assert isinstance(fault, Raised)
    assert noted(tmp_path) == ["attempt 1", "attempt 2"] * 2


@pytest.mark.parametrize(
    "flow",
    [
        pytest.param(die, marks=pytest.mark.long),
        die >> same,
        pytest.param(fused(die >> same), marks=pytest.mark.long),
    ],
)
def test_the_death_of_a_worker_uses_no_attempt(
    flow: AnyFlow, workerless: TemporalBackend, tmp_path: Path
) -> None:
    """The task has one attempt, which another worker repeats."""
    (tmp_path / "deadly").touch()
    ref = submit(flow(str(tmp_path)), on=workerless).unwrap()
    with working(workerless, tmp_path) as worker:
        worker.wait(30)
    (tmp_path / "deadly").unlink()
    with working(workerless, tmp_path):
        assert result(ref, on=workerless, timeout=PATIENCE) == Success(str(tmp_path))
    assert noted(tmp_path) == ["die 1", "die 1"]


@pytest.mark.parametrize(
    "flow", [pytest.param(die_and_fail, marks=pytest.mark.long), die_and_fail >> inc]
)
def test_the_death_of_a_worker_does_not_count_as_an_attempt(
    flow: AnyFlow, workerless: TemporalBackend, tmp_path: Path
) -> None:
    ref = submit(flow(str(tmp_path)), on=workerless).unwrap()
    with working(workerless, tmp_path) as worker:
        worker.wait(30)
    with working(workerless, tmp_path):
        fault = result(ref, on=workerless, timeout=PATIENCE).failure()
    assert isinstance(fault, Raised)
    assert (fault.attempts, fault.message) == (2, "attempt 2")
    assert noted(tmp_path) == ["attempt 1", "attempt 1", "attempt 2"]
