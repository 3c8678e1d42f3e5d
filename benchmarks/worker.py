"""Times all contenders in this process, in turn: `python -m benchmarks.worker ROUNDS`."""

from __future__ import annotations

import asyncio
import gc
import sys

import pyperf  # type: ignore[import-untyped]  # it ships no types

from benchmarks.contenders import Timer, contenders

SHORTEST = 0.01
"""The minimum time of each timing, in seconds, so that the clock's own cost is negligible."""


def main(rounds: int) -> None:
    """Prints the measurements as pyperf's JSON."""
    with asyncio.Runner() as loop:
        rows = [(row, _warmed_up(row.time)) for row in contenders(loop)]
        values: dict[str, list[float]] = {row.name: [] for row, _ in rows}
        gc.freeze()
        for _ in range(rounds):
            for row, loops in rows:
                gc.collect()  # or this row would pay for what the one before it left
                values[row.name].append(row.time(loops) / loops / row.parts)
    benchmarks = []
    for row, loops in rows:
        about = {"name": row.name, "table": row.table, "loops": loops, "inner_loops": row.parts}
        benchmarks.append(pyperf.Benchmark([pyperf.Run(values[row.name], metadata=about)]))
    pyperf.BenchmarkSuite(benchmarks).dump(sys.stdout)


def _warmed_up(time: Timer) -> int:
    """The number of loops that take long enough, after a warm-up."""
    loops = 1
    while time(loops) < SHORTEST:
        loops *= 2
    return loops


if __name__ == "__main__":
    main(int(sys.argv[1]))
