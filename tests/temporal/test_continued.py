"""Calls that continue others: what is known does not run again, also in child workflows."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from returns.result import Success

from onward import (
    Conflict,
    Signal,
    TooLarge,
    awaits,
    cancel,
    each,
    fork,
    fused,
    history,
    keep,
    result,
    resume,
    send,
    sleep,
    submit,
)
from onward.backends.temporal import TemporalBackend
from onward.flows.flow import AnyFlow
from tests.engines.process import until
from tests.temporal.conftest import until_status
from tests.temporal.sdk import Sdk
from tests.temporal.served import (
    blob,
    copies,
    fussy,
    inc,
    mendable,
    noted,
    same,
    size,
    total,
    undone,
)

PATIENCE = 120.0
BY = Signal("by", int)


@pytest.mark.parametrize(
    ("flow", "ran", "again"),
    [
        (mendable, ["0"], ["0"]),
        (fused(same >> mendable), ["0.1"], ["0.1"]),
        (same >> mendable, ["1"], ["1"]),
        (mendable.finally_(undone), ["try", "undone"], ["try", "undone"]),
        (copies >> each(mendable), ["1[0]", "1[1]", "1[2]"], ["1[0]", "1[1]", "1[2]"]),
    ],
)
def test_a_call_goes_on_where_it_failed(
    flow: AnyFlow, ran: list[str], again: list[str], backend: TemporalBackend, tmp_path: Path
) -> None:
    """Its steps see the id of the first call."""
    ref = submit(flow(str(tmp_path)), on=backend).unwrap()
    assert "not yet" in str(result(ref, on=backend, timeout=PATIENCE).failure())
    begun = noted(tmp_path)
    once = resume(ref, on=backend).unwrap()
    assert "not yet" in str(result(once, on=backend, timeout=PATIENCE).failure())
    (tmp_path / "mended").touch()
    twice = resume(once, on=backend).unwrap()
    result(twice, on=backend, timeout=PATIENCE).unwrap()
    assert resume(once, on=backend).unwrap() == twice
    assert len({ref.id, once.id, twice.id}) == 3
    assert isinstance(resume(twice, on=backend).failure(), Conflict)
    expected = [line if line == "undone" else f"{line} {ref.id}" for line in ran]
    assert sorted(begun) == sorted(expected)
    assert sorted(noted(tmp_path)) == sorted(3 * expected)
    assert history(twice, on=backend).unwrap().origin == ref.id


def test_a_long_flow_goes_on_in_child_workflows(
    short_histories: TemporalBackend, short_histories_sdk: Sdk, tmp_path: Path
) -> None:
    """A part gets what is known of it, and no more."""
    items = [(str(tmp_path), 254 - n) for n in range(254)]
    ref = submit((each(fussy) >> total)(items), on=short_histories).unwrap()
    assert "not yet" in str(result(ref, on=short_histories, timeout=PATIENCE).failure())
    assert len(noted(tmp_path)) == 254
    (tmp_path / "mended").touch()
    again = resume(ref, on=short_histories).unwrap()
    assert result(again, on=short_histories, timeout=PATIENCE) == Success(sum(n for _, n in items))
    assert noted(tmp_path)[254:] == ["0[252]"]
    steps = history(again, on=short_histories).unwrap().steps
    assert [step.path for step in steps if not step.taken_over] == ["0[252]", "1"]


def test_a_wait_ends_when_it_would_have_ended(backend: TemporalBackend) -> None:
    """A signal that came counts, and a sleep goes on."""
    ref = submit((inc >> keep(awaits(BY)) >> keep(sleep(600)))(1), on=backend).unwrap()
    assert send(ref, BY, 5, on=backend) == Success(None)
    until_status(ref, backend, lambda now: now.until is not None)
    assert cancel(ref, on=backend) == Success(None)
    before = {step.path: step for step in history(ref, on=backend).unwrap().steps}
    again = resume(ref, on=backend).unwrap()
    until_status(again, backend, lambda now: now.until is not None)
    after = {step.path: step for step in history(again, on=backend).unwrap().steps}
    assert after["1[1]"].taken_over
    assert after["1[1]"].result == Success(5)
    assert after["2[1]"].until == before["2[1]"].until
    assert cancel(again, on=backend) == Success(None)


def test_a_sleep_that_is_over_by_now_ends_at_once(backend: TemporalBackend) -> None:
    ref = submit((inc >> keep(sleep(0.5)) >> keep(sleep(0.0)))(1), on=backend).unwrap()
    until_status(ref, backend, lambda now: now.until is not None)
    assert cancel(ref, on=backend) == Success(None)
    due = history(ref, on=backend).unwrap().steps[-1].until
    assert due is not None
    moment = due.timestamp()
    until(lambda: time.time() > moment, within=PATIENCE, otherwise=lambda: "the clock stands")
    again = resume(ref, on=backend).unwrap()
    assert result(again, on=backend, timeout=PATIENCE).unwrap() == ((2, 2), (2, 2))


def test_a_fork_of_all_steps_runs_none(backend: TemporalBackend) -> None:
    ref = submit((inc >> inc)(1), on=backend).unwrap()
    result(ref, on=backend, timeout=PATIENCE)
    forked = fork(ref, "1", on=backend).unwrap()
    assert result(forked, on=backend, timeout=PATIENCE) == Success(3)
    ran = [step.path for step in history(forked, on=backend).unwrap().steps if not step.taken_over]
    assert ran == ["1"]


def test_outcomes_that_are_too_large_are_refused_at_once(backend: TemporalBackend) -> None:
    ref = submit((blob >> same >> same >> size)(700_000), on=backend).unwrap()
    assert result(ref, on=backend, timeout=PATIENCE) == Success(700_000)
    fault = fork(ref, "3", on=backend).failure()
    assert isinstance(fault, TooLarge)
    assert "outcomes that it takes over" in str(fault)
