"""Recorded histories replay, so that a change of the workflow does not break running calls.

If one of these tests fails, the workflow does something else than it did for the recorded call. Put
the change behind `workflow.patched`, or undo it. Record histories only of new flows, by `python -m
tests.temporal.record`.
"""

import asyncio
import json

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from onward.backends.temporal.converter import data_converter
from onward.backends.temporal.unique_workflow import UniqueWorkflow
from onward.backends.temporal.workflow import FlowWorkflow
from tests.temporal.flows import CALLS, CANCELLED, LONG
from tests.temporal.record import FOLDER, UNIQUE

KEPT = {path.stem: path.read_text() for path in sorted(FOLDER.glob("*.json"))}


def replay(text: str) -> BaseException | None:
    """Replays a recorded history; returns the failure, or None."""
    kept = json.loads(text)
    history = WorkflowHistory.from_json(kept["id"], kept["history"])
    replayer = Replayer(
        workflows=[FlowWorkflow, UniqueWorkflow],
        workflow_runner=UnsandboxedWorkflowRunner(),
        # Not the worker's settings: there a nondeterminism error becomes a failure of the workflow.
        data_converter=data_converter(None),
    )

    async def replayed() -> BaseException | None:
        found = await replayer.replay_workflow(history, raise_on_replay_failure=False)
        return found.replay_failure

    return asyncio.run(replayed())


def test_there_is_a_history_of_each_flow() -> None:
    runs = {f"unique-{number}" for number in range(UNIQUE)}
    assert {*CALLS, *CANCELLED, *LONG, "parts-0", *runs} <= KEPT.keys()


@pytest.mark.parametrize("name", KEPT)
def test_a_recorded_history_replays(name: str) -> None:
    assert replay(KEPT[name]) is None


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("chain", '"activityId":"1"', '"activityId":"9"'),
        ("together", '"name":"double"', '"name":"halve"'),
        ("rescue-taken", '"activityId":"1.rescue"', '"activityId":"1.mend"'),
        ("parts", '/4[0]"', '/5[0]"'),
    ],
)
def test_a_step_with_another_name_or_path_does_not_replay(
    name: str, before: str, after: str
) -> None:
    """The replay compares names and paths."""
    assert before in KEPT[name]
    assert replay(KEPT[name].replace(before, after)) is not None
