"""How a worker stops, learns of cancellations, and survives foreign tasks in its task queue."""

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from msgspec import Raw
from returns.result import Success
from temporalio import activity
from temporalio.client import ActivityFailureError, Client, WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from onward import (
    Cancelled,
    Raised,
    Ref,
    TimedOut,
    Unknown,
    cancel,
    fused,
    result,
    run,
    status,
    submit,
)
from onward.backend import Submission
from onward.backends.temporal import TemporalBackend
from onward.backends.temporal import temporal as temporal_at
from onward.backends.temporal.converter import raw_value
from onward.flows.flow import AnyFlow
from onward.plan import VERSION, Args, ChainNode, Plan, RescueNode, StepNode, TogetherNode
from tests.engines.process import until
from tests.engines.server import HOST
from tests.engines.temporal import Temporal
from tests.temporal.conftest import until_status, working
from tests.temporal.sdk import Sdk
from tests.temporal.served import catalog, hold, hold_async, in_vain, inc, noted, same

PATIENCE = 120.0


def until_begun(folder: Path, times: int = 1) -> None:
    def has_begun() -> bool:
        return len([line for line in noted(folder) if line.startswith("hold ")]) >= times

    until(has_begun, within=120, otherwise=lambda: f"it did not begin: {noted(folder)}")


def until_cancelled(folder: Path) -> None:
    until(lambda: "cancelled" in noted(folder), within=120, otherwise=lambda: "it goes on")


@pytest.mark.parametrize("step", [hold, hold_async])
def test_a_worker_that_stops_first_ends_its_steps(
    step: AnyFlow, workerless: TemporalBackend, tmp_path: Path
) -> None:
    worker = workerless.serve(catalog).unwrap()
    ref = submit(step(str(tmp_path)), on=workerless).unwrap()
    until_begun(tmp_path)
    with ThreadPoolExecutor() as pool:
        leaving = pool.submit(worker.stop, 30.0)
        assert not worker.wait(0.3)
        (tmp_path / "let-go").touch()
        leaving.result(30)
    assert worker.wait(0)
    assert result(ref, on=workerless, timeout=PATIENCE) == Success(str(tmp_path))
    assert len(noted(tmp_path)) == 1


@pytest.mark.parametrize("step", [hold, hold_async])
def test_a_step_that_exceeds_the_grace_period_goes_to_another_worker(
    step: AnyFlow, workerless: TemporalBackend, tmp_path: Path
) -> None:
    """It does so at once, as the same attempt. A sync task sees that it is cancelled."""
    worker = workerless.serve(catalog).unwrap()
    ref = submit((step >> same)(str(tmp_path)), on=workerless).unwrap()
    until_begun(tmp_path)
    worker.stop(0.2)
    assert worker.wait(0)
    until_cancelled(tmp_path)
    with working(workerless, tmp_path):
        until_begun(tmp_path, 2)
        (tmp_path / "let-go").touch()
        assert result(ref, on=workerless, timeout=PATIENCE) == Success(str(tmp_path))
    [first, _, second] = noted(tmp_path)
    assert first.split()[:2] == second.split()[:2] == ["hold", "1"]


def test_a_worker_process_that_is_terminated_first_ends_its_steps(
    workerless: TemporalBackend, tmp_path: Path
) -> None:
    ref = submit((hold >> same)(str(tmp_path)), on=workerless).unwrap()
    with working(workerless, tmp_path) as worker:
        until_begun(tmp_path)
        worker.terminate()
        until(lambda: "stopping" in worker.tail(), within=120, otherwise=worker.tail)
        assert worker.exit_code() is None
        (tmp_path / "let-go").touch()
        assert worker.wait(30) == 0
        log = worker.tail()
    assert "Traceback" not in log, log
    assert "Warning" not in log, log
    with working(workerless, tmp_path):  # for the next step
        assert result(ref, on=workerless, timeout=PATIENCE) == Success(str(tmp_path))
    assert len(noted(tmp_path)) == 1


