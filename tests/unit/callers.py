"""What the tests of callers share."""

import asyncio

from onward import (
    task,
)

PATIENCE = 120.0


@task
def inc(n: int) -> int:
    return n + 1


@task
async def inc_later(n: int) -> int:
    await asyncio.sleep(0)
    return n + 1


@task
async def never(n: int) -> int:
    return await asyncio.Future()


FLOW = inc >> inc_later >> inc
