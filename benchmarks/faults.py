"""What is lost, hung or wrong when workers and brokers die: `python -m benchmarks.faults`.

Onward beside plain Celery, with its defaults and with its best settings, on a broker that writes
everything to disk. Each calls 300 chains of three steps and 50 fan-outs, and against each a
process is killed (kill -9) every second. With Celery, a worker is a child of the main process; with
Onward, whose workers run their steps on threads, it is one of several processes. Onward's lease is
1 s here; by default a lost call is found again ten times later.
"""

from __future__ import annotations

import argparse
import tempfile
from importlib.metadata import version
from itertools import product
from pathlib import Path

from tests.faults.storm import HARMS, LANES, Size, storm

LONG = Size(chains=300, fan_outs=50, kills=15, pace=0.1)
FAST = Size(chains=30, fan_outs=5, kills=3, pace=0.1)
WIDTH = 60


def main() -> None:
    """Prints the table, row by row."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--fast", action="store_true", help="only a look, at few calls")
    parser.add_argument("--only", metavar="TEXT", default="", help="only rows that say so")
    options = parser.parse_args()
    size = FAST if options.fast else LONG
    print(", ".join(f"{name} {version(name)}" for name in ("onward", "celery", "kombu", "redis")))
    print(f"{size.chains} chains and {size.fan_outs} fan-outs; again: steps started once more\n")
    print(_row("to whom, while what happens", "lost", "hung", "wrong", "again", "time"))
    print(_row("-" * WIDTH, *["-" * 5] * 5))
    for harm, (contender, lane) in product(HARMS, LANES.items()):
        title = f"{contender}: {harm}"
        if options.only not in title:
            continue
        with tempfile.TemporaryDirectory() as folder:
            tally = storm(lane, HARMS[harm], size, Path(folder))
        counts = (tally.lost, tally.hung, tally.wrong, tally.again)
        print(_row(title, *counts, f"{tally.seconds:.0f} s"), flush=True)


def _row(title: str, *cells: object) -> str:
    return f"| {title:{WIDTH}} | {' | '.join(f'{cell:>5}' for cell in cells)} |"


if __name__ == "__main__":
    main()
