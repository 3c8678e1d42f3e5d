"""What users of Hatchet's SDK write by hand for a flow that waits."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any, NamedTuple

from onward.backends.hatchet import sdk

SLOTS = 100
MOST_WAITING = 2_000
LONGEST = timedelta(hours=1)


class Waits(NamedTuple):
    """The client, and its tasks."""

    client: Any
    step: Any
    sleeping: Any
    signalled: Any

    def serve(self) -> None:
        """Serves them until it is stopped."""
        tasks = [self.step, self.sleeping, self.signalled]
        self.client.worker(
            "raw-waits", slots=SLOTS, durable_slots=MOST_WAITING, workflows=tasks
        ).start()


def waits() -> Waits:
    """A task, and two durable ones that run it before and after a wait."""
    sdk.load()
    import hatchet_sdk

    client = hatchet_sdk.Hatchet()
    logging.getLogger("hatchet").setLevel(logging.ERROR)

    @client.task(name="raw-waits-step", input_validator=dict)
    async def step(given: dict[str, Any], context: Any) -> dict[str, Any]:
        return {"n": given["n"]}

    @client.durable_task(name="raw-waits-sleeping", input_validator=dict, execution_timeout=LONGEST)
    async def sleeping(given: dict[str, Any], context: Any) -> dict[str, Any]:
        given |= await step.aio_run({"n": given["n"]})
        await context.aio_sleep_for(timedelta(seconds=given["seconds"]))
        return dict(await step.aio_run({"n": given["n"]}))

    @client.durable_task(
        name="raw-waits-signalled", input_validator=dict, execution_timeout=LONGEST
    )
    async def signalled(given: dict[str, Any], context: Any) -> dict[str, Any]:
        given |= await step.aio_run({"n": given["n"]})
        condition = hatchet_sdk.UserEventCondition(event_key=given["event"])
        await context.aio_wait_for("go", condition)
        return dict(await step.aio_run({"n": given["n"]}))

    return Waits(client, step, sleeping, signalled)
