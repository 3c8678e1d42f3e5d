"""What users of Temporal's SDK write by hand."""

from __future__ import annotations

from datetime import timedelta

from temporalio import activity, workflow

LONGEST = timedelta(minutes=1)


@activity.defn
def pass_on(n: int) -> int:
    return n


@workflow.defn
class One:
    @workflow.run
    async def run(self, n: int) -> int:
        return await workflow.execute_activity(pass_on, n, start_to_close_timeout=LONGEST)


@workflow.defn
class Three:
    @workflow.run
    async def run(self, n: int) -> int:
        n = await workflow.execute_activity(pass_on, n, start_to_close_timeout=LONGEST)
        n = await workflow.execute_activity(pass_on, n, start_to_close_timeout=LONGEST)
        return await workflow.execute_activity(pass_on, n, start_to_close_timeout=LONGEST)


@workflow.defn
class Sleeping:
    @workflow.run
    async def run(self, n: int, seconds: float) -> int:
        n = await workflow.execute_activity(pass_on, n, start_to_close_timeout=LONGEST)
        await workflow.sleep(seconds)
        return await workflow.execute_activity(pass_on, n, start_to_close_timeout=LONGEST)


@workflow.defn
class Signalled:
    def __init__(self) -> None:
        self._came: int | None = None

    @workflow.signal
    def go(self, n: int) -> None:
        self._came = n

    @workflow.run
    async def run(self, n: int) -> int:
        n = await workflow.execute_activity(pass_on, n, start_to_close_timeout=LONGEST)
        await workflow.wait_condition(lambda: self._came is not None)
        return await workflow.execute_activity(pass_on, n, start_to_close_timeout=LONGEST)
