"""Cleanups of calls that are cancelled or reach their deadline: by whom, and where they run."""

from functools import reduce
from operator import rshift
from pathlib import Path

import pytest
from returns.result import Success

from onward import Cancelled, Expired, cancel, each, result, status, submit
from onward.backends.temporal import TemporalBackend
from onward.flows.flow import AnyFlow
from tests.engines.process import until
from tests.temporal.conftest import until_status, working
from tests.temporal.sdk import Sdk
from tests.temporal.served import copies, hold, hold_async, noted, same, undone

PATIENCE = 120.0


def until_noted(folder: Path, text: str, count: int = 1) -> None:
    until(
        lambda: sum(text in line for line in noted(folder)) >= count,
        within=120,
        otherwise=lambda: str(noted(folder)),
    )


def test_a_call_that_an_operator_cancels_is_cleaned_up(
    backend: TemporalBackend, sdk: Sdk, tmp_path: Path
) -> None:
    flow = same >> hold_async.finally_(undone) >> same
    ref = submit(flow(str(tmp_path)), on=backend).unwrap()
    until_noted(tmp_path, "hold")
    sdk.cancel(ref.id)
    assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Cancelled)
    assert status(ref, on=backend).unwrap().state == "cancelled"
    until_noted(tmp_path, "cancelled")
    until_noted(tmp_path, "undone")


@pytest.mark.parametrize("how", ["cancel", pytest.param("deadline", marks=pytest.mark.long)])
def test_a_part_that_a_child_workflow_runs_is_cleaned_up(
    how: str, short_histories: TemporalBackend, short_histories_sdk: Sdk, tmp_path: Path
) -> None:
    """By a cancel, and by a deadline, of which the parent tells it."""
    steps: list[AnyFlow] = [same] * 18
    flow: AnyFlow = reduce(rshift, steps) >> copies >> each(hold_async.finally_(undone))
    deadline = 10.0 if how == "deadline" else None
    ref = submit(flow(str(tmp_path)), on=short_histories, deadline=deadline).unwrap()
    until_noted(tmp_path, "hold", 3)
    assert short_histories_sdk.children(ref.id)
    if how == "cancel":
        assert cancel(ref, on=short_histories) == Success(None)
    fault = result(ref, on=short_histories, timeout=PATIENCE).failure()
    assert isinstance(fault, Cancelled if how == "cancel" else Expired)
    until_noted(tmp_path, "undone", 3)


def test_who_takes_over_from_a_killed_worker_cleans_up(
    workerless: TemporalBackend, tmp_path: Path
) -> None:
    flow = same >> hold.finally_(undone) >> same
    with working(workerless, tmp_path) as worker:
        ref = submit(flow(str(tmp_path)), on=workerless).unwrap()
        until_noted(tmp_path, "hold")
        worker.kill()
    assert cancel(ref, on=workerless) == Success(None)
    assert until_status(ref, workerless, lambda now: now.state != "running").state == "cancelling"
    with working(workerless, tmp_path):
        assert isinstance(result(ref, on=workerless, timeout=PATIENCE).failure(), Cancelled)
    begun = [line.split()[0] for line in noted(tmp_path)]
    # The server may hand the step of the killed worker out again before it hands out the cancel, so
    # another "hold" may follow, and be cancelled.
    assert (begun[0], begun.count("undone")) == ("hold", 1)


def test_a_call_that_no_worker_has_begun_ends_at_once(workerless: TemporalBackend) -> None:
    flow = same >> hold.finally_(undone)
    for delay in (0.0, 600.0):
        ref = submit(flow("no folder"), on=workerless, delay=delay).unwrap()
        assert cancel(ref, on=workerless) == Success(None)
        assert isinstance(result(ref, on=workerless, timeout=PATIENCE).failure(), Cancelled)
        assert status(ref, on=workerless).unwrap().state == "cancelled"
    late, seen = (submit(flow("no folder"), on=workerless, deadline=0.1).unwrap() for _ in range(2))
    assert isinstance(result(late, on=workerless, timeout=PATIENCE).failure(), Expired)
    assert status(late, on=workerless).unwrap().state == "expired"
    until_status(seen, workerless, lambda now: now.state == "expired")
    assert isinstance(result(seen, on=workerless, timeout=PATIENCE).failure(), Expired)
