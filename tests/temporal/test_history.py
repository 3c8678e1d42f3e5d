"""What Temporal has recorded of calls: steps, attempts, waits, and the parts of long flows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from returns.result import Failure, Success
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHistory

from onward import (
    Conflict,
    Constant,
    History,
    Ref,
    Retry,
    Signal,
    StepHistory,
    Unknown,
    awaits,
    cancel,
    each,
    given,
    history,
    keep,
    result,
    send,
    sleep,
    submit,
    together,
)
from onward.backend import HistoryPage
from onward.backends.temporal import TemporalBackend
from onward.backends.temporal.converter import data_converter
from onward.backends.temporal.events import parse
from onward.backends.temporal.records import record_of
from onward.flows.flow import AnyFlow
from onward.outcome import Value
from tests.engines.process import until
from tests.engines.temporal import Temporal
from tests.temporal.conftest import until_status
from tests.temporal.record import FOLDER
from tests.temporal.sdk import Sdk
from tests.temporal.served import (
    crash,
    first,
    hold,
    in_vain,
    inc,
    noted,
    same,
    shift,
    span,
    total,
    twice_in_vain,
)

PATIENCE = 120.0
BY = Signal("by", int)


def pages(on: TemporalBackend, id: str, limit: int) -> Iterator[HistoryPage]:
    after = ""
    while True:
        page = on.history(id, after, limit).unwrap()
        yield page
        after = page.next
        if not after:
            return


def recorded(name: str) -> Sequence[HistoryEvent]:
    """The events that `tests.temporal.record` has kept of a workflow."""
    kept = json.loads((FOLDER / f"{name}.json").read_text())
    return WorkflowHistory.from_json(kept["id"], kept["history"]).events


def of(ref: Ref[Any, Any], on: TemporalBackend) -> History[Any, Any]:
    result(ref, on=on, timeout=PATIENCE)
    return history(ref, on=on).unwrap()


def brief(steps: tuple[StepHistory, ...]) -> dict[str, tuple[str, object]]:
    return {step.path: (step.task or step.kind, step.result) for step in steps}


def test_the_steps_and_waits_of_a_flow(backend: TemporalBackend) -> None:
    flow = inc >> keep(sleep(0.05) >> sleep(0)) >> first
    flow = flow >> keep(awaits(BY)) >> first >> keep(awaits(BY)) >> first
    whole = flow >> keep(awaits(BY, timeout=60))
    before = datetime.now(UTC)
    ref = submit(whole(1), on=backend, tags=["a", "b"]).unwrap()
    until_status(ref, backend, lambda now: now.signal == "by")
    assert send(ref, BY, 7, on=backend) == Success(None)
    found = of(ref, backend)
    assert (found.state, found.tags, found.signals) == ("done", ("a", "b"), {"by": 7})
    assert found.result == Success((2, 7))
    assert brief(found.steps) == {
        "0": ("inc", Success(2)),
        "1[1].0": ("sleep", Success(None)),
        "1[1].1": ("sleep", Success(None)),
        "2": ("first", Success(2)),
        "3[1]": ("by", Success(7)),
        "4": ("first", Success(2)),
        "5[1]": ("by", Success(7)),
        "6": ("first", Success(2)),
        "7[1]": ("by", Success(7)),
    }
    times = [found.submitted, *(step.began for step in found.steps), found.ended]
    assert times == sorted(times, key=lambda time: time or before)
    slept = found.steps[1]
    assert slept.began is not None
    assert slept.until is not None
    assert slept.ended is not None
    assert slept.began < slept.until
    [attempt] = found.steps[0].attempts
    assert (attempt.number, attempt.result) == (1, Success(2))
    assert "@" in attempt.worker


def test_a_wait_that_goes_on_and_one_that_ended_in_vain(backend: TemporalBackend) -> None:
    flow = together(awaits(BY, timeout=0.05), awaits(BY), awaits(BY, timeout=600))
    ref = submit(flow(None), on=backend).unwrap()

    seen: list[History[Any, Any]] = []

    def one_ended() -> bool:
        seen.append(history(ref, on=backend).unwrap())
        ended = [step for step in seen[-1].steps if step.result]
        return len(ended) == 1 and seen[-1].state == "waiting"  # it runs for a moment

    until(one_ended, within=PATIENCE, otherwise=lambda: f"{seen[-1]}")
    found = seen[-1]
    by_path = {step.path: step for step in found.steps}
    assert by_path.keys() == {"[0]", "[1]", "[2]"}
    assert isinstance(by_path["[0]"].result, Failure)
    assert by_path["[1]"].result is None
    assert by_path["[1]"].until is None
    assert by_path["[2]"].result is None
    assert by_path["[2]"].until is not None
    assert cancel(ref, on=backend) == Success(None)
    assert history(ref, on=backend).unwrap().state == "cancelled"


def test_a_long_fault_of_an_attempt_is_kept_in_part(backend: TemporalBackend) -> None:
    flaky = crash.with_(retry=Retry(attempts=2, backoff=Constant(0.01)))
    before, last = of(submit((inc >> flaky)(9999), on=backend).unwrap(), backend).steps[1].attempts
    assert before.result is not None
    assert last.result is not None
    assert before.result.failure().error_type == "ValueError"  # type: ignore[attr-defined]
    assert len(last.result.failure().message) == 10_000  # type: ignore[attr-defined]


@pytest.mark.parametrize("flow", [twice_in_vain, twice_in_vain >> inc])
def test_the_attempts_that_temporal_keeps(
    flow: AnyFlow, backend: TemporalBackend, tmp_path: Path
) -> None:
    """It keeps the last one, and how the one before it failed."""
    step = of(submit(flow(str(tmp_path)), on=backend).unwrap(), backend).steps[0]
    before, last = step.attempts
    assert (before.number, last.number, last.result) == (2, 3, Success(3))
    assert isinstance(before.result, Failure)
    fault = before.result.failure()
    assert "attempt 2" in str(fault)
    assert "ConnectionResetError" in getattr(fault, "traceback", "")


@pytest.mark.parametrize("flow", [in_vain, same >> in_vain])
def test_a_failed_step_has_its_traceback(
    flow: AnyFlow, backend: TemporalBackend, tmp_path: Path
) -> None:
    found = of(submit(flow(str(tmp_path)), on=backend).unwrap(), backend)
    assert found.state == "failed"
    assert found.result is not None
    step = found.steps[-1]
    assert step.result == found.result == step.attempts[-1].result
    assert 'raise OSError("in vain")' in getattr(found.result.failure(), "traceback", "")


@pytest.mark.parametrize(("flow", "path"), [(hold, "0"), (same >> hold, "1")])
def test_a_step_that_runs(
    flow: AnyFlow, path: str, backend: TemporalBackend, tmp_path: Path
) -> None:
    ref = submit(flow(str(tmp_path)), on=backend).unwrap()
    until(lambda: bool(noted(tmp_path)), within=PATIENCE, otherwise=lambda: "it did not begin")
    found = history(ref, on=backend).unwrap()
    step = found.steps[-1]
    assert (found.state, step.path, step.result, step.ended) == ("running", path, None, None)
    [attempt] = step.attempts
    assert (attempt.number, attempt.result) == (1, None)
    assert attempt.began is not None
    assert "@" in attempt.worker
    (tmp_path / "let-go").touch()
    assert of(ref, backend).steps[-1].result == Success(str(tmp_path))


@pytest.mark.parametrize("flow", [inc, inc >> inc])
def test_a_call_that_nobody_has_begun(flow: AnyFlow, workerless: TemporalBackend) -> None:
    ref = submit(flow(1), on=workerless).unwrap()
    found = history(ref, on=workerless).unwrap()
    assert (found.state, found.steps, found.result) == ("queued", (), None)
    assert found.plan is not None
    assert found.plan.id == ref.id
    assert isinstance(workerless.forget(ref.id).failure(), Conflict)


@pytest.mark.parametrize("id", ["none", "task-none"])
def test_an_unknown_call(id: str, backend: TemporalBackend) -> None:
    assert isinstance(backend.history(id).failure(), Unknown)
    assert isinstance(backend.forget(id).failure(), Unknown)


def test_a_long_flow_is_read_in_pages(
    short_histories: TemporalBackend, short_histories_sdk: Sdk
) -> None:
    """Its parts run in child workflows. Deleting it deletes them."""
    ref = submit((given(shift, 0) >> span >> each(inc) >> total >> inc)(252), on=short_histories)
    id = ref.unwrap().id
    assert result(ref.unwrap(), on=short_histories, timeout=PATIENCE).unwrap() == 31879
    children = short_histories_sdk.children(id)
    assert len(children) == 1
    sizes, paths = [], []
    for page in pages(short_histories, id, 100):
        sizes.append(len(page.steps))
        paths += [step.path for step in page.steps]
        assert all(step.outcome is not None for step in page.steps)
    assert sizes == [100, 100, 56]
    assert sorted(paths) == sorted(["0", "1", *(f"2[{n}]" for n in range(252)), "3", "4"])
    assert short_histories.forget(id) == Success(None)
    for each_ in (id, *children):
        assert isinstance(short_histories.history(each_).failure(), Unknown)


def test_the_history_of_an_earlier_release_is_read(temporal: Temporal) -> None:
    """Also that of a part, whose plan does not say where it stands."""

    async def paths() -> list[str]:
        client = await Client.connect(temporal.address, data_converter=data_converter(None))
        whole, part = [await parse(client, recorded(name)) for name in ("parts", "parts-0")]
        assert whole.sent is not None
        found = [
            await record_of(client, events, entry, whole.sent[0])
            for events in (whole, part)
            for entry in events.entries
            if not entry.child
        ]
        assert {type(step.outcome) for step in found} == {Value}
        return [step.path for step in found]

    expected = ["0", "1", "2", "3", *(f"4[{n}].{step}" for n in range(5) for step in (0, 1))]
    assert sorted(asyncio.run(paths())) == expected


@pytest.mark.parametrize("flow", [inc])  # the test of long flows deletes a workflow
def test_a_forgotten_call_is_unknown(flow: AnyFlow, backend: TemporalBackend) -> None:
    ref = submit(flow(1), on=backend).unwrap()
    result(ref, on=backend, timeout=PATIENCE)
    assert backend.forget(ref.id) == Success(None)
    assert isinstance(backend.forget(ref.id).failure(), Unknown)
    assert isinstance(result(ref, on=backend).failure(), Unknown)
