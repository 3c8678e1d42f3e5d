"""Keys, and the status of a call as another process sees it."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from returns.result import Success
from temporalio.client import Client

from onward import (
    Cancelled,
    Expired,
    Ref,
    Unknown,
    cancel,
    each,
    result,
    run,
    status,
    submit,
)
from onward.backends.temporal import TemporalBackend
from onward.backends.temporal import temporal as temporal_at
from onward.flows.flow import AnyFlow
from onward.policy import Constant, Retry
from tests.engines.process import until
from tests.engines.server import HOST
from tests.engines.temporal import Temporal
from tests.temporal.conftest import ROOT, until_status
from tests.temporal.sdk import Sdk
from tests.temporal.served import (
    crash,
    halve,
    hold,
    in_vain,
    inc,
    mended,
    noted,
    same,
    soothed,
    twice_in_vain,
    wait,
)

PATIENCE = 120.0

SUBMIT = """
import sys
from onward import submit
from onward.backends.temporal import temporal
from tests.temporal.served import inc, twice_in_vain
backend = temporal("127.0.0.1", int(sys.argv[1]), task_queue="tests")
flow = {"single": twice_in_vain, "flow": twice_in_vain >> inc}[sys.argv[2]]
print(submit(flow(sys.argv[4]), on=backend, key=sys.argv[3]).unwrap())
backend.close()
"""


@pytest.mark.parametrize("kind", ["single", "flow"])
def test_a_key_submitted_by_several_processes_at_once_is_one_call(
    kind: str, temporal: Temporal, backend: TemporalBackend, tmp_path: Path
) -> None:
    """The call runs once, also if the key is submitted again after the call has ended."""
    flow: AnyFlow = {"single": twice_in_vain, "flow": twice_in_vain >> inc}[kind]
    key = uuid4().hex

    def submitted(_: int) -> str:
        command = [sys.executable, "-c", SUBMIT, str(temporal.port), kind, key, str(tmp_path)]
        return subprocess.run(
            command, cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout.strip()

    with ThreadPoolExecutor() as pool:
        [id] = set(pool.map(submitted, range(3)))
    expected = Success(3 if kind == "single" else 4)
    assert result(flow.ref(id), on=backend, timeout=PATIENCE) == expected
    assert run(flow(str(tmp_path)), on=backend, key=key, timeout=PATIENCE) == expected
    assert noted(tmp_path) == ["attempt 1", "attempt 2", "attempt 3"]


@pytest.mark.parametrize("flow", [inc, inc >> inc])
def test_the_key_of_a_cancelled_call_returns_that_call(
    flow: AnyFlow, workerless: TemporalBackend
) -> None:
    key = uuid4().hex
    ref = submit(flow(1), on=workerless, key=key).unwrap()
    cancel(ref, on=workerless).unwrap()
    assert submit(flow(1), on=workerless, key=key) == Success(ref)
    assert isinstance(result(ref, on=workerless, timeout=PATIENCE).failure(), Cancelled)


# -- status ---------------------------------------------------------------------------------------


@pytest.fixture
def other(temporal: Temporal, backend: TemporalBackend) -> Iterator[TemporalBackend]:
    """Another client, like one in another process."""
    with closing(temporal_at(HOST, temporal.port, task_queue="elsewhere")) as made:
        yield made


def state(ref: Ref[Any, Any], on: TemporalBackend) -> str:
    return status(ref, on=on).unwrap().state


@pytest.mark.parametrize("flow", [inc, inc >> inc])
def test_a_call_that_no_worker_has_begun_is_queued(
    flow: AnyFlow, workerless: TemporalBackend, backend: TemporalBackend, other: TemporalBackend
) -> None:
    assert state(submit(flow(1), on=workerless).unwrap(), other) == "queued"
    delayed = submit(flow(1), on=backend, delay=600).unwrap()
    assert state(delayed, other) == "queued"
    cancel(delayed, on=backend).unwrap()
    assert state(delayed, other) == "cancelled"


def test_a_call_whose_second_step_waits_for_a_worker_is_running(
    workerless: TemporalBackend, backend: TemporalBackend, other: TemporalBackend
) -> None:
    """No worker polls the queue of the second step."""
    later = inc.with_(queue=workerless.address.task_queue)
    ref = submit((inc >> later)(1), on=backend).unwrap()
    found = until_status(ref, other, lambda now: now.step == "1")
    assert (found.state, found.task, found.attempt) == ("running", "inc", 1)
    cancel(ref, on=backend).unwrap()


@pytest.mark.parametrize(
    ("flow", "place"), [(hold, "0"), (same >> hold, "1"), (same >> hold.rescue(mended), "1.try")]
)
def test_the_status_of_a_running_call_names_its_step(
    flow: AnyFlow, place: str, backend: TemporalBackend, other: TemporalBackend, tmp_path: Path
) -> None:
    ref = submit(flow(str(tmp_path)), on=backend).unwrap()
    until(lambda: bool(noted(tmp_path)), within=120, otherwise=lambda: "it did not begin")
    found = status(ref, on=other).unwrap()
    assert (found.state, found.task, found.step) == ("running", "hold", place)
    (tmp_path / "let-go").touch()
    assert result(ref, on=other, timeout=PATIENCE) == Success(str(tmp_path))
    assert state(ref, other) == "done"


@pytest.mark.parametrize("flow", [halve, halve >> inc, crash, crash >> inc])
def test_a_call_that_failed_has_the_state_failed(
    flow: AnyFlow, backend: TemporalBackend, other: TemporalBackend
) -> None:
    ref = submit(flow(1), on=backend).unwrap()
    result(ref, on=backend, timeout=PATIENCE).failure()
    assert state(ref, other) == "failed"


@pytest.mark.parametrize("kind", ["single", "flow"])
def test_a_call_that_waits_for_its_next_attempt_is_running(
    kind: str, backend: TemporalBackend, other: TemporalBackend, tmp_path: Path
) -> None:
    """The status has the number of the next attempt."""
    slow = in_vain.with_(retry=Retry(attempts=3, backoff=Constant(600)))
    flow: AnyFlow = slow if kind == "single" else slow >> inc
    ref = submit(flow(str(tmp_path)), on=backend).unwrap()
    found = until_status(ref, other, lambda now: now.attempt == 2)
    assert (found.state, found.task) == ("running", "in_vain")
    cancel(ref, on=backend).unwrap()


@pytest.mark.parametrize("flow", [inc, inc >> inc])
def test_a_call_without_a_worker_expires_at_its_deadline(
    flow: AnyFlow, workerless: TemporalBackend, other: TemporalBackend
) -> None:
    ref = submit(flow(1), on=workerless, deadline=0.3).unwrap()
    assert isinstance(result(ref, on=other, timeout=PATIENCE).failure(), Expired)
    assert state(ref, other) == "expired"


def test_an_unknown_id_is_unknown(other: TemporalBackend) -> None:
    for id in ("0" * 32, f"task-{'0' * 32}", "nothing/0", "task-"):
        for fault in (
            status(inc.ref(id), on=other).failure(),
            result(inc.ref(id), on=other).failure(),
            cancel(inc.ref(id), on=other).failure(),
        ):
            assert isinstance(fault, Unknown), id
            assert fault.task == id


# -- operators ------------------------------------------------------------------------------------


def test_a_call_that_an_operator_terminates_is_cancelled_with_the_reason(
    workerless: TemporalBackend, sdk: Sdk
) -> None:
    single = submit(inc(1), on=workerless).unwrap()
    flow = submit((inc >> inc)(1), on=workerless).unwrap()
    sdk.run(lambda client: client.get_activity_handle(single.id).terminate(reason="by hand"))
    sdk.run(lambda client: client.get_workflow_handle(flow.id).terminate(reason="by hand"))
    for ref, name in ((single, "inc"), (flow, "inc >> inc")):
        fault = result(ref, on=workerless, timeout=PATIENCE).failure()
        assert isinstance(fault, Cancelled)
        assert fault.task == name
        assert "by hand" in fault.message
        assert state(ref, workerless) == "cancelled"


@pytest.mark.parametrize("kind", ["single", "flow"])
def test_a_call_that_an_operator_cancels_is_cancelled(
    kind: str, backend: TemporalBackend, sdk: Sdk, tmp_path: Path
) -> None:
    flow: AnyFlow = hold if kind == "single" else hold >> same
    ref = submit(flow(str(tmp_path)), on=backend).unwrap()
    until(lambda: bool(noted(tmp_path)), within=120, otherwise=lambda: "it did not begin")

    async def cancelled(client: Client) -> None:
        if kind == "single":
            await client.get_activity_handle(ref.id).cancel()
        else:
            await client.get_workflow_handle(ref.id).cancel()

    sdk.run(cancelled)
    assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Cancelled)
    assert state(ref, backend) == "cancelled"
    until(lambda: "cancelled" in noted(tmp_path), within=120, otherwise=lambda: "it goes on")


def test_a_call_that_an_operator_cancels_is_not_rescued_and_runs_no_further_step(
    backend: TemporalBackend, sdk: Sdk
) -> None:
    rescued = submit((wait.rescue(soothed) >> wait)(60.0), on=backend).unwrap()
    items = submit(each(wait, limit=1)([60.0, 60.1, 60.2]), on=backend).unwrap()
    for ref in (rescued, items):
        until_status(ref, backend, lambda now: now.task == "wait")
        sdk.cancel(ref.id)
        fault = result(ref, on=backend, timeout=120).failure()
        assert isinstance(fault, Cancelled)
        assert len(sdk.scheduled(ref.id)) == 1
