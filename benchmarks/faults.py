"""What is lost, hung or wrong when workers and servers die: `python -m benchmarks.faults`.

Onward beside what its users would else write for the same engine, with defaults and with the best
settings, on a server that writes everything to disk. Each calls 300 chains of three steps and 50
fan-outs, and against each a process is killed (kill -9) every second. With Celery, a worker is a
child of the main process; with Onward, whose workers run their steps on threads, it is one of
several processes. Onward's lease on Celery is 1 s here, where by default a lost call is found again
ten times later; on Temporal its heartbeat is 2 s, and 10 s by default; on Hatchet its lease is 15,
and 60 by default; on SQLite, which has no server, it is 1 s, and 5 by default, and rows also stop
processes and continue them (SIGSTOP, SIGCONT), or kill the client too. Other rows have a bad
network between all of them and the server, a server that answers nothing, or workers whose clocks
are wrong (where libfaketime is). Hatchet's engine, once killed, would do nothing for a minute; here
it is made to go on at once.

With `--waits`, 300 calls of Onward's sleep, are signalled, are cancelled, or cancel a branch of
theirs at another one's failure instead, all with a cleanup, which no other contender has. One whose
cleanup did not run counts as wrong.

With `--moves`, 300 calls that sleep or wait for a signal move along routes of engines, while
workers of all of them are killed every two seconds, and at times Redis and Temporal's server.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from itertools import product
from pathlib import Path

from tests.faults.storm import Engine, Size, Tally, storm
from tests.faults.waiting_storm import waiting_storm

LONG = Size(chains=300, fan_outs=50, kills=15, pace=0.1)
FAST = Size(chains=30, fan_outs=5, kills=3, pace=0.1)
WIDTH = 60
ENGINES = ("celery", "hatchet", "rabbitmq", "sqlite", "temporal")


def main() -> None:
    """Prints the tables, row by row."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("engine", nargs="?", choices=ENGINES, help="which one; else all of them")
    parser.add_argument("--fast", action="store_true", help="only a look, at few calls")
    parser.add_argument("--waits", action="store_true", help="calls that wait and clean up")
    parser.add_argument("--moves", action="store_true", help="calls that move between engines")
    parser.add_argument("--only", metavar="TEXT", default="", help="only rows that say so")
    options = parser.parse_args()
    size = FAST if options.fast else LONG
    if options.moves:
        _moves_table(size, options.only)
        return
    for name in ENGINES if options.engine is None else [options.engine]:
        table = _waits_table if options.waits else _table
        table(_engine(name), size, options.only)


def _engine(name: str) -> Engine:
    # Each imports its SDK, so import only what was asked for.
    engine: object = getattr(import_module(f"tests.faults.{name}_storm"), name.upper())
    assert isinstance(engine, Engine)
    return engine


def _table(engine: Engine, size: Size, only: str) -> None:
    _head(engine.packages, f"{size.chains} chains and {size.fan_outs} fan-outs")
    for disruption, contender in product(engine.disruptions, engine.contenders):
        title = f"{contender}: {disruption}"
        if only in title:
            with tempfile.TemporaryDirectory() as folder:
                _tell(title, storm(engine, contender, disruption, size, Path(folder)))
    print()


def _waits_table(engine: Engine, size: Size, only: str) -> None:
    _head(engine.packages, f"{size.chains} calls that wait and clean up")
    for disruption in engine.waits:
        title = f"Onward, waiting: {disruption}"
        if only in title:
            with tempfile.TemporaryDirectory() as folder:
                _tell(title, waiting_storm(engine, disruption, size, Path(folder)))
    print()


def _moves_table(size: Size, only: str) -> None:
    from tests.faults.moving_storm import ENGINES as STOPS
    from tests.faults.moving_storm import ROUTES, moving_storm

    packages = [package for engine in STOPS.values() for package in engine.packages]
    _head(packages, f"{size.chains} calls that move")
    for route in ROUTES:
        title = " to ".join(route)
        if only in title:
            with tempfile.TemporaryDirectory() as folder:
                _tell(title, moving_storm(route, size, Path(folder)))
    print()


def _head(packages: Sequence[str], calls: str) -> None:
    print(", ".join(f"{name} {version(name)}" for name in ("onward", *packages)))
    print(f"{calls}; again: steps started once more\n")
    print(_row("to whom, while what happens", "lost", "hung", "wrong", "again", "time"))
    print(_row("-" * WIDTH, *["-" * 5] * 5))


def _tell(title: str, tally: Tally) -> None:
    counts = (tally.lost, tally.hung, tally.wrong, tally.again)
    print(_row(title, *counts, f"{tally.seconds:.0f} s"), flush=True)
    for each in tally.amiss:
        print(each, file=sys.stderr, flush=True)


def _row(title: str, *cells: object) -> str:
    return f"| {title:{WIDTH}} | {' | '.join(f'{cell:>5}' for cell in cells)} |"


if __name__ == "__main__":
    main()
