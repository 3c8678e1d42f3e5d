"""The flows that somebody's Celery app calls."""

import time
from pathlib import Path

from returns.result import Failure, Result, Success

from onward import Catalog, current, task


@task
def inc(n: int) -> int:
    return n + 1


@task
def halve(n: int) -> Result[int, str]:
    return Failure(f"{n} is odd") if n % 2 else Success(n // 2)


@task
def breaks(n: int) -> int:
    raise RuntimeError(f"broke at {n}")


@task
def hold(file: str) -> None:
    """Runs until its call is cancelled."""
    Path(file).write_text("runs")
    while not current().cancelled:
        time.sleep(0.01)
    Path(file).write_text("cancelled")


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


halved = (inc >> halve).named("halved")
CATALOG = Catalog(inc, halve, breaks, hold, total, halved)
