"""A step that its worker gives up gets no outcome."""

import asyncio
import threading

import pytest

from onward import Catalog, fused, task
from onward.backend.loop import Closed
from onward.backends.celery.steps import StepRunner
from onward.context import Context
from onward.fault import Fault
from onward.flows.flow import Flow
from onward.interpret.prepare import prepare
from onward.interrupt import Interrupt
from onward.plan import Runnable

BEGUN = threading.Event()


@task
async def hold(n: int) -> int:
    BEGUN.set()
    await asyncio.sleep(60)
    return n


@pytest.mark.parametrize("flow", [hold, fused(hold), fused(hold, timeout=50.0)])
def test_a_step_that_is_given_up_has_not_timed_out(flow: Flow[[int], int, None]) -> None:
    BEGUN.clear()
    prepared = prepare(flow(1), None, 0.0, None, {})
    assert not isinstance(prepared, Fault)
    step = prepared.plan.root
    assert isinstance(step, Runnable)
    steps = StepRunner(Catalog(hold).tasks)

    def give_up() -> None:
        BEGUN.wait(30)
        steps.close()

    threading.Thread(target=give_up).start()
    with pytest.raises(Closed):
        steps.attempt(step, prepared.plan.args, Context("id", "hold", "0"), Interrupt())