@pytest.mark.parametrize("flow", [hold, hold_async, hold >> same, fused(hold_async >> same)])
def test_progress_is_soon_in_the_status(
    flow: AnyFlow, temporal: Temporal, backend: TemporalBackend, tmp_path: Path
) -> None:
    """Long before the heartbeat that the server needs."""
    with closing(temporal_at(HOST, temporal.port, task_queue="tests", heartbeat=600)) as client:
        ref = submit(flow(str(tmp_path)), on=client).unwrap()
    until_begun(tmp_path)
    now = until_status(ref, backend, lambda now: now.progress is not None)
    assert now.progress is not None
    assert (now.progress.done, now.progress.total, now.progress.note) == (1, 2, "holding")
    assert (now.state, now.attempt) == ("running", 1)
    (tmp_path / "let-go").touch()
    assert result(ref, on=backend, timeout=PATIENCE) == Success(str(tmp_path))


def test_the_status_names_the_running_task_of_a_fused_flow(
    backend: TemporalBackend, tmp_path: Path
) -> None:
    for flow in (fused(same >> hold), same >> fused(same >> hold)):
        ref = submit(flow(str(tmp_path)), on=backend).unwrap()
        now = until_status(ref, backend, lambda now: now.progress is not None)
        assert now.task == "hold"
        assert now.step in ("0.1", "1.1")
        cancel(ref, on=backend).unwrap()


@pytest.mark.parametrize("flow", [hold, hold_async, same >> hold, same >> hold_async])
def test_a_task_soon_sees_that_its_call_is_cancelled(
    flow: AnyFlow, backend: TemporalBackend, tmp_path: Path
) -> None:
    ref = submit(flow(str(tmp_path)), on=backend).unwrap()
    until_begun(tmp_path)
    assert cancel(ref, on=backend) == Success(None)
    assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Cancelled)
    until_cancelled(tmp_path)


