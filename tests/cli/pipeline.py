"""The tasks that the workers of these tests serve, copied to where they are started."""

import time
from dataclasses import dataclass
from pathlib import Path

from returns.result import Failure, Result, Success

from onward import task


@dataclass(frozen=True)
class Malformed:
    text: str


@task
def parse(text: str) -> Result[list[int], Malformed]:
    try:
        return Success([int(part) for part in text.split(",")])
    except ValueError:
        return Failure(Malformed(text))


@task
async def total(numbers: list[int]) -> int:
    return sum(numbers)


@task
def hold(folder: str) -> str:
    """Says that it runs, and goes on until it is let go."""
    Path(folder, "running").touch()
    end = time.monotonic() + 60
    while not Path(folder, "let-go").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    return "done"


summed = (parse >> total).named("summed")
