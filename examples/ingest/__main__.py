"""The demo: runs the flow in this process, first on a valid file and then on a broken one."""

import logging
import os
import sqlite3
import sys
from argparse import ArgumentParser
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from returns.result import Failure, Result, Success

from examples.ingest.tasks import DATABASE, Malformed, ingest
from onward import (
    Backend,
    Call,
    Fault,
    Progress,
    Raised,
    Status,
    TimedOut,
    explain,
    local,
    result,
    run,
    status,
    submit,
)

R = TypeVar("R")
E = TypeVar("E")

DATA = Path(os.path.relpath(Path(__file__).parent / "data"))
BAR = 30


def main() -> None:
    parser = ArgumentParser("python -m examples.ingest", description="Stores a CSV file in SQLite.")
    parser.add_argument("source", nargs="?", help="a path or a URL; if not given, a file of ours")
    source = parser.parse_args().source
    backend = local()
    # Failures are printed below, so keep Python from printing their log too.
    logging.getLogger("onward.step").addHandler(logging.NullHandler())

    print(explain(ingest))
    outcome = show(str(DATA / "seattle-weather.csv") if source is None else source, backend)
    if isinstance(outcome, Failure):
        sys.exit(tell(outcome.failure()))
    print(outcome)
    print_days_by_weather()
    if source is None:
        broken = show(str(DATA / "broken.csv"), backend)
        print(broken)
        print(tell(broken.failure()))


def show(source: str, backend: Backend) -> Result[int, Malformed | Fault]:
    print(f"\ningest({source!r})")
    return run_with_bar(ingest(source), backend)


def run_with_bar(call: Call[R, E], on: Backend) -> Result[R, E | Fault]:
    """Like `run`, with a progress bar on a terminal."""
    if not sys.stdout.isatty():
        return run(call, on)
    submitted = submit(call, on)
    if isinstance(submitted, Failure):
        return submitted
    ref = submitted.unwrap()
    while True:
        outcome = result(ref, on, timeout=0.02)
        status(ref, on).map(draw)
        match outcome:
            case Failure(TimedOut(still_running=True)):
                continue
            case _:
                if isinstance(outcome, Success):
                    days = outcome.unwrap()
                    draw(Status("done", "store", progress=Progress(days, days, "days")))
                print()
                return outcome


def draw(now: Status) -> None:
    filled, count = 0, ""
    if now.progress is not None and now.progress.total:
        done, total = now.progress.done, now.progress.total
        filled = int(BAR * done / total)
        count = f"{done:.0f}/{total:.0f} {now.progress.note}"
    print(f"\r{now.task:<6}{'█' * filled}{'░' * (BAR - filled)} {count:<20}", end="", flush=True)


def print_days_by_weather() -> None:
    print(f"\n{DATABASE}, days by weather:")
    with closing(sqlite3.connect(DATABASE)) as db:
        for weather, days in db.execute(
            "SELECT weather, count(*) FROM reading GROUP BY weather ORDER BY count(*) DESC"
        ):
            print(f"{weather:>8} {days:>4}")


def tell(error: Malformed | Fault) -> str:
    match error:
        case Malformed(line, text, why):
            return f"line {line} is malformed: {text!r}: {why}"
        case Raised(task, error_type, message):
            return f"{task}: {error_type}: {message}"
        case _:
            return str(error)


if __name__ == "__main__":
    main()
