"""A step whose workers die too often fails as `Lost`; here after the second worker."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from msgspec import Raw, json
from returns.result import Success
from temporalio.client import Client

from onward import Lost, Ref, calls, history, result, resume
from onward import plan as plans
from onward.backends.temporal import TemporalBackend
from onward.backends.temporal.converter import raw_value
from onward.backends.temporal.lower import LONGEST, retry_policy
from onward.backends.temporal.message import SINGLE, FlowOptions, encode, step_message
from onward.plan import VERSION, Args, ChainNode, Plan, StepNode
from tests.engines.process import until
from tests.engines.worker import WorkerProcess
from tests.temporal.conftest import ROOT
from tests.temporal.sdk import Sdk
from tests.temporal.served import catalog, die, noted

PATIENCE = 120.0
CRASHES = 1
"""How often the worker may die. The default of fifty would take minutes."""

OPTIONS = FlowOptions(heartbeat=1.0, crashes=CRASHES)
DIE, SAME = StepNode(task="die"), StepNode(task="same")


def plan_for(folder: Path) -> Plan:
    """The plan of a flow whose first step kills its worker."""
    folder.mkdir()
    (folder / "deadly").touch()
    args = Args((Raw(json.encode(str(folder))),))
    root = ChainNode((DIE, SAME))
    return Plan(v=VERSION, id=uuid4().hex, flow="deadly", root=root, args=args)


@pytest.mark.parametrize("is_flow", [False, True])
def test_a_step_is_lost_once_its_workers_died_too_often(
    is_flow: bool, workerless: TemporalBackend, sdk: Sdk, tmp_path: Path
) -> None:
    """As a single task, and in a flow."""
    task_queue = workerless.address.task_queue
    folder = tmp_path / "shared"
    plan = plan_for(folder)
    id = plan.id if is_flow else f"{SINGLE}{plan.id}"

    async def start_flow(client: Client) -> None:
        await client.start_workflow(
            "deadly",
            args=[raw_value(plans.encode(plan)), raw_value(encode(OPTIONS))],
            id=id,
            task_queue=task_queue,
            task_timeout=timedelta(seconds=1),  # the worker that dies may also have the workflow
        )

    async def start_single(client: Client) -> None:
        message = step_message(DIE, plan.args, "0", plan, id)
        await client.start_activity(
            "die",
            args=[raw_value(plan.args.positional[0]), raw_value(encode(message))],
            id=id,
            task_queue=task_queue,
            start_to_close_timeout=LONGEST,
            heartbeat_timeout=timedelta(seconds=OPTIONS.heartbeat),
            retry_policy=retry_policy(DIE, CRASHES),
        )

    sdk.run(start_flow if is_flow else start_single)
    for death in range(1 + CRASHES):
        with worker(workerless, tmp_path / f"{death}.log") as dying:
            assert dying.wait(PATIENCE) == -9, dying.tail()
    (folder / "deadly").unlink()
    last = workerless.serve(catalog).unwrap()  # a worker is needed to end the workflow
    ref: Ref[str, object] = die.ref(id)
    fault = result(ref, on=workerless, timeout=PATIENCE).failure()
    assert isinstance(fault, Lost)
    assert fault.task == "die"
    assert noted(folder) == ["die 1"] * (1 + CRASHES)

    def lost() -> set[str]:
        return {call.unwrap().ref.id for call in calls(workerless, state="lost")}

    until(lambda: id in lost(), within=PATIENCE, otherwise=lambda: f"{lost()}")
    [step] = history(ref, on=workerless).unwrap().steps
    assert [attempt.result for attempt in step.attempts][-1] is None
    again = resume(ref, on=workerless).unwrap()
    assert result(again, on=workerless, timeout=PATIENCE) == Success(str(folder))
    last.stop(0)


def worker(on: TemporalBackend, log: Path) -> WorkerProcess:
    at = on.address
    url = f"temporal://{at.target}/{at.namespace}?task_queue={at.task_queue}"
    command = ("onward", "worker", "tests.temporal.served", "--on", url)
    return WorkerProcess.module(*command, log=log, folder=ROOT)
