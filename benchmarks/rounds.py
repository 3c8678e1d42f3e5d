"""Times contenders in turn, round after round, in alternating order."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from time import perf_counter, sleep
from typing import Any, Protocol, TypeAlias

import pyperf  # type: ignore[import-untyped]  # it ships no types

from benchmarks.report import heading, say, tables

Work: TypeAlias = Callable[[int], object]
"""Does something so many times."""

Values: TypeAlias = Mapping[tuple[str, str], Sequence[float]]
"""The seconds of each timing, by table and row."""


class Row(Protocol):
    """A row of a table."""

    @property
    def table(self) -> str:
        """The table's title."""
        ...

    @property
    def name(self) -> str:
        """The contender and its method."""
        ...

    def time(self, share: int, /) -> list[float]:
        """The seconds that a share of the work takes."""
        ...


def timed(work: Work, times: int) -> float:
    """The seconds that it takes."""
    start = perf_counter()
    kept = work(times)  # what it gives is not to be thrown away within the time
    seconds = perf_counter() - start
    del kept
    return seconds


def measured(rows: Sequence[Row], rounds: int, share: int, rest: float = 0) -> Values:
    """Times all rows, in so many rounds.

    Args:
        rows: The rows.
        rounds: How many rounds.
        share: By how much less work there is in each than in the long form.
        rest: How long the engine is left alone before each row, in seconds.
    """
    values: dict[tuple[str, str], list[float]] = {(row.table, row.name): [] for row in rows}
    for row in rows:
        row.time(20)  # until everything is warm
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        # What comes later may find a fuller engine.
        for row in rows if number % 2 == 0 else reversed(rows):
            sleep(rest)
            gc.collect()  # or this row would pay for what the one before it left
            values[row.table, row.name] += row.time(share)
    return values


def shown(values: Values, packages: Iterable[str], about: str, *, rates: bool = True) -> Any:
    """Prints the tables; gives all values.

    Args:
        values: What was measured.
        packages: The packages whose versions are printed.
        about: What else there is to say.
        rates: Whether to show as well how many there are in a second.
    """
    suite = pyperf.BenchmarkSuite([kept(*row, values[row]) for row in values])
    print(*heading(suite, packages), about, sep="\n")
    print(*tables(suite, rates=rates), sep="\n", end="\n\n")
    return suite


def medians(values: Values) -> dict[tuple[str, str], float]:
    """The medians, by table and row."""
    return {row: median(values[row]) for row in values}


def kept(table: str, name: str, values: Sequence[float]) -> Any:
    """The values of a row, as pyperf keeps them."""
    about = {"name": f"{table}: {name}", "table": table}
    return pyperf.Benchmark([pyperf.Run(values, metadata=about)])
