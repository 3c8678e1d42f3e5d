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