def test_cancelling_and_stopping_log_no_warnings(
    temporal: Temporal, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    queue = uuid4().hex
    with closing(temporal_at(HOST, temporal.port, task_queue=queue)) as backend:
        worker = backend.serve(catalog).unwrap()
        refs = []
        flows: tuple[AnyFlow, ...] = (hold, hold_async, same >> hold, same >> hold_async)
        for number, step in enumerate(flows):
            folder = tmp_path / str(number)
            folder.mkdir()
            refs.append(submit(step(str(folder)), on=backend).unwrap())
            until_begun(folder)
        for ref in refs[::2]:
            cancel(ref, on=backend).unwrap()
        for number in (0, 2):
            until_cancelled(tmp_path / str(number))
        worker.stop(0.1)
        for ref in refs:
            cancel(ref, on=backend).unwrap()
    noise = (queue, "never retrieved", "was destroyed")
    texts = [record.getMessage() for record in caplog.records]
    assert not [text for text in texts if any(each in text for each in noise)]


def test_the_sdk_does_not_log_a_failed_step_again(
    workerless: TemporalBackend, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Its line would repeat Onward's, with a traceback of Onward's own code."""
    worker = workerless.serve(catalog).unwrap()
    for flow in (in_vain, same >> in_vain):
        caplog.clear()
        fault = run(flow(str(tmp_path)), on=workerless, timeout=PATIENCE).failure()
        assert isinstance(fault, Raised)
        levels = [each.levelname for each in caplog.records if "in vain" in each.getMessage()]
        assert levels == ["WARNING", "WARNING", "ERROR"]
        assert [each.name for each in caplog.records if each.name.startswith("temporalio")] == []
    worker.stop()


def test_the_log_of_a_programs_own_sdk_worker_is_unchanged(
    backend: TemporalBackend, sdk: Sdk, caplog: pytest.LogCaptureFixture
) -> None:
    @activity.defn
    async def theirs() -> None:
        raise ValueError("theirs alone")

    async def run_it(client: Client) -> None:
        queue = uuid4().hex
        async with Worker(client, task_queue=queue, activities=[theirs]):
            await client.execute_activity(
                theirs,
                id=uuid4().hex,
                task_queue=queue,
                schedule_to_close_timeout=timedelta(seconds=20),
                retry_policy=RetryPolicy(maximum_attempts=1),
            )

    with pytest.raises(ActivityFailureError):
        sdk.run(run_it)
    [record] = [each for each in caplog.records if "'theirs'" in each.getMessage()]
    assert record.exc_info is not None
    assert "theirs alone" in str(record.exc_info[1])


# -- unknown tasks and foreign messages -----------------------------------------------------------


def chain(*steps: StepNode | RescueNode | TogetherNode) -> ChainNode:
    return ChainNode(steps)


INC, GHOST, MEND = StepNode(task="inc"), StepNode(task="ghost"), StepNode(task="mend")


@pytest.mark.parametrize(
    "root",
    [
        GHOST,
        chain(GHOST, INC),
        chain(INC, GHOST, INC),
        chain(INC, TogetherNode((INC, GHOST))),
        RescueNode(INC, GHOST),
    ],
)
def test_a_task_that_no_worker_has_is_unknown_anywhere_in_a_flow(
    root: ChainNode, backend: TemporalBackend
) -> None:
    plan = Plan(
        v=VERSION, id=os.urandom(16).hex(), flow="strange", root=root, args=Args((Raw(b'"x"'),))
    )
    if root not in (GHOST, chain(GHOST, INC), RescueNode(INC, GHOST)):
        plan = Plan(v=VERSION, id=plan.id, flow="strange", root=root, args=Args((Raw(b"1"),)))
    id = backend.submit(Submission(plan)).unwrap()
    outcome = backend.outcome(id, PATIENCE).unwrap()
    assert outcome is not None
    fault = inc.read(outcome).failure()
    assert isinstance(fault, Unknown)
    assert fault.task == "ghost"


GARBAGE: list[list[bytes]] = [
    [],
    [b""],
    [b"\xff\x00"],
    [b"1"],
    [b"1", b"{}"],
    [b"1", b"null", b"3"],
    [b"[" * 5000, b"[" * 5000],
    [b'{"v":1,"flow":"x","root":{"op":"part"},"args":{}}', b'{"heartbeat":1.0}'],
    [b'{"v":2}', b'{"heartbeat":1.0}'],
    [
        b'{"v":1,"flow":"x","root":{"op":"step","task":"inc"},"args":{"positional":[1]}}',
        b'{"heartbeat":-1e300}',
    ],
    [
        b"1",
        b'{"call":"x","flow":"x","at":"0","step":{"op":"step","task":"inc"},"keyword":["a","b"]}',
    ],
    [b"\xff", b'{"call":"x","flow":"x","at":"0","step":{"op":"step","task":"inc"}}'],
    [
        b"1",
        b'{"call":"x","flow":"x","at":"0","step":'
        + b'{"op":"fused","body":' * 3000
        + b'{"op":"step","task":"inc"}'
        + b"}" * 3001,
    ],
]


@pytest.mark.parametrize("sent", GARBAGE, ids=range(len(GARBAGE)))
def test_invalid_messages_do_no_harm(sent: list[bytes], backend: TemporalBackend, sdk: Sdk) -> None:
    """They fail with a message, and the worker goes on."""
    values = [raw_value(raw) for raw in sent]

    async def as_workflow(client: Client) -> None:
        await client.execute_workflow(
            "foreign",
            args=values,
            id=uuid4().hex,
            task_queue="tests",
            execution_timeout=timedelta(seconds=20),
        )

    async def as_activity(client: Client) -> None:
        await client.execute_activity(
            "inc",
            args=values,
            id=uuid4().hex,
            task_queue="tests",
            schedule_to_close_timeout=timedelta(seconds=20),
            retry_policy=RetryPolicy(maximum_attempts=1),
        )

    for send in (as_workflow, as_activity):
        with pytest.raises((WorkflowFailureError, ActivityFailureError)) as caught:
            sdk.run(send)
        cause = caught.value.__cause__
        assert isinstance(cause, ApplicationError), repr(cause)
        assert cause.message
    assert run(inc(1), on=backend, timeout=PATIENCE) == Success(2)


def test_a_foreign_workflow_can_be_asked_for_like_a_call(
    backend: TemporalBackend, sdk: Sdk
) -> None:
    """It may have an outcome that is not Onward's, or none."""
    id = uuid4().hex

    async def start(client: Client) -> None:
        await client.start_workflow("theirs", id=id, task_queue=uuid4().hex)

    sdk.run(start)
    ref: Ref[int, object] = inc.ref(id)
    assert status(ref, on=backend).unwrap().state == "queued"
    early = result(ref, on=backend, timeout=0.1).failure()
    assert isinstance(early, TimedOut)
    assert early.still_running
    assert cancel(ref, on=backend) == Success(None)
    assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Cancelled)
