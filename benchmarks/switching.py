"""A system changes its engine while workers are killed: `python -m benchmarks.switching`.

300 calls, each with a key, are submitted by four clients while the dial of `routed` goes from 0 to
25, 50, 100 and back to 50 percent. Among them are chains, fan-outs, calls that sleep, and calls
that wait for a signal; beside them a schedule runs every five seconds. Each key is submitted twice,
the second time after the dial has been turned. Seventeen times, a worker of each engine is killed
(kill -9), or all of them. In the end the old engine is drained: the schedule is handed over, and
half of the calls that wait there for a signal are moved.

A row is right if each key has one outcome, on one engine, and all of its cleanups; if the schedule
runs on one engine at a time; and if nothing is left on the old engine. Otherwise the exit code
is 1. Unlisted calls have an outcome, and are not in their engine's list, which may lag behind.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from tests.faults.switching_storm import ENGINES, ROUTES, switching_storm

COLUMNS = (
    *("calls", "on new", "moved", "runs", "kills", "unlisted"),
    *("lost", "twice", "wrong", "drained", "time"),
)
WIDTH = 18


def main() -> None:
    """Prints the table, row by row."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.switching", description=__doc__)
    parser.add_argument("--fast", action="store_true", help="only a look, at few calls")
    parser.add_argument("--only", metavar="TEXT", default="", help="only rows that say so")
    options = parser.parse_args()
    packages = dict.fromkeys(name for engine in ENGINES.values() for name in engine.packages)
    print(", ".join(f"{name} {version(name)}" for name in ("onward", *packages)), end="\n\n")
    print(_row("from old to new", *COLUMNS))
    print(_row("-" * WIDTH, *("-" * len(column) for column in COLUMNS)))
    is_right = True
    for route in ROUTES:
        title = " to ".join(route)
        if options.only not in title:
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = switching_storm(
                route,
                Path(folder),
                count=30 if options.fast else 300,
                pace=0.05,
                interval=5,
                kills=3 if options.fast else 15,
            )
        counts = (found.calls, found.on_new, found.moved, found.runs, found.kills, found.unlisted)
        bars = (found.lost, found.twice, found.wrong, "yes" if found.is_drained else "no")
        print(_row(title, *counts, *bars, f"{found.seconds:.0f} s"), flush=True)
        for text in found.amiss:
            print(text, file=sys.stderr, flush=True)
        is_right = is_right and found.is_right
    sys.exit(0 if is_right else 1)


def _row(title: str, *cells: object) -> str:
    padded = (f"{cell:>{len(name)}}" for cell, name in zip(cells, COLUMNS, strict=True))
    return f"| {title:{WIDTH}} | {' | '.join(padded)} |"


if __name__ == "__main__":
    main()
