"""`python -m benchmarks NAME`: one of them, or all without a name; `--help` lists them."""

from __future__ import annotations

import argparse

import pyperf  # type: ignore[import-untyped]  # it ships no types

import benchmarks
from benchmarks.celery import measure as measure_celery
from benchmarks.hatchet import measure as measure_hatchet
from benchmarks.isolated import measure as measure_isolated
from benchmarks.overhead import measure as measure_overhead
from benchmarks.sqlite import measure as measure_sqlite
from benchmarks.temporal import measure as measure_temporal
from benchmarks.waits import measure as measure_waits

BENCHMARKS = {
    "overhead": measure_overhead,
    "celery": measure_celery,
    "hatchet": measure_hatchet,
    "isolated": measure_isolated,
    "sqlite": measure_sqlite,
    "temporal": measure_temporal,
    "waits": measure_waits,
}


def main() -> None:
    """Measures, and prints the tables and how the bars stand."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=benchmarks.__doc__)
    parser.add_argument("name", nargs="?", choices=BENCHMARKS, help="which one; else all of them")
    parser.add_argument("--fast", action="store_true", help="only a look, in some seconds each")
    parser.add_argument("--output", metavar="FILE", help="keep all values, for python -m pyperf")
    options = parser.parse_args()
    names = BENCHMARKS if options.name is None else [options.name]
    suites = [BENCHMARKS[name](fast=options.fast) for name in names]
    if options.output:
        rows = [row for suite in suites for row in suite]
        pyperf.BenchmarkSuite(rows).dump(options.output, replace=True)


if __name__ == "__main__":
    main()
