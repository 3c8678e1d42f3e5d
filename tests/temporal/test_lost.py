"""A step whose workers die, whoever they are, is lost some day; here after the second of them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from msgspec import Raw, json
from temporalio.client import Client

from onward import Lost, Ref, result
from onward import plan as plans
from onward.backends.temporal import TemporalBackend
from onward.backends.temporal.converter import value
from onward.backends.temporal.lower import LONGEST, retry_policy
from onward.backends.temporal.message import SINGLE, FlowOptions, step_message, write
from onward.plan import VERSION, Args, ChainNode, Plan, StepNode
from tests.engines.worker import WorkerProcess
from tests.temporal.conftest import ROOT
from tests.temporal.sdk import Sdk
from tests.temporal.served import catalog, die, noted

PATIENCE = 60.0
CRASHES = 1
"""Instead of fifty, which take minutes."""

OPTIONS = FlowOptions(heartbeat=1.0, crashes=CRASHES)
DIE, SAME = StepNode(task="die"), StepNode(task="same")


def plan_for(folder: Path) -> Plan:
    """Of a flow whose first step is deadly to its worker."""
    folder.mkdir()
    (folder / "deadly").touch()
    args = Args((Raw(json.encode(str(folder))),))
    root = ChainNode((DIE, SAME))
    return Plan(v=VERSION, id=uuid4().hex, flow="deadly", root=root, args=args)


@pytest.mark.parametrize("is_flow", [False, True])
def test_a_step_is_lost_once_its_workers_died_too_often(
    is_flow: bool, lonely: TemporalBackend, sdk: Sdk, tmp_path: Path
) -> None:
    """As a task of its own, and in a flow."""
    task_queue = lonely._address.task_queue
    folder = tmp_path / "shared"
    plan = plan_for(folder)
    id = plan.id if is_flow else f"{SINGLE}{plan.id}"

    async def start_flow(client: Client) -> None:
        await client.start_workflow(
            "deadly",
            args=[value(plans.encode(plan)), value(write(OPTIONS))],
            id=id,
            task_queue=task_queue,
            task_timeout=timedelta(seconds=1),  # for the workflow itself may be with who dies
        )

    async def start_single(client: Client) -> None:
        message = step_message(DIE, plan.args, "0", plan, id)
        await client.start_activity(
            "die",
            args=[value(plan.args.positional[0]), value(write(message))],
            id=id,
            task_queue=task_queue,
            start_to_close_timeout=LONGEST,
            heartbeat_timeout=timedelta(seconds=OPTIONS.heartbeat),
            retry_policy=retry_policy(DIE, CRASHES),
        )

    sdk.ask(start_flow if is_flow else start_single)
    for death in range(1 + CRASHES):
        with worker(lonely, tmp_path / f"{death}.log") as dying:
            assert dying.wait(PATIENCE) == -9, dying.tail()
    (folder / "deadly").unlink()
    last = lonely.serve(catalog).unwrap()  # a flow is over only when a worker has seen to it
    ref: Ref[str, object] = die.ref(id)
    fault = result(ref, on=lonely, timeout=PATIENCE).failure()
    last.stop(0)
    assert isinstance(fault, Lost)
    assert fault.task == "die"
    assert noted(folder) == ["die 1"] * (1 + CRASHES)


def worker(on: TemporalBackend, log: Path) -> WorkerProcess:
    at = on._address
    url = f"temporal://{at.target}/{at.namespace}?task_queue={at.task_queue}"
    command = ("onward", "worker", "tests.temporal.served", "--on", url)
    return WorkerProcess.module(*command, log=log, folder=ROOT)
