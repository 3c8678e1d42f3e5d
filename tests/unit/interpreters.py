"""What the tests of interpreters share."""

import asyncio
from dataclasses import dataclass

from returns.result import Failure, Result, Success

from onward import (
    current,
    task,
)

PATIENCE = 120.0


@dataclass(frozen=True)
class Odd:
    number: int


@task
def inc(n: int) -> int:
    return n + 1


@task
def halve(n: int) -> Result[int, Odd]:
    return Failure(Odd(n)) if n % 2 else Success(n // 2)


@task
def whose() -> tuple[str, str | None]:
    return current().id, current().key


@task
async def never(n: int) -> int:
    return await asyncio.Future()
