"""A change of the workflow that would break running calls is refused here.

If one of these fails, what was changed does other things than what was begun before: put it
behind `workflow.patched`, or leave it. `python -m tests.temporal.record` is for new flows.
"""

import asyncio
import json

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from onward.backends.temporal.converter import converter
from onward.backends.temporal.workflow import FlowWorkflow
from tests.temporal.flows import CALLS, LONG
from tests.temporal.record import FOLDER

KEPT = {path.stem: path.read_text() for path in sorted(FOLDER.glob("*.json"))}


def replay(text: str) -> BaseException | None:
    """What the replay of a kept history says against it."""
    kept = json.loads(text)
    history = WorkflowHistory.from_json(kept["id"], kept["history"])
    replayer = Replayer(
        workflows=[FlowWorkflow],
        workflow_runner=UnsandboxedWorkflowRunner(),
        # Not as in a worker, where also what does other things than before fails, and is heard of.
        data_converter=converter(None),
    )

    async def replayed() -> BaseException | None:
        found = await replayer.replay_workflow(history, raise_on_replay_failure=False)
        return found.replay_failure

    return asyncio.run(replayed())


def test_there_is_a_history_of_each_flow() -> None:
    assert {*CALLS, *LONG, "parts-0"} <= KEPT.keys()


@pytest.mark.parametrize("name", KEPT)
def test_what_was_begun_before_goes_on_as_it_would_have(name: str) -> None:
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
def test_a_step_of_another_name_or_place_is_refused(name: str, before: str, after: str) -> None:
    """Names and places are what there is to compare."""
    assert before in KEPT[name]
    assert replay(KEPT[name].replace(before, after)) is not None
