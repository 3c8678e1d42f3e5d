"""The tasks that the workers of these tests serve, copied to where they are started."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from returns.result import Failure, Result, Success

from onward import Flow, Signal, awaits, keep, progress, task


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
    for _ in held(folder, "hold"):
        time.sleep(0.01)
    return "done"


@task
async def linger(folder: str) -> str:
    """Like `hold`, and awaits."""
    import asyncio  # a test looks what else imports it

    for _ in held(folder, "linger"):
        await asyncio.sleep(0.01)
    return "done"


def held(folder: str, name: str) -> Iterator[None]:
    Path(folder, f"running-{name}").touch()
    end = time.monotonic() + 60
    while not Path(folder, "let-go").exists():
        assert time.monotonic() < end
        yield


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


def make(times: int) -> Flow[..., int]:
    return count


@dataclass(frozen=True)
class Decision:
    approved: bool


decided = (parse >> total >> keep(awaits(Signal("decision", Decision)))).named("decided")
