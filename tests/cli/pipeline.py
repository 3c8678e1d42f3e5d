"""The tasks that the workers of these tests serve, copied to where they are started."""

import time
from dataclasses import dataclass
from pathlib import Path

from returns.result import Failure, Result, Success

from onward import progress, task


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


@task
def greet(name: str, times: int = 1, *, loud: bool = False) -> str:
    """Greets somebody."""
    said = ", ".join([f"hello {name}"] * times)
    return said.upper() if loud else said


@task
def fail(text: str) -> None:
    raise LookupError(text)


@task
def count(folder: str, upto: int) -> int:
    """Goes on to the next number when it is told to."""
    for number in range(1, upto + 1):
        progress(number, total=upto, note="steps")
        end = time.monotonic() + 60
        while not Path(folder, f"go-{number}").exists():
            assert time.monotonic() < end
            time.sleep(0.01)
    return upto


@task
def twice(number: int) -> int:
    return 2 * number


counted = (count >> twice).named("counted")
summed = (parse >> total).named("summed")
